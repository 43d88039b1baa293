"""Encoders under the names of other projects, turned into timm's.

Sources: https://github.com/google-research/vision_transformer and https://github.com/google-research/big_vision,
https://github.com/openai/CLIP and https://github.com/mlfoundations/open_clip,
https://github.com/facebookresearch/dinov2 and https://github.com/facebookresearch/dinov3, and the models' published
state dicts of https://github.com/huggingface/transformers. Each function takes the tensors without a prefix, such as
``visual.`` or ``params/``, and leaves out what no forward pass of the encoder reads.
"""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import GLSimError
from .vit_names import Renamed, Rules, fuse, rename

# Buffers and parts of pre-training in files with timm's names.
_NO_ENCODER = re.compile(
    r'mask_token|.*\.relative_position_index|rope\..*|attn_pool\..*|head_dist\..*|decoder.*|pre_logits\..*|lm_head\..*'
)
_GOOGLE_BLOCK = r'Transformer/encoderblock_(\d+)/'
_GOOGLE: Rules = (
    (r'cls', 'cls_token'),
    (r'(?:Transformer/posembed_input/)?pos_embedding', 'pos_embed'),
    (r'embedding/(kernel|bias)', r'patch_embed.proj.\1'),
    (r'Transformer/encoder_norm/(scale|bias)', r'norm.\1'),
    (r'head/(kernel|bias)', r'head.\1'),
    (_GOOGLE_BLOCK + r'LayerNorm_0/(\w+)', r'blocks.\1.norm1.\2'),
    (_GOOGLE_BLOCK + r'LayerNorm_[12]/(\w+)', r'blocks.\1.norm2.\2'),
    (_GOOGLE_BLOCK + r'MultiHeadDotProductAttention_[01]/(query|key|value)/(\w+)', r'blocks.\1.attn.\2.\3'),
    (_GOOGLE_BLOCK + r'MultiHeadDotProductAttention_[01]/out/(\w+)', r'blocks.\1.attn.proj.\2'),
    (_GOOGLE_BLOCK + r'MlpBlock_[03]/Dense_0/(\w+)', r'blocks.\1.mlp.fc1.\2'),
    (_GOOGLE_BLOCK + r'MlpBlock_[03]/Dense_1/(\w+)', r'blocks.\1.mlp.fc2.\2'),
)
_CLIP_BLOCK = r'transformer\.resblocks\.(\d+)\.'
_CLIP: Rules = (
    (r'class_embedding', 'cls_token'),
    (r'positional_embedding', 'pos_embed'),
    (r'conv1\.(\w+)', r'patch_embed.proj.\1'),
    (r'ln_pre\.(\w+)', r'norm_pre.\1'),
    (r'ln_post\.(\w+)', r'norm.\1'),
    (_CLIP_BLOCK + r'ln_([12])\.(\w+)', r'blocks.\1.norm\2.\3'),
    (_CLIP_BLOCK + r'ls_([12])\.gamma', r'blocks.\1.ls\2.gamma'),
    (_CLIP_BLOCK + r'attn\.in_proj_(\w+)', r'blocks.\1.attn.qkv.\2'),
    (_CLIP_BLOCK + r'attn\.out_proj\.(\w+)', r'blocks.\1.attn.proj.\2'),
    (_CLIP_BLOCK + r'mlp\.c_fc\.(\w+)', r'blocks.\1.mlp.fc1.\2'),
    (_CLIP_BLOCK + r'mlp\.c_proj\.(\w+)', r'blocks.\1.mlp.fc2.\2'),
)
_DINOV2_BLOCK = r'blocks\.(?:\d+\.)?(\d+)\.'  # training checkpoints number the blocks within chunks: blocks.CHUNK.BLOCK
_DINOV2: Rules = (
    (r'(cls_token|pos_embed|patch_embed\.proj\.\w+|norm\.\w+|head\.\w+)', r'\1'),
    (r'register_tokens', 'reg_token'),
    (_DINOV2_BLOCK + r'mlp\.w12\.(\w+)', r'blocks.\1.mlp.fc1.\2'),
    (_DINOV2_BLOCK + r'mlp\.w3\.(\w+)', r'blocks.\1.mlp.fc2.\2'),
    (_DINOV2_BLOCK + r'((?:norm|attn|ls|mlp).*)', r'blocks.\1.\2'),
)
_DINOV3: Rules = (
    (r'(cls_token|patch_embed\.proj\.\w+|norm\.\w+|head\.\w+)', r'\1'),
    (r'(?:storage_tokens|register_tokens)', 'reg_token'),
    (r'(blocks\.\d+)\.ls([12])\.gamma', r'\1.gamma_\2'),
    (r'(blocks\.\d+)\.mlp\.w1\.(\w+)', r'\1.mlp.fc1_g.\2'),
    (r'(blocks\.\d+)\.mlp\.w2\.(\w+)', r'\1.mlp.fc1_x.\2'),
    (r'(blocks\.\d+)\.mlp\.w3\.(\w+)', r'\1.mlp.fc2.\2'),
    (r'(blocks\.\d+\.(?:norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.(?:weight|bias))', r'\1'),
)
_HF_DINOV3_LAYER = r'(?:model\.)?layer\.(\d+)\.'
_HF_DINOV3: Rules = (
    (r'embeddings\.(cls_token|register_tokens)', r'\1'),
    (r'embeddings\.patch_embeddings\.(\w+)', r'patch_embed.proj.\1'),
    (_HF_DINOV3_LAYER + r'(norm[12])\.(\w+)', r'blocks.\1.\2.\3'),
    (_HF_DINOV3_LAYER + r'attention\.([qkv])_proj\.(\w+)', r'blocks.\1.attn.\2.\3'),
    (_HF_DINOV3_LAYER + r'attention\.o_proj\.(\w+)', r'blocks.\1.attn.proj.\2'),
    (_HF_DINOV3_LAYER + r'layer_scale([12])\.lambda1', r'blocks.\1.ls\2.gamma'),
    (_HF_DINOV3_LAYER + r'mlp\.gate_proj\.(\w+)', r'blocks.\1.mlp.w1.\2'),
    (_HF_DINOV3_LAYER + r'mlp\.up_proj\.(\w+)', r'blocks.\1.mlp.up.\2'),
    (_HF_DINOV3_LAYER + r'mlp\.down_proj\.(\w+)', r'blocks.\1.mlp.down.\2'),
    (r'norm\.(\w+)', r'norm.\1'),
)
_HF_LAYER = r'encoder\.layer\.(\d+)\.'
_HF_COMMON: Rules = (
    (r'embeddings\.cls_token', 'cls_token'),
    (r'embeddings\.position_embeddings', 'pos_embed'),
    (r'embeddings\.register_tokens', 'reg_token'),
    (r'embeddings\.patch_embeddings\.projection\.(\w+)', r'patch_embed.proj.\1'),
    (r'layernorm\.(\w+)', r'norm.\1'),
    (_HF_LAYER + r'attention\.attention\.(query|key|value)\.(\w+)', r'blocks.\1.attn.\2.\3'),
    (_HF_LAYER + r'attention\.output\.dense\.(\w+)', r'blocks.\1.attn.proj.\2'),
)
_HF_VIT: Rules = (
    *_HF_COMMON,
    (_HF_LAYER + r'layernorm_before\.(\w+)', r'blocks.\1.norm1.\2'),
    (_HF_LAYER + r'layernorm_after\.(\w+)', r'blocks.\1.norm2.\2'),
    (_HF_LAYER + r'intermediate\.dense\.(\w+)', r'blocks.\1.mlp.fc1.\2'),
    (_HF_LAYER + r'output\.dense\.(\w+)', r'blocks.\1.mlp.fc2.\2'),
)
_HF_DINOV2: Rules = (
    *_HF_COMMON,
    (_HF_LAYER + r'(norm[12])\.(\w+)', r'blocks.\1.\2.\3'),
    (_HF_LAYER + r'layer_scale([12])\.lambda1', r'blocks.\1.ls\2.gamma'),
    (_HF_LAYER + r'mlp\.(fc[12])\.(\w+)', r'blocks.\1.mlp.\2.\3'),
    (_HF_LAYER + r'mlp\.weights_in\.(\w+)', r'blocks.\1.mlp.fc1.\2'),
    (_HF_LAYER + r'mlp\.weights_out\.(\w+)', r'blocks.\1.mlp.fc2.\2'),
)
_HF_CLIP_LAYER = r'encoder\.layers\.(\d+)\.'
_HF_CLIP: Rules = (
    (r'embeddings\.class_embedding', 'cls_token'),
    (r'embeddings\.position_embedding\.weight', 'pos_embed'),
    (r'embeddings\.patch_embedding\.(weight|bias)', r'patch_embed.proj.\1'),
    (r'pre_layrnorm\.(\w+)', r'norm_pre.\1'),  # transformers' spelling
    (r'post_layernorm\.(\w+)', r'norm.\1'),
    (_HF_CLIP_LAYER + r'self_attn\.([qkv])_proj\.(\w+)', r'blocks.\1.attn.\2.\3'),
    (_HF_CLIP_LAYER + r'self_attn\.out_proj\.(\w+)', r'blocks.\1.attn.proj.\2'),
    (_HF_CLIP_LAYER + r'layer_norm([12])\.(\w+)', r'blocks.\1.norm\2.\3'),
    (_HF_CLIP_LAYER + r'mlp\.(fc[12])\.(\w+)', r'blocks.\1.mlp.\2.\3'),
)


