"""Which rows a search may return."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .part import Part


@dataclass(frozen=True)
class RowFilter:
    """Rows that a filter lets through, found once and used for many searches of the same index.

    Attributes:
        masks: For each part, bool (n,).
        parts: Tokens of the parts, which tell a filter of another state of the index.
    """

    masks: tuple[np.ndarray, ...]
    parts: tuple[object, ...]


def select_ids(parts: Sequence[Part], ids: np.ndarray) -> RowFilter:
    """A filter that lets rows through by their ids.

    Args:
        parts: Of an index.
        ids: int64, (m,); those that are not there count for nothing.

    Returns:
        For these parts.
    """
    masks = []
    for part in parts:
        mask = np.zeros(len(part), bool)
        rows = part.find(ids)
        mask[rows[rows >= 0]] = True
        masks.append(mask)
    return RowFilter(tuple(masks), tuple(part.token for part in parts))


def allowed_rows(part: Part, mask: np.ndarray | None) -> np.ndarray | None:
    """Rows of a part that are alive and let through.

    Args:
        mask: bool, (n,), of a filter.

    Returns:
        bool, (n,); None for all.
    """
    if mask is None:
        return None if part.num_dead == 0 else part.alive
    return mask if part.num_dead == 0 else mask & part.alive
