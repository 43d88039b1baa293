"""Filters that leave classes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..gallery.conditions import Condition, read_conditions


def outside(where: Any, labels: Sequence[str]) -> list[Condition]:
    """A filter's rows that are of none of these classes, and of some class.

    Args:
        where: Filter of a gallery, None for all rows.
        labels: Classes to leave out.

    Returns:
        The filter.

    Raises:
        RetrievalError: If the filter is not possible.
    """
    return [*read_conditions(where), Condition('label', 'not in', tuple(labels))]
