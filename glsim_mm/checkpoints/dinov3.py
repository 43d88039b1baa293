"""DINOv3: the names of its authors and of Hugging Face, turned into those of timm's ``Eva``.

Source: https://github.com/facebookresearch/dinov3 and ``models/dinov3_vit`` of transformers.
Positions are rotary, computed, so the file holds none. Keys have no bias: the authors store one and mask it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from .renaming import Renamed, Rules, fuse, rename

_COMMON: Rules = (
    (r'(cls_token|patch_embed\.proj\.\w+|norm\.\w+|head\.\w+)', r'\1'),
    (r'(?:storage_tokens|register_tokens)', 'reg_token'),
)
_AUTHORS: Rules = (
    *_COMMON,
    (r'(blocks\.\d+)\.ls([12])\.gamma', r'\1.gamma_\2'),
    (r'(blocks\.\d+)\.mlp\.w1\.(\w+)', r'\1.mlp.fc1_g.\2'),
    (r'(blocks\.\d+)\.mlp\.w2\.(\w+)', r'\1.mlp.fc1_x.\2'),
    (r'(blocks\.\d+)\.mlp\.w3\.(\w+)', r'\1.mlp.fc2.\2'),
    (r'(blocks\.\d+\.(?:norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.(?:weight|bias))', r'\1'),
)
_HUGGING_FACE: Rules = (
    (r'embeddings\.(cls_token|register_tokens)', r'\1'),
    (r'embeddings\.patch_embeddings\.(\w+)', r'patch_embed.proj.\1'),
    (r'(?:model\.)?layer\.(\d+)\.(norm[12])\.(\w+)', r'blocks.\1.\2.\3'),
    (r'(?:model\.)?layer\.(\d+)\.attention\.([qkv])_proj\.(\w+)', r'blocks.\1.attn.\2.\3'),
    (r'(?:model\.)?layer\.(\d+)\.attention\.o_proj\.(\w+)', r'blocks.\1.attn.proj.\2'),
    (r'(?:model\.)?layer\.(\d+)\.layer_scale([12])\.lambda1', r'blocks.\1.ls\2.gamma'),
    (r'(?:model\.)?layer\.(\d+)\.mlp\.gate_proj\.(\w+)', r'blocks.\1.mlp.w1.\2'),
    (r'(?:model\.)?layer\.(\d+)\.mlp\.up_proj\.(\w+)', r'blocks.\1.mlp.up.\2'),
    (r'(?:model\.)?layer\.(\d+)\.mlp\.down_proj\.(\w+)', r'blocks.\1.mlp.down.\2'),
    (r'norm\.(\w+)', r'norm.\1'),
)


def read_dinov3(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's names for the authors'.

    A bias of queries and values that is all zeros, as most of the published models have, is left out: timm's
    ``vit_*_dinov3`` have none and ``vit_*_dinov3_qkvb`` start it from zero.

    Args:
        tensors: Weights as the authors publish them.

    Returns:
        Weights under timm's names.
    """
    renamed, left_out = rename(tensors, _AUTHORS)
    return Renamed(_split_bias(renamed), left_out)


def read_hf_dinov3(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's names for those of ``transformers.DINOv3ViTModel``.

    Args:
        tensors: Weights of a ``DINOv3ViTModel``.

    Returns:
        Weights under timm's names.
    """
    renamed, left_out = rename(tensors, _HUGGING_FACE)
    renamed = fuse(_with_key_bias(renamed), ('q', 'k', 'v'), 'qkv')
    is_gated = 'blocks.0.mlp.w1.weight' in renamed
    names = ('w2', 'w3') if is_gated else ('fc1', 'fc2')
    rules = [(rf'(.*\.mlp)\.{old}\.(\w+)', rf'\1.{new}.\2') for old, new in zip(('up', 'down'), names)]
    renamed, _ = rename(renamed, [*rules, (r'(.*)', r'\1')])
    return Renamed(read_dinov3(renamed).tensors, left_out)


def _with_key_bias(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give keys the bias of zeros that they compute with, next to the others'."""
    result = dict(tensors)
    for name, tensor in tensors.items():
        if name.endswith('.attn.q.bias'):
            result.setdefault(name.replace('.q.', '.k.'), torch.zeros_like(tensor))
    return result


def _split_bias(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    biases = {name: tensor for name, tensor in tensors.items() if name.endswith('.attn.qkv.bias')}
    result = {name: tensor for name, tensor in tensors.items() if name not in biases}
    parts = {name: tensor.chunk(3) for name, tensor in biases.items()}
    if any(bool(query.any() or value.any()) for query, _, value in parts.values()):
        for name, (query, _, value) in parts.items():
            result[name.replace('qkv.bias', 'q_bias')] = query
            result[name.replace('qkv.bias', 'v_bias')] = value
    return result
