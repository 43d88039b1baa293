"""What image towers of CLIP and SigLIP compute behind their tokens, under timm's names, from files of any layout.

Encoders are read without it (:func:`glsim_mm.checkpoints.vit_layouts.read_vit`): only searches by text need the space
that images share with texts. Sources: those of :mod:`glsim_mm.checkpoints.published_names`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from .vit_layouts import find_layout
from .vit_names import Rules, rename

_POOLING: Rules = (
    (r'head\.probe', 'latent'),
    (r'head\.attention\.in_proj_(weight|bias)', r'qkv.\1'),
    (r'head\.attention\.out_proj\.(weight|bias)', r'proj.\1'),
    (r'head\.layernorm\.(weight|bias)', r'norm.\1'),
    (r'head\.mlp\.(fc[12])\.(weight|bias)', r'mlp.\1.\2'),
)


def read_tower_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The head of an image tower: ``head.weight`` (D, C) and ``head.bias`` of CLIP, ``attn_pool.*`` of SigLIP.

    Args:
        tensors: What the file holds, under its own names.

    Returns:
        Empty of files that are no such tower's.
    """
    found = find_layout(tensors)
    if found is None:
        return {}
    layout, prefix = found
    inside = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if layout.kind == 'hf-siglip':
        return _pooling(inside)
    if layout.kind == 'timm':
        pooling = {name: tensor for name, tensor in inside.items() if name.startswith('attn_pool.')}
        return {**pooling, **_projection(tensors.get('visual.head.proj.weight'))}
    if layout.kind == 'clip':
        projection = inside.get('proj')
        return _projection(None if projection is None else projection.T)
    return _projection(tensors.get('visual_projection.weight')) if layout.kind == 'hf-clip' else {}


def _projection(weight: Tensor | None) -> dict[str, Tensor]:
    """A projection (D, C) as a linear layer of timm's, which has a bias."""
    if weight is None:
        return {}
    return {'head.weight': weight.contiguous(), 'head.bias': torch.zeros(len(weight), dtype=weight.dtype)}


def _pooling(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' pooling, whose query is projected beside keys and values, as timm's."""
    renamed, _ = rename(tensors, _POOLING)
    head: dict[str, Tensor] = {}
    for name, tensor in renamed.items():
        if name.startswith('qkv.'):
            part, width = name.removeprefix('qkv.'), len(tensor) // 3
            head[f'attn_pool.q.{part}'], head[f'attn_pool.kv.{part}'] = tensor[:width], tensor[width:]
        else:
            head[f'attn_pool.{name}'] = tensor
    return head