def read_timm(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's own names, also behind the prefixes of open_clip (``visual.trunk.``) and of this project's ``TimmViT``."""
    left_out = [name for name in tensors if _NO_ENCODER.fullmatch(name)]
    return Renamed({name: tensor for name, tensor in tensors.items() if name not in set(left_out)}, left_out)


def read_google_npz(tensors: Mapping[str, Tensor]) -> Renamed:
    """Google's arrays: the original ImageNet-21k models, augreg, and big_vision's; matrices are transposed to torch's.

    ``pre_logits``, the layer that fine-tuning drops, is left out. A ResNet stem raises :class:`GLSimError`.
    """
    if 'conv_root/kernel' in tensors:
        raise GLSimError('the weights have a ResNet stem (conv_root/kernel); get the file of a plain ViT')
    renamed, unknown = rename(_unstack(tensors), _GOOGLE)
    left_out = dict.fromkeys(name if name in tensors else re.sub(r'block_\d+/', 'block/', name) for name in unknown)
    arranged = {re.sub(r'\.(kernel|scale)$', '.weight', name): _arrange(name, renamed[name]) for name in renamed}
    return Renamed(fuse(arranged, ('query', 'key', 'value'), 'qkv'), list(left_out))


def read_clip(tensors: Mapping[str, Tensor]) -> Renamed:
    """The image tower of OpenAI's CLIP and of open_clip, without the projection to the space shared with text."""
    renamed, left_out = rename(tensors, _CLIP)
    return Renamed(_with_token_axes(renamed), left_out)


def read_dinov2(tensors: Mapping[str, Tensor]) -> Renamed:
    """The DINOv2 authors' models, with and without registers, without ``mask_token``.

    timm's models with registers store positions of patches alone, so there the CLS token's is added to the token.
    """
    renamed, left_out = rename(tensors, _DINOV2)
    return Renamed(_without_cls_position(renamed), left_out)


def read_dinov3(tensors: Mapping[str, Tensor]) -> Renamed:
    """The DINOv3 authors' models, as timm's ``Eva``.

    Positions are rotary, computed, so the file holds none. Keys have no bias: the authors store one and mask it. A bias
    of queries and values that is all zeros, as most of the published models have, is left out: timm's
    ``vit_*_dinov3`` have none and ``vit_*_dinov3_qkvb`` start it from zero.
    """
    renamed, left_out = rename(tensors, _DINOV3)
    biases = {name: renamed.pop(name).chunk(3) for name in list(renamed) if name.endswith('.attn.qkv.bias')}
    if any(bool(query.any() or value.any()) for query, _, value in biases.values()):
        for name, (query, _, value) in biases.items():
            renamed[name.replace('qkv.bias', 'q_bias')] = query
            renamed[name.replace('qkv.bias', 'v_bias')] = value
    return Renamed(renamed, left_out)


def read_hf_vit(tensors: Mapping[str, Tensor]) -> Renamed:
    """``transformers.ViTModel``, without the pooler."""
    renamed, left_out = rename(tensors, _HF_VIT)
    return Renamed(fuse(renamed, ('query', 'key', 'value'), 'qkv'), left_out)


def read_hf_dinov2(tensors: Mapping[str, Tensor]) -> Renamed:
    """``transformers.Dinov2Model`` and ``Dinov2WithRegistersModel``."""
    renamed, left_out = rename(tensors, _HF_DINOV2)
    return Renamed(_without_cls_position(fuse(renamed, ('query', 'key', 'value'), 'qkv')), left_out)


def read_hf_dinov3(tensors: Mapping[str, Tensor]) -> Renamed:
    """``transformers.DINOv3ViTModel``."""
    renamed, left_out = rename(tensors, _HF_DINOV3)
    for name in [name for name in renamed if name.endswith('.attn.q.bias')]:  # keys compute with a bias of zeros
        renamed.setdefault(name.replace('.q.', '.k.'), torch.zeros_like(renamed[name]))
    fused = fuse(renamed, ('q', 'k', 'v'), 'qkv')
    up, down = ('w2', 'w3') if 'blocks.0.mlp.w1.weight' in fused else ('fc1', 'fc2')
    published = {name.replace('.up.', f'.{up}.').replace('.down.', f'.{down}.'): fused[name] for name in fused}
    return Renamed(read_dinov3(published).tensors, left_out)


def read_hf_clip(tensors: Mapping[str, Tensor]) -> Renamed:
    """The image tower of ``transformers.CLIPModel``."""
    renamed, left_out = rename(tensors, _HF_CLIP)
    return Renamed(_with_token_axes(fuse(renamed, ('q', 'k', 'v'), 'qkv')), left_out)


def read_hf_siglip(tensors: Mapping[str, Tensor]) -> Renamed:
    """The image tower of ``transformers.SiglipModel`` and ``Siglip2Model``, without its pooling by attention."""
    renamed, left_out = read_hf_clip(tensors)
    patches = renamed.get('patch_embed.proj.weight')
    if patches is not None and patches.ndim == 2:  # SigLIP 2 of any aspect ratio multiplies flat patches (h, w, 3)
        side = math.isqrt(patches.shape[1] // 3)
        renamed['patch_embed.proj.weight'] = patches.unflatten(1, (side, side, 3)).permute(0, 3, 1, 2).contiguous()
    return Renamed(renamed, left_out)


def _unstack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each block its own arrays where big_vision stacks those of all blocks (``encoderblock/``)."""
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if '/encoderblock/' in name:
            parts = {name.replace('block/', f'block_{i}/'): part for i, part in enumerate(tensor)}
        else:
            parts = {name: tensor}
        result.update(parts)
    return result


def _arrange(name: str, tensor: Tensor) -> Tensor:
    """Shape and order of axes of torch's layers."""
    if name.endswith('.bias'):
        return tensor.reshape(-1)
    if not name.endswith('.kernel'):
        return tensor
    if tensor.ndim == 4:  # convolution (h, w, in, out)
        return tensor.permute(3, 2, 0, 1).contiguous()
    if name.endswith('.attn.proj.kernel'):  # (heads, channels, out)
        return tensor.flatten(0, 1).T.contiguous()
    return tensor.flatten(1).T.contiguous()  # (in, out), or (in, heads, channels) of queries, keys and values


def _with_token_axes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's token (C,) and positions (1 + N, C) with the axes of timm's."""
    found = [name for name in ('cls_token', 'pos_embed') if name in tensors]
    return tensors | {name: tensors[name].reshape(1, -1, tensors[name].shape[-1]) for name in found}


def _without_cls_position(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The CLS token's position added to the token, where there are registers."""
    if 'reg_token' not in tensors:
        return tensors
    positions = tensors['pos_embed']
    return dict(tensors, cls_token=tensors['cls_token'] + positions[:, :1], pos_embed=positions[:, 1:])
