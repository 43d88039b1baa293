"""Which model of timm computes with an encoder's weights, told by their layout and shapes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import GLSimError
from .vit_weights import VitDescription, VitWeights, describe, position_tokens

# Heads by width, where they are not what describe() takes them to be: ViT-H+ and 7B; SO400M and g-opt.
_DINOV3_HEADS, _SIGLIP_HEADS = {1280: 20, 4096: 32}, {1152: 16, 1536: 16}
_DINOV3_LAYOUTS = ('dinov3', 'hf-dinov3')


class TimmModel(NamedTuple):
    """A model of timm.

    >>> timm_model_of(read_backbone('dinov2_vits14_pretrain.pth')).options['embed_dim']
    384

    Attributes:
        name: A name that ``timm.create_model`` knows.
        options: Arguments of ``timm.create_model`` in which it differs from the model of that name; plain values.
        image_size: Height and width in pixels for which the weights have positions; None if they do not tell.
    """

    name: str
    options: dict[str, Any]
    image_size: tuple[int, int] | None = None


def timm_model_of(weights: VitWeights, head: Mapping[str, Tensor] | None = None) -> TimmModel:
    """The model for the weights of a plain ViT, DINOv2, DINOv3, or the image tower of CLIP or SigLIP.

    Shapes do not tell the number of heads, which is taken to be that of published models of this
    width, else C / 64, nor the activation, which is taken to be GELU.

    Args:
        weights: Of the encoder.
        head: What :func:`glsim_mm.checkpoints.image_towers.read_tower_head` finds behind it; the model keeps it.

    Raises:
        GLSimError: If there is no such model; the message says to name one.
    """
    tensors = weights.tensors
    shape = describe(tensors)
    square = shape.patch_size[0] == shape.patch_size[1]
    options: dict[str, Any] = dict(
        embed_dim=shape.embed_dims,
        depth=shape.num_layers,
        num_heads=shape.num_heads,
        patch_size=shape.patch_size[0] if square else shape.patch_size,
        mlp_ratio=shape.feedforward_channels / shape.embed_dims,
    )
    width = shape.embed_dims
    # Other models with rotary positions have no registers, and compute them in another way.
    if weights.layout in _DINOV3_LAYOUTS or {'reg_token', 'blocks.0.gamma_1'} <= tensors.keys() - {'pos_embed'}:
        name = f'vit_small{"_plus" if shape.is_gated else ""}_patch16_dinov3{"_qkvb" if shape.has_qkv_bias else ""}'
        options['num_heads'] = _DINOV3_HEADS.get(width, shape.num_heads)
        return TimmModel(name, dict(options, num_reg_tokens=shape.num_registers))
    pools, projection = 'attn_pool.latent' in (head or {}), (head or {}).get('head.weight')
    if pools or projection is not None:
        options.update(with_head=True, num_classes=0 if projection is None else len(projection))
    if pools and 'pos_embed' in tensors and not shape.has_cls_token:
        options['num_heads'] = _SIGLIP_HEADS.get(width, shape.num_heads)
        if weights.layout == 'hf-siglip' or width == 1536 or (width, shape.patch_size[0]) == (1152, 16):
            options['act_layer'] = 'gelu_tanh'
        return TimmModel('vit_base_patch16_siglip_224', options, _image_size(shape))
    if 'pos_embed' not in tensors or not shape.has_cls_token or pools:
        raise GLSimError(
            f'the weights have {_oddity(tensors, pools)}, so that shapes do not tell the model: name one of '
            'timm.list_models("*vit*") by --arch (in Python, arch)'
        )
    if shape.num_registers:
        num_leading = position_tokens(tensors['pos_embed'].shape[1], True, shape.num_registers)[0]
        options.update(reg_tokens=shape.num_registers, no_embed_class=num_leading == 0)
    if shape.has_layer_scale:
        options['init_values'] = 1e-5
    if shape.is_gated:
        options['mlp_ratio'] = _fused_width(tensors) / shape.embed_dims
        name = 'vit_giant_patch14_dinov2'
    elif shape.has_pre_norm:
        name = 'vit_base_patch16_clip_224'
    else:
        name = 'vit_small_patch16_224'
        options['qkv_bias'] = shape.has_qkv_bias
    return TimmModel(name, options, _image_size(shape))


def _oddity(tensors: Mapping[str, Tensor], pools: bool) -> str:
    if 'pos_embed' not in tensors:
        return 'no position embedding'
    return 'a pooling by attention beside a CLS token' if pools else 'no CLS token'


def _image_size(shape: VitDescription) -> tuple[int, int] | None:
    if shape.grid is None:
        return None
    return shape.grid[0] * shape.patch_size[0], shape.grid[1] * shape.patch_size[1]


def _fused_width(tensors: Mapping[str, Tensor]) -> int:
    """Width of the first layer of the MLPs, which holds gate and input."""
    if 'blocks.0.mlp.fc1.weight' not in tensors:
        raise GLSimError('shapes do not tell the model: name one of timm.list_models("*vit*") by --arch')
    return tensors['blocks.0.mlp.fc1.weight'].shape[0]
