"""The image tower of OpenAI's CLIP and of open_clip (https://github.com/openai/CLIP, mlfoundations/open_clip)."""

from collections.abc import Mapping

from torch import Tensor

from .renaming import Renamed, Rules, rename

_BLOCK = r'transformer\.resblocks\.(\d+)\.'
_RULES: Rules = (
    (r'class_embedding', 'cls_token'),
    (r'positional_embedding', 'pos_embed'),
    (r'conv1\.(\w+)', r'patch_embed.proj.\1'),
    (r'ln_pre\.(\w+)', r'norm_pre.\1'),
    (r'ln_post\.(\w+)', r'norm.\1'),
    (_BLOCK + r'ln_([12])\.(\w+)', r'blocks.\1.norm\2.\3'),
    (_BLOCK + r'ls_([12])\.gamma', r'blocks.\1.ls\2.gamma'),
    (_BLOCK + r'attn\.in_proj_(\w+)', r'blocks.\1.attn.qkv.\2'),
    (_BLOCK + r'attn\.out_proj\.(\w+)', r'blocks.\1.attn.proj.\2'),
    (_BLOCK + r'mlp\.c_fc\.(\w+)', r'blocks.\1.mlp.fc1.\2'),
    (_BLOCK + r'mlp\.c_proj\.(\w+)', r'blocks.\1.mlp.fc2.\2'),
)


def read_clip(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's names for those of an image tower; the projection to the space shared with text is left out.

    Args:
        tensors: Weights under ``visual.``, without that prefix.

    Returns:
        Weights under timm's names.
    """
    renamed, left_out = rename(tensors, _RULES)
    return Renamed(add_token_axes(renamed), left_out)


def add_token_axes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give CLIP's token (C,) and positions (1 + N, C) the axes of timm's; a new dictionary."""
    result = dict(tensors)
    for name in ('cls_token', 'pos_embed'):
        if name in result:
            result[name] = result[name].reshape(1, -1, result[name].shape[-1])
    return result
