"""Weights of the authors' GLSim code under the names of this project's modules."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import GLSimError
from .vit_names import Renamed, Rules, from_mmpretrain, rename

UNREAD = 'anchor_class_token'
"""A tensor that the authors create and save, but never read in their forward pass."""

# Renames in order; the first that matches a name is applied.
_RENAMES = (
    (r'^class_token$', 'backbone.cls_token'),
    (r'^anchor_class_token$', None),
    (r'^patch_embedding\.', 'backbone.patch_embed.projection.'),
    (r'^positional_embedding\.pos_embedding$', 'backbone.pos_embed'),
    (r'^encoder\.blocks\.', 'backbone.layers.'),
    (r'^encoder_norm\.', 'backbone.ln1.'),
    (r'^aggregator\.blocks\.', 'head.layers.'),
    (r'^aggregator_norm\.', 'head.norm.'),
    (r'^head\.', 'head.fc.'),
)
_LAYER_RENAMES = (
    (r'\.norm1\.', '.ln1.'),
    (r'\.norm2\.', '.ln2.'),
    (r'\.proj\.', '.attn.proj.'),
    (r'\.pwff\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.pwff\.fc2\.', '.ffn.layers.1.'),
)
_PROJECTION = re.compile(r'\.attn\.proj_([qkv])\.(weight|bias)$')
_BEHIND_ENCODER = re.compile(r'(aggregator|aggregator_norm|head)\.')
_HEAD = ('head.weight', 'head.bias')


def _block_rules(old: str, new: str) -> Rules:
    """Names of a transformer block, whose attention is split afterwards."""
    pairs = (
        ('ln1', 'norm1'),
        ('ln2', 'norm2'),
        ('attn.qkv', 'attn.qkv'),
        ('attn.proj', 'proj'),
        ('ffn.layers.0.0', 'pwff.fc1'),
        ('ffn.layers.1', 'pwff.fc2'),
    )
    return [
        (rf'{old}\.layers\.(\d+)\.{re.escape(ours)}\.(weight|bias)', rf'{new}.blocks.\1.{theirs}.\2')
        for ours, theirs in pairs
    ]


_OFFICIAL_NAMES: Rules = (
    (r'backbone\.cls_token', 'class_token'),
    (r'backbone\.patch_embed\.projection\.(\w+)', r'patch_embedding.\1'),
    (r'backbone\.pos_embed', 'positional_embedding.pos_embedding'),
    *_block_rules('backbone', 'encoder'),
    (r'backbone\.ln1\.(\w+)', r'encoder_norm.\1'),
    *_block_rules('head', 'aggregator'),
    (r'head\.norm\.(\w+)', r'aggregator_norm.\1'),
    (r'head\.fc\.(\w+)', r'head.\1'),
)


def convert_official_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' tensors for a ``GLSimClassifier`` with ``GLSimViT`` and ``AggregatorHead``.

    Queries, keys and values, three layers there, become one ``qkv`` layer here. ``anchor_class_token``, which their
    forward pass never reads, is left out.

    Args:
        state_dict: Names as in the authors' checkpoints, without the leading ``model.``.

    Returns:
        Names as in ``GLSimClassifier.state_dict()``.

    Raises:
        ValueError: If a name is not one of the authors' model, or a projection lacks one of q, k and v.
    """
    converted: dict[str, Tensor] = {}
    projections: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state_dict.items():
        new_name = _rename(name)
        if new_name is None:
            continue
        match = _PROJECTION.search(new_name)
        if match is None:
            converted[new_name] = tensor
        else:
            fused_name = f'{new_name[: match.start()]}.attn.qkv.{match.group(2)}'
            projections.setdefault(fused_name, {})[match.group(1)] = tensor
    for name, parts in projections.items():
        missing = sorted(set('qkv') - set(parts))
        if missing:
            raise ValueError(f'{name} cannot be built: the checkpoint lacks its {", ".join(missing)} projection')
        converted[name] = torch.cat([parts[key] for key in 'qkv'])
    return converted


def _rename(name: str) -> str | None:
    for pattern, replacement in _RENAMES:
        if re.search(pattern, name):
            if replacement is None:
                return None
            new_name = re.sub(pattern, replacement, name)
            break
    else:
        raise ValueError(f"{name!r} is not a tensor of the authors' GLSim model")
    if '.layers.' in new_name:
        for pattern, layer_replacement in _LAYER_RENAMES:
            new_name = re.sub(pattern, layer_replacement, new_name, count=1)
    return new_name


def read_official_backbone(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's names for the encoder of the authors' model, and for the classifier of their plain ViT.

    Args:
        tensors: Names as in the authors' checkpoints, without the leading ``model.``.

    Returns:
        Weights under timm's names.

    Raises:
        GLSimError: If a name is not one of the authors' model.
    """
    backbone = {name: tensor for name, tensor in tensors.items() if not _BEHIND_ENCODER.match(name)}
    converted, _ = read_official(backbone)
    encoder, _ = from_mmpretrain({name.removeprefix('backbone.'): tensor for name, tensor in converted.items()})
    has_aggregator = any(name.startswith('aggregator.') for name in tensors)
    head = {} if has_aggregator else {name: tensors[name] for name in _HEAD if name in tensors}
    unread = [name for name in tensors if (name not in backbone and name not in head) or name == UNREAD]
    return Renamed({**encoder, **head}, unread)


def read_official(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The authors' whole model, and what their forward pass does not read.

    Args:
        tensors: Names as in the authors' checkpoints, without the leading ``model.``.

    Returns:
        Names as in ``GLSimClassifier.state_dict()``, and the unread tensors under the authors' names.

    Raises:
        GLSimError: If a name is not one of the authors' model, or a projection is incomplete.
    """
    try:
        state_dict = convert_official_state_dict(tensors)
    except ValueError as error:
        raise GLSimError(f'{error}; get a complete checkpoint of the authors\' "vit_*" models') from error
    return state_dict, {name: tensors[name] for name in (UNREAD,) if name in tensors}


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names for a ``GLSimClassifier`` with ``GLSimViT``, the inverse of the conversion.

    Args:
        state_dict: Names as in ``GLSimClassifier.state_dict()``, or of a plain ``ImageClassifier`` with ``GLSimViT``
            and ``LinearClsHead``.

    Returns:
        Names as in the authors' checkpoints, without the leading ``model.``.

    Raises:
        GLSimError: If the model has tensors for which the authors' has no place.
    """
    renamed, left_out = rename(state_dict, _OFFICIAL_NAMES)
    if left_out:
        raise GLSimError(
            f"the authors' model has no place for {left_out[0]}; only GLSimViT without LayerScale, pre-norm and "
            'crop_cls_token, with AggregatorHead or LinearClsHead, can be exported'
        )
    result: dict[str, Tensor] = {}
    for name, tensor in renamed.items():
        stem, fused, part = name.partition('.attn.qkv.')
        if fused:
            chunks = tensor.chunk(3)
            result.update({f'{stem}.attn.proj_{letter}.{part}': chunk for letter, chunk in zip('qkv', chunks)})
        else:
            result[name] = tensor
    return result
