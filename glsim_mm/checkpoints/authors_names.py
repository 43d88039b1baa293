"""Weights of the authors' GLSim code under the names of this project's modules, and back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..errors import GLSimError
from .authors_timm import to_timm_variant
from .vit_names import Renamed, from_mmpretrain, fuse, pair_rules, rename

# The authors create and save the first, but never read it in their forward pass; the others are head.* once more.
_UNREAD = ('anchor_class_token', 'head_reducer.0.weight', 'head_reducer.0.bias')

_BLOCK_PAIRS = (
    ('norm1.#', 'ln1.#'),
    ('norm2.#', 'ln2.#'),
    ('attn.qkv.#', 'attn.qkv.#'),
    ('proj.#', 'attn.proj.#'),
    ('pwff.fc1.#', 'ffn.layers.0.0.#'),
    ('pwff.fc2.#', 'ffn.layers.1.#'),
)
# The authors' name, ours; the authors' queries, keys and values are three layers, fused here.
_PAIRS = (
    ('class_token', 'backbone.cls_token'),
    ('patch_embedding.#', 'backbone.patch_embed.projection.#'),
    ('positional_embedding.pos_embedding', 'backbone.pos_embed'),
    *((f'encoder.blocks.*.{theirs}', f'backbone.layers.*.{ours}') for theirs, ours in _BLOCK_PAIRS),
    ('encoder_norm.#', 'backbone.ln1.#'),
    *((f'aggregator.blocks.*.{theirs}', f'head.layers.*.{ours}') for theirs, ours in _BLOCK_PAIRS),
    ('reducer.#', 'head.reducer.#'),
    ('aggregator_norm.#', 'head.norm.#'),
    ('head.#', 'head.fc.#'),
)
_TO_OURS = pair_rules(_PAIRS)
_TO_THEIRS = pair_rules((ours, theirs) for theirs, ours in _PAIRS)


def read_official(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The authors' whole model under our names, and under theirs what their forward pass does not read.

    Their names come without the leading ``model.``; ours are those of ``GLSimClassifier`` with ``GLSimViT`` and
    ``AggregatorHead``.
    """
    unread = {name: tensors[name] for name in _UNREAD if name in tensors}
    for name, tensor in unread.items():
        read = name.replace('head_reducer.0', 'head')
        if read != name and not torch.equal(tensor, tensors[read]):
            raise GLSimError(f"{name} and {read} are one tensor in the authors' model, and differ; get the file again")
    fused = fuse(tensors, ('proj_q', 'proj_k', 'proj_v'), 'qkv')
    state_dict, left_out = rename(fused, _TO_OURS)
    unknown = [name for name in left_out if name not in unread]
    if unknown:
        raise GLSimError(
            f"{unknown[0]!r} is not a tensor of the authors' GLSim model; get a complete checkpoint of their "
            '"vit_*" models'
        )
    return state_dict, unread


def read_official_backbone(tensors: Mapping[str, Tensor]) -> Renamed:
    """The encoder of the authors' model under timm's names, and the classifier of their plain ViT."""
    behind = [
        name
        for name in tensors
        if name.startswith(('reducer.', 'aggregator.', 'aggregator_norm.', 'head.', 'head_reducer.'))
    ]
    state_dict, unread = read_official({name: tensor for name, tensor in tensors.items() if name not in behind})
    encoder, _ = from_mmpretrain({name.removeprefix('backbone.'): tensor for name, tensor in state_dict.items()})
    is_plain = not any(name.startswith('aggregator.') for name in behind)
    head = [name for name in ('head.weight', 'head.bias') if is_plain and name in tensors]
    left_out = [name for name in behind if name not in head]
    return Renamed({**encoder, **{name: tensors[name] for name in head}}, [*left_out, *unread])


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names for a model of this project, the inverse of :func:`read_official`.

    It may also be a plain ``ImageClassifier`` with ``GLSimViT`` and ``LinearClsHead``, or the authors' variant of
    timm's models.
    """
    variant = to_timm_variant(state_dict)
    if variant is not None:
        return variant
    renamed, left_out = rename(state_dict, _TO_THEIRS)
    if left_out:
        raise GLSimError(
            f"the authors' model has no place for {left_out[0]}; only GLSimViT without LayerScale, pre-norm and "
            'crop_cls_token, with AggregatorHead or LinearClsHead, can be exported'
        )
    result: dict[str, Tensor] = {}
    for name, tensor in renamed.items():
        is_fused = '.attn.qkv.' in name
        parts = zip('qkv', tensor.chunk(3)) if is_fused else [('', tensor)]
        result.update({name.replace('.qkv.', f'.proj_{letter}.'): part for letter, part in parts})
    return result
