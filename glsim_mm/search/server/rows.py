"""Pages of rows, and counts of classes."""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from retrieval.gallery import GalleryReader, parse_conditions
from retrieval.names import pretty_name
from retrieval.recognition import prototypes

from .kept import Kept
from .problems import Problem


class Order(NamedTuple):
    """Rows in the order of a column.

    Attributes:
        ids: int64, (n,).
        values: Of the column, None for rows without one, which come last.
    """

    ids: np.ndarray
    values: list[Any]


def sort_rows(gallery: GalleryReader, where: Sequence[str], sort: str) -> Order:
    """Rows that pass a filter in the order of a column; those of one value by their ids.

    Args:
        gallery: One state of it.
        where: Conditions as people type them.
        sort: Column; with ``-`` before it, from the largest value down.

    Raises:
        UserError: If a condition or column is not possible.
    """
    ids, values = gallery.column(sort.removeprefix('-'), parse_conditions(where))
    present = [row for row, value in enumerate(values) if value is not None]
    absent = [row for row, value in enumerate(values) if value is None]
    present.sort(key=lambda row: values[row], reverse=sort.startswith('-'))  # stable, also in reverse
    order = [*present, *absent]
    return Order(ids[order], [values[row] for row in order])


def read_page(
    gallery: GalleryReader, kept: Kept, where: Sequence[str], sort: str, cursor: str | None, limit: int, skip: int = 0
) -> tuple[list[int], int, str | None]:
    """Ids of a page of rows.

    A cursor says behind which row a page begins, so that pages neither repeat nor leave out rows while the gallery is
    changed, unless what they are sorted by is changed.

    Args:
        gallery: One state of it.
        kept: Where the order of all its rows is kept, so that it is made for one page alone.
        where: Conditions as people type them.
        sort: Column; with ``-`` before it, from the largest value down. Rows without a value come last.
        cursor: The end of the page before.
        limit: Most rows of a page.
        skip: Rows to leave out before it, which is how a scrollbar gets to the middle of 100,000 rows at once.

    Returns:
        The ids, the number of all rows that pass the filter, and the cursor of the next page, or None.

    Raises:
        UserError: If a condition or column is not possible.
        Problem: If the cursor is not one of this order.
    """
    order = kept.get(gallery, ('order', *where, sort), lambda: sort_rows(gallery, where, sort), len(gallery))
    start = 0
    if cursor is not None:
        try:
            start = _behind(_read_cursor(cursor, sort), order, sort.startswith('-'))
        except TypeError as error:  # a number is compared with texts
            raise _wrong_cursor() from error
    start += skip
    numbers = order.ids[start : start + limit].tolist()
    end = start + len(numbers)
    is_last = end >= len(order.ids) or not numbers
    return numbers, len(order.ids), None if is_last else _write_cursor(sort, order.values[end - 1], numbers[-1])


def count_classes(gallery: GalleryReader, kept: Kept, where: Sequence[str]) -> list[dict[str, Any]]:
    """Labels of the rows that pass a filter and how many rows each has, in the order of the labels, None at the end."""

    def count() -> list[dict[str, Any]]:
        _, labels = gallery.column('label', parse_conditions(where))
        counts = Counter(labels)
        named = sorted(label for label in counts if label is not None)
        return [
            dict(label=label, name=None if label is None else pretty_name(label), count=counts[label], prototype=None)
            for label in ([*named, None] if None in counts else named)
        ]

    return kept.get(gallery, ('classes', *where), count)


def with_prototypes(gallery: GalleryReader, kept: Kept, where: Sequence[str]) -> list[dict[str, Any]]:
    """:func:`count_classes` with the most typical row of each class."""
    found = kept.get(gallery, ('prototypes', *where), lambda: prototypes(gallery, 1, where=parse_conditions(where)))
    return [
        one | dict(prototype=next(iter(found.get(one['label'], ())), None))
        for one in count_classes(gallery, kept, where)
    ]


def count_values(gallery: GalleryReader, kept: Kept, column: str, where: Sequence[str], limit: int) -> dict[str, Any]:
    """The most frequent values of a column among the rows that pass a filter, rows without a value left out.

    Args:
        gallery: One state of it.
        kept: Where the counts are kept.
        column: Its name.
        where: Conditions as people type them.
        limit: Most values.

    Returns:
        ``values`` with their counts, the most frequent first, those of one count by value, and ``distinct``, how many
        there are in all.

    Raises:
        UserError: If a condition or the column is not possible.
    """

    def count() -> list[tuple[Any, int]]:
        _, found = gallery.column(column, parse_conditions(where))
        counts = Counter(value for value in found if value is not None)
        return sorted(sorted(counts.items()), key=lambda one: -one[1])

    counted = kept.get(gallery, ('values', column, *where), count, len(gallery))
    return dict(values=[dict(value=value, count=number) for value, number in counted[:limit]], distinct=len(counted))


def _behind(last: tuple[Any, int], order: Order, falling: bool) -> int:
    """Where the first row stands that comes behind the end of a page, by bisection."""
    value, number = last

    def is_behind(row: int) -> bool:
        own = order.values[row]
        if own is None or value is None:
            return int(order.ids[row]) > number if own is value else own is None
        if own == value:
            return int(order.ids[row]) > number
        return (own < value) if falling else (own > value)

    return bisect_left(range(len(order.ids)), True, key=is_behind)


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
