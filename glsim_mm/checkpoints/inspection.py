"""What a file of weights holds, in a few lines, and the backbone config that it belongs to."""

from pprint import pformat
from typing import Any

from .addresses import expected_layout, load_whole, read_address
from .vit_layouts import read_vit
from .vit_weights import VitDescription, describe

_NUM_NAMED = 8
_SETTINGS = ('dataset_name', 'image_size', 'dynamic_top', 'sim_metric', 'aggregator_num_hidden_layers', 'num_classes')
_META = ('epoch', 'iter', 'experiment_name', 'git_commit', 'metrics')


def inspect_checkpoint(address: str, layout: str | None = None) -> list[str]:
    """Describe weights.

    Args:
        address: A path, ``SCHEME://FILE`` or ``timm://NAME``.
        layout: Layout to expect. By default the names tell.

    Returns:
        Lines of text: layout, architecture, backbone config, and what else the file holds.

    Raises:
        GLSimError: If it cannot be had or read, or is no ViT.
    """
    checkpoint = read_address(address)
    weights = read_vit(checkpoint.tensors, address, layout or expected_layout(address))
    vit = describe(weights.tensors)
    lines = [f'layout      {weights.layout}', *_architecture(vit)]
    if checkpoint.settings:
        known = [f'{name}={checkpoint.settings[name]}' for name in _SETTINGS if name in checkpoint.settings]
        lines.append(f'settings    {", ".join(known)}')
    known = [f'{name}={checkpoint.meta[name]}' for name in _META if checkpoint.meta.get(name) is not None]
    if known:
        lines.append(f'provenance  {", ".join(known)}')
    if weights.layout == 'glsim':
        return [*lines, *_whole_model(address)]
    lines.append(f'left out    {_list(weights.left_out)}')
    config = backbone_config(vit, weights.layout)
    if config is None:
        lines.append(f"backbone    TimmViT(model_name=..., checkpoint_path='{address}')")
    else:
        lines += ['backbone', pformat(config, sort_dicts=False)]
    return lines


def _whole_model(address: str) -> list[str]:
    """Lines about one of the authors' checkpoints, of which everything is read that their forward pass reads."""
    whole = load_whole(address)
    model = pformat(whole['meta']['model'], sort_dicts=False)
    return [f'left out    {_list(list(whole["unread"]))}', 'model', model]


def _architecture(vit: VitDescription) -> list[str]:
    height, width = usual_side(vit)
    positions = f'{vit.grid[0]}x{vit.grid[1]} patches, {height}x{width} px' if vit.grid else 'no square grid'
    parts = [
        *(['CLS token'] if vit.has_cls_token else ['no CLS token']),
        *([f'{vit.num_registers} registers'] if vit.num_registers else []),
        *(['LayerScale'] if vit.has_layer_scale else []),
        *(['pre-norm'] if vit.has_pre_norm else []),
        *(['gated MLP'] if vit.is_gated else []),
        *([] if vit.has_qkv_bias else ['no bias of queries and values']),
        *([f'classifier of {vit.num_classes}'] if vit.num_classes else []),
    ]
    return [
        f'size        {vit.num_layers} layers, {vit.embed_dims} channels, MLP {vit.feedforward_channels}, '
        f'{vit.num_heads} heads (a guess)',
        f'patches     {vit.patch_size[0]}x{vit.patch_size[1]} px',
        f'positions   {positions}',
        f'parts       {", ".join(parts)}',
    ]


def _list(names: list[str]) -> str:
    if not names:
        return 'nothing'
    more = f' and {len(names) - _NUM_NAMED} more' if len(names) > _NUM_NAMED else ''
    return ', '.join(names[:_NUM_NAMED]) + more


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
