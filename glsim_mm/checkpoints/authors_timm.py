"""The GLSim authors' variant of timm's models (``glsvit_*``): names and config of the whole model.

Source: ``glsim/model_utils/timm_glsim.py`` and ``build_model.py`` of github.com/arkel23/GLSim. It leaves tokens as the
last block does, gives crops a CLS token of their own, and has a block of the encoder's kind as its aggregator, or a
convolution.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import GLSimError
from .authors_config import check_side, selector_config
from .authors_settings import check_timm_settings
from .vit_names import Renamed, pair_rules, rename

CROP_TOKEN = 'cls_token_crops'
_LAST_NORM = dict(type='LN', eps=1e-5)  # torch's default, which they leave behind the aggregator
# Their name, ours. A convolution's numbers count the reshapes between its layers.
_BLOCK = (
    ('aggregator.0.norm1.#', 'head.layers.0.ln1.#'),
    ('aggregator.0.attn.qkv.#', 'head.layers.0.attn.qkv.#'),
    ('aggregator.0.attn.proj.#', 'head.layers.0.attn.proj.#'),
    ('aggregator.0.ls1.gamma', 'head.layers.0.attn.gamma1.weight'),
    ('aggregator.0.norm2.#', 'head.layers.0.ln2.#'),
    ('aggregator.0.mlp.fc1.#', 'head.layers.0.ffn.layers.0.0.#'),
    ('aggregator.0.mlp.fc2.#', 'head.layers.0.ffn.layers.1.#'),
    ('aggregator.0.ls2.gamma', 'head.layers.0.ffn.gamma2.weight'),
    ('aggregator.1.#', 'head.norm.#'),
)
_CONV = (('aggregator.0.#', 'head.layers.0.norm.#'), ('aggregator.2.#', 'head.layers.0.conv.#'))
_AGGREGATORS = {
    'transformer': _BLOCK,
    'conv': (*_CONV, ('aggregator.4.#', 'head.norm.#')),
    'dwsc': (
        *_CONV,
        ('aggregator.4.#', 'head.layers.0.middle_norm.#'),
        ('aggregator.7.#', 'head.layers.0.pointwise.#'),
        ('aggregator.9.#', 'head.norm.#'),
    ),
}
_OTHERS = (('head.#', 'head.fc.#'), (CROP_TOKEN, 'backbone.crop_cls_token'))


def read_timm_variant(
    settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """The whole model under our names, what its forward pass does not read, and the config of a ``GLSimClassifier``.

    The tensors have the authors' names without the leading ``model.``. The backbone is ``TimmViT`` with timm's model of
    that name.

    Raises:
        GLSimError: If a setting says what cannot be built, or a tensor is unknown.
    """
    check_timm_settings(settings)
    kind = settings.get('aggregator_type') or 'transformer'
    unread = {CROP_TOKEN: tensors[CROP_TOKEN]} if settings.get('select_top_k') else {}
    read = {name: tensor for name, tensor in tensors.items() if name not in unread}
    behind, encoder = rename(read, pair_rules((*_AGGREGATORS[kind], *_OTHERS)))
    unknown = [name for name in encoder if name.startswith(('aggregator.', 'head.', 'norm.', 'fc_norm.', 'attn_pool.'))]
    unknown += [name for name in encoder if '.adapter_' in name]
    if unknown:
        raise GLSimError(
            f"the weights have {unknown[0]}, for which there is no place in the authors' variant of timm's models with "
            f'aggregator_type={kind!r}; get the checkpoint again'
        )
    state_dict = {**{f'backbone.model.{name}': tensors[name] for name in encoder}, **behind}
    missing = [name for name in ('head.fc.weight', 'head.norm.weight', 'head.layers.0') if not _has(state_dict, name)]
    if missing:
        raise GLSimError(f'the checkpoint lacks {missing[0]} (in our names); get the complete file')
    return state_dict, unread, _model_config(settings, tensors, kind)


def read_timm_variant_backbone(tensors: Mapping[str, Tensor]) -> Renamed:
    """Its encoder under timm's names, without a final norm."""
    left_out = [name for name in tensors if name.startswith(('aggregator.', 'head.'))]
    encoder = {name: tensor for name, tensor in tensors.items() if name not in left_out}
    return Renamed({name.replace(CROP_TOKEN, 'crop_cls_token'): encoder[name] for name in encoder}, left_out)


