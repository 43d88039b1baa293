"""The DINOv2 authors' names, with and without registers (https://github.com/facebookresearch/dinov2)."""

from collections.abc import Mapping

from torch import Tensor

from .renaming import Renamed, Rules, rename

_CHUNK = r'blocks\.(?:\d+\.)?(\d+)\.'  # training checkpoints number the blocks within chunks: blocks.CHUNK.BLOCK
_RULES: Rules = (
    (r'(cls_token|pos_embed|patch_embed\.proj\.\w+|norm\.\w+|head\.\w+)', r'\1'),
    (r'register_tokens', 'reg_token'),
    (_CHUNK + r'mlp\.w12\.(\w+)', r'blocks.\1.mlp.fc1.\2'),
    (_CHUNK + r'mlp\.w3\.(\w+)', r'blocks.\1.mlp.fc2.\2'),
    (_CHUNK + r'((?:norm|attn|ls|mlp).*)', r'blocks.\1.\2'),
)


def read_dinov2(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's names for the authors'; ``mask_token``, which only pre-training reads, is left out.

    timm's models with registers store positions of patches alone, so there the CLS token's is added to the token.

    Args:
        tensors: Weights as the authors publish them.

    Returns:
        Weights under timm's names.
    """
    renamed, left_out = rename(tensors, _RULES)
    return Renamed(merge_cls_position(renamed), left_out)


def merge_cls_position(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the CLS token's position to the token, where registers are; a new dictionary."""
    if 'reg_token' not in tensors:
        return tensors
    positions = tensors['pos_embed']
    return dict(tensors, cls_token=tensors['cls_token'] + positions[:, :1], pos_embed=positions[:, 1:])
