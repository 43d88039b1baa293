"""Renaming of tensors by tables of patterns, and mmpretrain's ViT names (those of ``GLSimViT``) from timm's and back.

Sources: the modules' own ``state_dict`` in mmpretrain 1.2 (``VisionTransformer``) and timm 1.0.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import GLSimError
from .vit_weights import is_fused_gate, position_tokens

Rules = Sequence[tuple[str, str]]
"""Pairs of a pattern for a whole name and its replacement; the first that matches is applied."""

# timm's name, mmpretrain's name. Read both ways, so that a round trip gives the very same names.
_PAIRS = (
    ('cls_token', 'cls_token'),
    ('crop_cls_token', 'crop_cls_token'),
    ('pos_embed', 'pos_embed'),
    ('patch_embed.proj.#', 'patch_embed.projection.#'),
    ('norm_pre.#', 'pre_norm.#'),
    ('blocks.*.norm1.#', 'layers.*.ln1.#'),
    ('blocks.*.attn.qkv.#', 'layers.*.attn.qkv.#'),
    ('blocks.*.attn.proj.#', 'layers.*.attn.proj.#'),
    ('blocks.*.ls1.gamma', 'layers.*.attn.gamma1.weight'),
    ('blocks.*.norm2.#', 'layers.*.ln2.#'),
    ('blocks.*.mlp.fc1.#', 'layers.*.ffn.layers.0.0.#'),
    ('blocks.*.mlp.fc2.#', 'layers.*.ffn.layers.1.#'),
    ('blocks.*.ls2.gamma', 'layers.*.ffn.gamma2.weight'),
    ('norm.#', 'ln1.#'),
)
_GATED_PAIRS = (('blocks.*.mlp.fc1.#', 'layers.*.ffn.w12.#'), ('blocks.*.mlp.fc2.#', 'layers.*.ffn.w3.#'))
_ONLY_TIMM: Rules = ((r'fc_norm\.(weight|bias)', r'ln1.\1'),)


class Renamed(NamedTuple):
    """Tensors under their new names, and the old names of tensors that no rule names."""

    tensors: dict[str, Tensor]
    left_out: list[str]


def rename(tensors: Mapping[str, Tensor], rules: Rules) -> Renamed:
    """Rename tensors, in their order; those that no rule matches are left out.

    >>> rename({'conv1.weight': w, 'proj': p}, [(r'conv1\\.(\\w+)', r'patch_embed.proj.\\1')])
    Renamed(tensors={'patch_embed.proj.weight': tensor(...)}, left_out=['proj'])
    """
    result = Renamed({}, [])
    for name, tensor in tensors.items():
        matches = ((re.fullmatch(pattern, name), new) for pattern, new in rules)
        new_name = next((match.expand(new) for match, new in matches if match), None)
        if new_name is None:
            result.left_out.append(name)
        else:
            result.tensors[new_name] = tensor
    return result


def pair_rules(pairs: Iterable[tuple[str, str]]) -> Rules:
    """Rules for pairs of names in which ``*`` is a number and ``#`` is weight or bias, kept as they are."""
    rules = []
    for old, new in pairs:
        pattern = old.replace('.', r'\.').replace('*', r'(?P<i>\d+)').replace('#', '(?P<part>weight|bias)')
        rules.append((pattern, new.replace('*', r'\g<i>').replace('#', r'\g<part>')))
    return rules


def fuse(tensors: Mapping[str, Tensor], parts: Sequence[str], whole: str) -> dict[str, Tensor]:
    """Concatenate tensors that another layout stores as one, for example queries, keys and values.

    ``parts`` are the pieces of the names that tell them apart, each between dots, in order; ``whole`` replaces them.
    """
    pattern = re.compile(rf'(.*\.)({"|".join(map(re.escape, parts))})(\.\w+)')
    fused: dict[str, Tensor] = {}
    found: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = pattern.fullmatch(name)
        if match is None:
            fused[name] = tensor
        else:
            found.setdefault((match[1], match[3]), {})[match[2]] = tensor
    for (head, tail), pieces in found.items():
        missing = [part for part in parts if part not in pieces]
        if missing:
            raise GLSimError(f'the weights lack {head}{missing[0]}{tail}; get the complete file')
        fused[f'{head}{whole}{tail}'] = torch.cat([pieces[part] for part in parts])
    return fused


def to_mmpretrain(tensors: Mapping[str, Tensor]) -> Renamed:
    """mmpretrain's names (``VisionTransformer``, ``GLSimViT``) for an encoder under timm's, without its classifier.

    ``fc_norm``, timm's final norm of models that pool patch tokens, becomes the final norm. A position embedding
    without the CLS token's entry (DeiT-3) gets one of zeros, which computes the same. What ``GLSimViT`` cannot compute
    is a :class:`GLSimError`.
    """
    pairs = [*(_GATED_PAIRS if is_fused_gate(tensors) else ()), *_PAIRS]
    renamed, left_out = rename(tensors, [*pair_rules(pairs), *_ONLY_TIMM])
    problem = _not_in_glsim_vit(tensors, left_out)
    if problem:
        raise GLSimError(f'the weights have {problem}, for which GLSimViT has no place; use the backbone TimmViT')
    num_leading, grid = position_tokens(renamed['pos_embed'].shape[1])
    if grid is not None and num_leading == 0:
        renamed['pos_embed'] = torch.cat([torch.zeros_like(renamed['cls_token']), renamed['pos_embed']], dim=1)
    return Renamed(renamed, left_out)


def from_mmpretrain(tensors: Mapping[str, Tensor]) -> Renamed:
    """timm's names for an encoder under mmpretrain's, without a prefix."""
    return rename(tensors, pair_rules((new, old) for old, new in (*_PAIRS, *_GATED_PAIRS)))


def _not_in_glsim_vit(tensors: Mapping[str, Tensor], left_out: Iterable[str]) -> str | None:
    """What an encoder has, or lacks, that ``GLSimViT`` cannot do without."""
    if 'reg_token' in tensors:
        return f'{tensors["reg_token"].shape[1]} register tokens (reg_token)'
    if 'pos_embed' not in tensors:
        return 'no learned position embedding (pos_embed), but rotary or none'
    if 'dist_token' in tensors:
        return 'a distillation token (dist_token)'
    if 'cls_token' not in tensors:
        return 'no CLS token (cls_token)'
    return next((f'the tensor {name}' for name in left_out if name.startswith('blocks.')), None)
