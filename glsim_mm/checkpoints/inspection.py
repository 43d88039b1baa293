"""What a file of weights holds, in a few lines, and the backbone config that it belongs to."""

from pprint import pformat
from typing import Any

from ..errors import name_some
from .addresses import expected_layout, load_whole, read_address
from .vit_layouts import read_vit
from .vit_weights import VitDescription, describe

_NUM_NAMED = 8
_SETTINGS = (
    'dataset_name', 'image_size', 'dynamic_top', 'sim_metric', 'aggregator_num_hidden_layers', 'num_classes',
    'model_name', 'classifier', 'reducer', 'dynamic_anchor', 'select_top_k', 'aggregator_type',
)  # fmt: skip
_META = ('epoch', 'iter', 'experiment_name', 'git_commit', 'metrics')
_EPS = {'clip': 1e-5, 'hf-clip': 1e-5, 'hf-vit': 1e-12, 'glsim': 1e-12}
_DEFAULT_EPS = 1e-6


def inspect_checkpoint(address: str, layout: str | None = None) -> list[str]:
    """Describe weights in lines of text: layout, architecture, backbone config, and what else the file holds.

    Args:
        address: A path, ``SCHEME://FILE`` or ``timm://NAME``.
        layout: Layout to expect. By default the names tell.

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
    if weights.layout.startswith('glsim'):  # of the authors' checkpoints all is read that their forward pass reads
        whole = load_whole(address)
        model = pformat(whole['meta']['model'], sort_dicts=False)
        return [*lines, f'left out    {_list(list(whole["unread"]))}', 'model', model]
    lines.append(f'left out    {_list(weights.left_out)}')
    config = backbone_config(vit, weights.layout)
    if config is None:
        return [*lines, f"backbone    TimmViT(model_name=..., checkpoint_path='{address}')"]
    return [*lines, 'backbone', pformat(config, sort_dicts=False)]


def _architecture(vit: VitDescription) -> list[str]:
    height, width = vit.patch_size
    rows, columns = vit.grid or (0, 0)
    parts = {
        'CLS token' if vit.has_cls_token else 'no CLS token': True,
        f'{vit.num_registers} registers': vit.num_registers,
        'LayerScale': vit.has_layer_scale,
        'pre-norm': vit.has_pre_norm,
        'gated MLP': vit.is_gated,
        'no bias of queries and values': not vit.has_qkv_bias,
        f'classifier of {vit.num_classes}': vit.num_classes,
    }
    positions = f'{rows}x{columns} patches, {rows * height}x{columns * width} px' if vit.grid else 'no square grid'
    return [
        f'size        {vit.num_layers} layers, {vit.embed_dims} channels, MLP {vit.feedforward_channels}, '
        f'{vit.num_heads} heads (a guess)',
        f'patches     {height}x{width} px',
        f'positions   {positions}',
        f'parts       {", ".join(part for part, is_there in parts.items() if is_there)}',
    ]


def _list(names: list[str]) -> str:
    return name_some(names, _NUM_NAMED) or 'nothing'


def backbone_config(vit: VitDescription, layout: str) -> dict[str, Any] | None:
    """Arguments of the ``GLSimViT`` that a description fits, without its defaults; None where only ``TimmViT`` will do.

    Weights tell neither heads, nor LayerNorm's epsilon, nor the activation: these follow from the layout, and are
    right for the models that its authors publish.
    """
    if vit.num_registers or vit.grid is None or not vit.has_cls_token:
        return None
    height, width = vit.patch_size
    # mmpretrain's gated MLP makes two thirds of its feedforward_channels its hidden width
    hidden = vit.feedforward_channels * 3 // 2 if vit.is_gated else vit.feedforward_channels
    config: dict[str, Any] = dict(
        type='GLSimViT',
        arch=dict(
            embed_dims=vit.embed_dims,
            num_layers=vit.num_layers,
            num_heads=vit.num_heads,
            feedforward_channels=hidden,
        ),
        img_size=(vit.grid[0] * height, vit.grid[1] * width),
        patch_size=height if height == width else vit.patch_size,
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
    layer_cfgs: dict[str, Any] = dict(ffn_type='swiglu_fused') if vit.is_gated else {}
    if layout in ('clip', 'hf-clip'):  # OpenAI's; open_clip's own models use GELU
        layer_cfgs.update(act_cfg=dict(type='mmpretrain.QuickGELU'))
    if layer_cfgs:
        config.update(layer_cfgs=layer_cfgs)
    return config
