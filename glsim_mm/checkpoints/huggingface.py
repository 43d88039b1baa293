"""Names of Hugging Face transformers: ``ViTModel``, ``Dinov2Model``, ``Dinov2WithRegistersModel``, ``CLIPVisionModel``.

Source: the models' published state dicts (https://github.com/huggingface/transformers, ``models/vit``, ``dinov2``,
``dinov2_with_registers``, ``clip``); DINOv3 is in :mod:`.dinov3`.
"""

from collections.abc import Mapping

from torch import Tensor

from .clip import add_token_axes
from .dinov2 import merge_cls_position
from .renaming import Renamed, Rules, fuse, rename

_LAYER = r'encoder\.layer\.(\d+)\.'
_EMBEDDINGS: Rules = (
    (r'embeddings\.cls_token', 'cls_token'),
    (r'embeddings\.position_embeddings', 'pos_embed'),
    (r'embeddings\.register_tokens', 'reg_token'),
    (r'embeddings\.patch_embeddings\.projection\.(\w+)', r'patch_embed.proj.\1'),
    (r'layernorm\.(\w+)', r'norm.\1'),
    (_LAYER + r'attention\.attention\.(query|key|value)\.(\w+)', r'blocks.\1.attn.\2.\3'),
    (_LAYER + r'attention\.output\.dense\.(\w+)', r'blocks.\1.attn.proj.\2'),
)
_VIT: Rules = (
    *_EMBEDDINGS,
    (_LAYER + r'layernorm_before\.(\w+)', r'blocks.\1.norm1.\2'),
    (_LAYER + r'layernorm_after\.(\w+)', r'blocks.\1.norm2.\2'),
    (_LAYER + r'intermediate\.dense\.(\w+)', r'blocks.\1.mlp.fc1.\2'),
    (_LAYER + r'output\.dense\.(\w+)', r'blocks.\1.mlp.fc2.\2'),
)
_DINOV2: Rules = (
    *_EMBEDDINGS,
    (_LAYER + r'(norm[12])\.(\w+)', r'blocks.\1.\2.\3'),
    (_LAYER + r'layer_scale([12])\.lambda1', r'blocks.\1.ls\2.gamma'),
    (_LAYER + r'mlp\.(fc[12])\.(\w+)', r'blocks.\1.mlp.\2.\3'),
    (_LAYER + r'mlp\.weights_in\.(\w+)', r'blocks.\1.mlp.fc1.\2'),
    (_LAYER + r'mlp\.weights_out\.(\w+)', r'blocks.\1.mlp.fc2.\2'),
)
_CLIP_LAYER = r'encoder\.layers\.(\d+)\.'
_CLIP: Rules = (
    (r'embeddings\.class_embedding', 'cls_token'),
    (r'embeddings\.position_embedding\.weight', 'pos_embed'),
    (r'embeddings\.patch_embedding\.(weight|bias)', r'patch_embed.proj.\1'),
    (r'pre_layrnorm\.(\w+)', r'norm_pre.\1'),  # transformers' spelling
    (r'post_layernorm\.(\w+)', r'norm.\1'),
    (_CLIP_LAYER + r'self_attn\.([qkv])_proj\.(\w+)', r'blocks.\1.attn.\2.\3'),
    (_CLIP_LAYER + r'self_attn\.out_proj\.(\w+)', r'blocks.\1.attn.proj.\2'),
    (_CLIP_LAYER + r'layer_norm([12])\.(\w+)', r'blocks.\1.norm\2.\3'),
    (_CLIP_LAYER + r'mlp\.(fc[12])\.(\w+)', r'blocks.\1.mlp.\2.\3'),
)


def read_hf_vit(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's names for those of ``transformers.ViTModel``; the pooler is left out."""
    renamed, left_out = rename(tensors, _VIT)
    return Renamed(fuse(renamed, ('query', 'key', 'value'), 'qkv'), left_out)


def read_hf_dinov2(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's names for those of ``transformers.Dinov2Model`` and ``Dinov2WithRegistersModel``."""
    renamed, left_out = rename(tensors, _DINOV2)
    return Renamed(merge_cls_position(fuse(renamed, ('query', 'key', 'value'), 'qkv')), left_out)


def read_hf_clip(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's names for those of the image tower of ``transformers.CLIPModel``."""
    renamed, left_out = rename(tensors, _CLIP)
    return Renamed(add_token_axes(fuse(renamed, ('q', 'k', 'v'), 'qkv')), left_out)
