"""What a file of weights holds, in a few lines."""

from pprint import pformat

from .backbone_config import backbone_config, usual_side
from .layouts import read_vit
from .schemes import load_whole
from .sources import parse_address, read_address
from .vit_weights import VitDescription, describe

_NUM_NAMED = 8
_SETTINGS = ('dataset_name', 'image_size', 'dynamic_top', 'sim_metric', 'aggregator_num_hidden_layers', 'num_classes')
_META = ('epoch', 'iter', 'experiment_name', 'git_commit', 'metrics')


def inspect_checkpoint(address: str, layout: str | None = None) -> list[str]:
    """Describe weights.

    Args:
        address: A path, ``SCHEME://FILE`` or ``timm://NAME``.
        layout: Layout to expect. Defaults to None, told by the names.

    Returns:
        Lines of text: layout, architecture, backbone config, and what else the file holds.

    Raises:
        GLSimError: If it cannot be had or read, or is no ViT.
    """
    parsed = parse_address(address)
    checkpoint = read_address(address)
    expected = layout or (parsed.layout if parsed and parsed.layout != 'timm' else None)
    weights = read_vit(checkpoint.tensors, address, expected)
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
    """Of the authors' checkpoints all is read but what their forward pass does not read."""
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
