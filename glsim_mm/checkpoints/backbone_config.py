"""The backbone config that a file of weights belongs to."""

from typing import Any

from .vit_weights import VitDescription

_EPS = {'clip': 1e-5, 'hf-clip': 1e-5, 'hf-vit': 1e-12, 'glsim': 1e-12}
_DEFAULT_EPS = 1e-6
_DEFAULT_SIDE = 224


def backbone_config(vit: VitDescription, layout: str) -> dict[str, Any] | None:
    """Config of the ``GLSimViT`` that a description fits.

    Weights tell neither heads, nor LayerNorm's epsilon, nor the activation: these follow from the layout, and are
    right for the models that its authors publish.

    Args:
        vit: What the shapes say.
        layout: Where the names came from.

    Returns:
        dict | None: Arguments of ``GLSimViT`` that differ from its defaults; None where only ``TimmViT`` will do.
    """
    if vit.num_registers or vit.grid is None or not vit.has_cls_token:
        return None
    patch = vit.patch_size[0] if vit.patch_size[0] == vit.patch_size[1] else vit.patch_size
    config: dict[str, Any] = dict(
        type='GLSimViT',
        arch=dict(
            embed_dims=vit.embed_dims,
            num_layers=vit.num_layers,
            num_heads=vit.num_heads,
            # mmpretrain's gated MLP makes two thirds of this its hidden width
            feedforward_channels=vit.feedforward_channels * 3 // 2 if vit.is_gated else vit.feedforward_channels,
        ),
        img_size=(vit.grid[0] * vit.patch_size[0], vit.grid[1] * vit.patch_size[1]),
        patch_size=patch,
        norm_cfg=dict(type='LN', eps=_EPS.get(layout, _DEFAULT_EPS)),
    )
    if vit.has_layer_scale:
        config.update(layer_scale_init_value=1e-5)
    if vit.has_pre_norm:
        config.update(pre_norm=True)
    if vit.has_pre_norm and vit.has_patch_bias:
        config.update(patch_cfg=dict(bias=True))
    if not vit.has_qkv_bias:
        config.update(qkv_bias=False)
    layer_cfgs: dict[str, Any] = {}
    if vit.is_gated:
        layer_cfgs.update(ffn_type='swiglu_fused')
    if layout in ('clip', 'hf-clip'):  # OpenAI's; open_clip's own models use GELU
        layer_cfgs.update(act_cfg=dict(type='mmpretrain.QuickGELU'))
    if layer_cfgs:
        config.update(layer_cfgs=layer_cfgs)
    return config


def usual_side(vit: VitDescription) -> tuple[int, int]:
    """Height and width in pixels of the images for which the position embedding is stored; 224 without one."""
    if vit.grid is None:
        return _DEFAULT_SIDE, _DEFAULT_SIDE
    return vit.grid[0] * vit.patch_size[0], vit.grid[1] * vit.patch_size[1]
