"""Pages of rows, and counts of classes."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from retrieval.gallery import GalleryReader, parse_conditions

from .problems import Problem


def read_page(
    gallery: GalleryReader, where: Sequence[str], sort: str, cursor: str | None, limit: int
) -> tuple[list[int], int, str | None]:
    """Ids of a page of rows.

    A cursor says behind which row a page begins, so that pages neither repeat nor leave out rows while the gallery is
    changed, unless what they are sorted by is changed.

    Args:
        gallery: One state of it.
        where: Conditions as people type them.
        sort: Column; with ``-`` before it, from the largest value down. Rows without a value come last.
        cursor: The end of the page before.
        limit: Most rows of a page.

    Returns:
        The ids, the number of all rows that pass the filter, and the cursor of the next page, or None.

    Raises:
        UserError: If a condition or column is not possible.
        Problem: If the cursor is not one of this order.
    """
    is_falling = sort.startswith('-')
    ids, values = gallery.column(sort.removeprefix('-'), parse_conditions(where))
    present = [row for row, value in enumerate(values) if value is not None]
    absent = [row for row, value in enumerate(values) if value is None]
    present.sort(key=lambda row: values[row], reverse=is_falling)  # stays in the order of the ids where values are one
    order = [*present, *absent]
    start = 0
    if cursor is not None:
        try:
            start = _behind(_read_cursor(cursor, sort), order, values, ids.tolist(), is_falling)
        except TypeError as error:  # a number is compared with texts
            raise _wrong_cursor() from error
    page = order[start : start + limit]
    numbers = [int(ids[row]) for row in page]
    is_last = start + limit >= len(order) or not page
    return numbers, len(order), None if is_last else _write_cursor(sort, values[page[-1]], numbers[-1])


def count_classes(gallery: GalleryReader, where: Sequence[str]) -> list[dict[str, Any]]:
    """Labels of the rows that pass a filter and how many rows each has, in the order of the labels."""
    _, labels = gallery.column('label', parse_conditions(where))
    counts = Counter(labels)
    named = sorted(label for label in counts if label is not None)
    order = [*named, None] if None in counts else named
    return [dict(label=label, count=counts[label]) for label in order]


def count_values(gallery: GalleryReader, column: str, where: Sequence[str], limit: int) -> dict[str, Any]:
    """The most frequent values of a column among the rows that pass a filter, rows without a value left out.

    Args:
        gallery: One state of it.
        column: Its name.
        where: Conditions as people type them.
        limit: Most values.

    Returns:
        ``values`` with their counts, the most frequent first, those of one count by value, and ``distinct``, how many
        there are in all.

    Raises:
        UserError: If a condition or the column is not possible.
    """
    _, found = gallery.column(column, parse_conditions(where))
    counts = Counter(value for value in found if value is not None)
    most = sorted(sorted(counts), key=lambda value: -counts[value])[:limit]
    return dict(values=[dict(value=value, count=counts[value]) for value in most], distinct=len(counts))


def _behind(last: tuple[Any, int], order: Sequence[int], values: Sequence[Any], ids: list[int], falling: bool) -> int:
    """Where the first row stands that comes behind the end of a page, by bisection."""
    value, number = last

    def is_behind(row: int) -> bool:
        own = values[row]
        if own is None or value is None:
            return ids[row] > number if own is value else own is None
        if own == value:
            return ids[row] > number
        return (own < value) if falling else (own > value)

    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if is_behind(order[middle]):
            high = middle
        else:
            low = middle + 1
    return low


def _write_cursor(sort: str, value: Any, number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, value, number]).encode()).decode().rstrip('=')


def _read_cursor(cursor: str, sort: str) -> tuple[Any, int]:
    try:
        content = json.loads(base64.urlsafe_b64decode(cursor + '=' * (-len(cursor) % 4)))
        own, value, number = content
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise _wrong_cursor() from error
    plain = value is None or isinstance(value, (int, float, str))
    if own != sort or not plain or not isinstance(number, int):
        raise _wrong_cursor()
    return value, number


def _wrong_cursor() -> Problem:
    return Problem(422, 'wrong-cursor', 'this cursor belongs to another order of rows: begin with the first page')
