"""Stochastic depth and dropout on the two residual branches of ViT blocks, where GLSim's authors have them."""

from collections.abc import Sequence

from mmcv.cnn.bricks.transformer import FFN
from torch import nn


def regularise_branches(
    layers: Sequence[nn.Module], drop_path_rate: float, branch_drop_rate: float, uniform: bool = True
) -> None:
    """Set the rates of both branches of blocks of mmpretrain's ViT, in place, as github.com/arkel23/GLSim has them.

    The two branches of a block draw independently, and dropout acts on the outputs of the attention's projection and of
    the MLP, not inside the MLP.

    Args:
        layers: Blocks that were built without dropout, or with the stochastic depth that they are to keep.
        drop_path_rate: Share of samples whose branch is left out (arXiv 1603.09382), in [0, 1).
        branch_drop_rate: Share of elements of a branch's output that are set to zero, in [0, 1).
        uniform: Give all blocks this stochastic depth; otherwise they keep theirs.

    Raises:
        ValueError: If a rate is out of range, a block has dropout of another kind, or its MLP takes none of this.
    """
    for name, rate in (('drop_path_rate', drop_path_rate), ('branch_drop_rate', branch_drop_rate)):
        if not 0 <= rate < 1:
            raise ValueError(f'{name} must be at least 0 and below 1, got {rate}')
    if not branch_drop_rate and not (uniform and drop_path_rate):
        return
    for layer in layers:
        mlp = getattr(layer, 'ffn', layer)
        if not isinstance(mlp, FFN):  # mmpretrain's SwiGLU passes over the rates that it is given
            raise ValueError(f'branch_drop_rate and drop_path_rate do not fit {type(mlp).__name__}: set them to 0')
        if uniform:
            layer.attn.out_drop.drop_prob = layer.ffn.dropout_layer.drop_prob = float(drop_path_rate)
        if branch_drop_rate:
            if layer.attn.proj_drop.p:
                raise ValueError('branch_drop_rate and drop_rate are two kinds of dropout: set one of them to 0')
            layer.attn.proj_drop.p = layer.ffn.layers[-1].p = float(branch_drop_rate)
