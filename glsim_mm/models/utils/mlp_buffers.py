"""MLPs that write into the memory they have, where nothing has to be kept for a backward pass."""

from collections.abc import Iterator

import torch
from mmcv.cnn.bricks.transformer import FFN
from torch import Tensor, nn

from .block_parts import full_name


class OverwritingGELU(nn.GELU):
    """GELU that overwrites its input in predictions; with gradient, compiled or exported it is ``nn.GELU``.

    Only for inputs that nobody else reads: a hook that keeps them must copy them. A ViT's MLP makes its largest
    tensors, four times as wide as the tokens, before and behind its GELU. One less of them means less memory at the
    peak of a batch, and fewer fresh pages from the system (docs/studies/performance.md).
    """

    def forward(self, x: Tensor) -> Tensor:
        """GELU.

        Args:
            x: Floating point, any shape. Overwritten while no gradient is recorded.

        Returns:
            Same shape and dtype.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return super().forward(x)
        return torch.ops.aten.gelu_(x, approximate=self.approximate)


def reuse_mlp_buffers(module: nn.Module) -> None:
    """Let the MLPs of mmcv (``FFN``) and timm (``Mlp``) inside a model overwrite what their first layer made, in place.

    Exact. Names of weights stay as they are; other activations and other modules too.

    Args:
        module: A model, or a part of one.
    """
    _replace_gelu(module, nn.GELU, OverwritingGELU)


def keep_mlp_buffers(module: nn.Module) -> None:
    """Take :func:`reuse_mlp_buffers` back, in place."""
    _replace_gelu(module, OverwritingGELU, nn.GELU)


def _replace_gelu(module: nn.Module, old: type[nn.GELU], new: type[nn.GELU]) -> None:
    for parent, name in list(_mlp_activations(module)):
        found = getattr(parent, name)
        if type(found) is old:
            setattr(parent, name, new(found.approximate))


def _mlp_activations(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Where the activations behind the first layers of MLPs are: the module that has each, and its name there."""
    for child in module.modules():
        if type(child) is FFN:  # its steps: linear layer, activation, dropout; the last is no Sequential
            yield from ((step, '1') for step in child.layers if isinstance(step, nn.Sequential))
        elif full_name(child) == 'timm.layers.mlp.Mlp':
            yield child, 'act'
