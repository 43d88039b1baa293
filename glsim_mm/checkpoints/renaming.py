"""Renaming of tensors by tables of patterns."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import GLSimError

Rules = Sequence[tuple[str, str]]
"""Pairs of a pattern for a whole name and its replacement; the first that matches is applied."""


class Renamed(NamedTuple):
    """Tensors under their new names, and the old names of tensors that no rule names."""

    tensors: dict[str, Tensor]
    left_out: list[str]


def rename(tensors: Mapping[str, Tensor], rules: Rules) -> Renamed:
    """Rename tensors; those that no rule matches are left out.

    Args:
        tensors: Tensors by name.
        rules: See :data:`Rules`.

    Returns:
        New names in the order of the old ones.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    renamed: dict[str, Tensor] = {}
    left_out = []
    for name, tensor in tensors.items():
        for pattern, replacement in compiled:
            match = pattern.fullmatch(name)
            if match:
                renamed[match.expand(replacement)] = tensor
                break
        else:
            left_out.append(name)
    return Renamed(renamed, left_out)


def rename_one(name: str, rules: Rules) -> str | None:
    """New name of one tensor, None if no rule matches it."""
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    return None


def fuse(tensors: Mapping[str, Tensor], parts: Sequence[str], whole: str) -> dict[str, Tensor]:
    """Concatenate tensors that another layout stores as one, for example queries, keys and values.

    Args:
        tensors: Tensors by name.
        parts: Strings that tell the parts of one tensor apart, in order, each bounded by dots.
        whole: What stands in their place in the name of the whole.

    Returns:
        The tensors, with the parts replaced by the whole.

    Raises:
        GLSimError: If one of the parts is missing.
    """
    pattern = re.compile(rf'(.*\.)({"|".join(map(re.escape, parts))})(\.\w+)')
    fused: dict[str, Tensor] = {}
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = pattern.fullmatch(name)
        if match is None:
            fused[name] = tensor
        else:
            found.setdefault(f'{match[1]}{whole}{match[3]}', {})[match[2]] = tensor
    for name, pieces in found.items():
        missing = [part for part in parts if part not in pieces]
        if missing:
            head, _, tail = name.rpartition(f'{whole}.')
            raise GLSimError(f'the weights lack {head}{missing[0]}.{tail}; get the complete file')
        fused[name] = torch.cat([pieces[part] for part in parts])
    return fused
