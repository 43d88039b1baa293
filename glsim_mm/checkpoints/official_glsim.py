"""Weights of the authors' GLSim code under the names of this project's modules."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

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


def convert_official_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' tensors for a ``GLSimClassifier`` with ``GLSimViT`` and ``AggregatorHead``.

    Queries, keys and values, three layers there, become one ``qkv`` layer here. ``anchor_class_token``, which their
    forward pass never reads, is left out.

    Args:
        state_dict (Mapping[str, Tensor]): Names as in the authors' checkpoints, without the leading ``model.``.

    Returns:
        dict[str, Tensor]: Names as in ``GLSimClassifier.state_dict()``.

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