def to_timm_variant(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The authors' names, the inverse of :func:`read_timm_variant`; None if the backbone is no ``TimmViT``."""
    start = 'backbone.model.'
    if not any(name.startswith(start) for name in state_dict):
        return None
    kind = 'transformer'
    if _has(state_dict, 'head.layers.0.conv'):
        kind = 'dwsc' if _has(state_dict, 'head.layers.0.pointwise') else 'conv'
    pairs = (*_AGGREGATORS[kind], *_OTHERS)
    renamed, others = rename(state_dict, pair_rules((ours, theirs) for theirs, ours in pairs))
    homeless = [name for name in others if not name.startswith(start) or name.startswith(f'{start}norm.')]
    if homeless:
        raise GLSimError(f"the authors' variant of timm's models has no place for {homeless[0]}")
    return {**{name.removeprefix(start): state_dict[name] for name in others}, **renamed}


def _model_config(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], kind: str) -> dict[str, Any]:
    name = str(settings['model_name']).removeprefix('gls')
    height, width = tensors['patch_embed.proj.weight'].shape[-2:]
    side = int(settings['image_size'])
    check_side(side, height, width)
    rate = float(settings.get('sd') or 0)
    backbone = dict(type='TimmViT', model_name=name, img_size=side, final_norm=False)
    takes_tokens = bool(settings.get('select_top_k'))
    neck = selector_config(settings, 'tokens' if takes_tokens else 'crops')
    num_classes, channels = tensors['head.weight'].shape
    head: dict[str, Any] = dict(type='AggregatorHead', num_classes=num_classes, in_channels=channels)
    if takes_tokens and settings.get('classifier') == 'pool':
        head.update(pooling='avg')
    if not takes_tokens:
        backbone.update(crop_cls_token=True)
    if rate:
        backbone.update(drop_path_rate=rate)
    if kind == 'transformer':
        head.update(_block_config(name, tensors), final_norm=_LAST_NORM)
        if rate:
            head.update(drop_path_rate=rate)
        if settings.get('token_drop'):
            head.update(token_drop_rate=float(settings['token_drop']))
    else:
        layer_type = dict(conv='conv', dwsc='depthwise_conv')[kind]
        length = tensors['aggregator.2.weight'].shape[-1]
        head.update(layer_type=layer_type, sequence_length=length, norm_cfg=_LAST_NORM)
    return dict(type='GLSimClassifier', backbone=backbone, neck=neck, head=head)


def _block_config(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the aggregator's block has from the blocks of timm's model of that name, which weights do not tell."""
    import timm  # takes seconds
    from timm.layers.activations import QuickGELU

    try:
        with torch.device('meta'):  # no memory, no weights
            block = timm.create_model(name, num_classes=0).blocks[0]
    except (RuntimeError, AttributeError) as error:
        raise GLSimError(f'the settings say model_name=gls{name}, and timm has no plain ViT {name}') from error
    layer_cfgs: dict[str, Any] = {}
    if type(block.mlp.act) is QuickGELU:
        layer_cfgs.update(act_cfg=dict(type='mmpretrain.QuickGELU'))
    elif type(block.mlp.act) is not torch.nn.GELU:
        raise GLSimError(
            f'the settings say model_name=gls{name}, whose blocks have {type(block.mlp.act).__name__} and gates, which '
            'an aggregator has not here; choose another checkpoint'
        )
    if 'aggregator.0.ls1.gamma' in tensors:
        layer_cfgs.update(layer_scale_init_value=1e-5)
    if 'aggregator.0.attn.qkv.bias' not in tensors:
        layer_cfgs.update(qkv_bias=False)
    hidden, channels = tensors['aggregator.0.mlp.fc1.weight'].shape
    config: dict[str, Any] = dict(
        num_heads=block.attn.num_heads, norm_cfg=dict(type='LN', eps=block.norm1.eps), mlp_ratio=hidden / channels
    )
    return dict(config, layer_cfgs=layer_cfgs) if layer_cfgs else config


def _has(names: Mapping[str, Tensor], start: str) -> bool:
    return any(name.startswith(start) for name in names)
