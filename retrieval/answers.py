"""What image search answers: each query with its hits, as objects, as a table and as JSON."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .gallery import Record

TABLE_WIDTH = 80
_HEADS = ('rank', 'score', 'id', 'label', 'path')


@dataclass
class SearchHit:
    """A row of the gallery that was found.

    Attributes:
        rank: 1 for the best.
        score: Cosine similarity (-1 to 1) or inner product, the larger the better; of metric ``'l2'`` the squared
            distance, the smaller the better; of a re-ranking method whatever it ranks by.
        record: Id, path, label, box of the region, similarity map, metadata.
    """

    rank: int
    score: float
    record: Record


@dataclass
class SearchResult:
    """A query and what was found for it.

    Attributes:
        query: Path, box of its region, similarity map; id -1 if it is not of the gallery.
        hits: Best first; fewer than k where the gallery, or the filter, has no more.
        error: Why the query could not be read; then there are no hits.
    """

    query: Record
    hits: list[SearchHit] = field(default_factory=list)
    error: str = ''


def format_table(results: Sequence[SearchResult], width: int = TABLE_WIDTH) -> str:
    """Results as text, a line for each hit.

    Args:
        width: Characters per line; the middle of long labels and the start of long paths give way. Defaults to 80.

    Returns:
        Several lines.
    """
    return '\n\n'.join(_block(result, width) for result in results)


def results_to_json(results: Sequence[SearchResult]) -> list[dict[str, Any]]:
    """Results in types that JSON knows; similarity maps are left out.

    Returns:
        list[dict]: Each with ``query`` and ``hits``, a query that could not be read with ``error`` too; boxes are ``x0,
        y0, x1, y1`` in pixels of the upright photo.
    """
    answers = []
    for result in results:
        hits = [dict(rank=hit.rank, score=hit.score, **_fields(hit.record)) for hit in result.hits]
        answer = dict(query=_fields(result.query), hits=hits)
        answers.append({**answer, 'error': result.error} if result.error else answer)
    return answers


def name_of(record: Record) -> str:
    """Path of a row, or its id where it has none."""
    return record.path or (f'id {record.id}' if record.id >= 0 else 'image')


def _fields(record: Record) -> dict[str, Any]:
    box = None if record.box is None else [float(value) for value in record.box]
    return dict(
        id=int(record.id), path=record.path, label=record.label, split=record.split, box=box, metadata=record.metadata
    )


def _block(result: SearchResult, width: int) -> str:
    head = _shorten(_one_line(name_of(result.query)), width, 0.0)
    if result.error:
        return f'{head}\n  cannot be read: {_one_line(result.error)}'
    if not result.hits:
        return f'{head}\n  nothing was found'
    rows = [
        (f'{hit.rank}', f'{hit.score:.4f}', f'{hit.record.id}', _one_line(hit.record.label or ''), hit.record.path)
        for hit in result.hits
    ]
    numbers = [max(len(row[column]) for row in [_HEADS, *rows]) for column in range(3)]
    label_width = min(max(_width(row[3]) for row in [_HEADS, *rows]), max(width // 3, 8))
    room = max(width - sum(numbers) - label_width - 2 * len(_HEADS), 12)
    lines = []
    for row in [_HEADS, *rows]:
        cells = [cell.rjust(size) for cell, size in zip(row, numbers)]
        label = _shorten(row[3], label_width, 0.5)
        label += ' ' * (label_width - _width(label))
        lines.append('  ' + '  '.join([*cells, label, _shorten(_one_line(row[4]), room, 0.0)]).rstrip())
    return '\n'.join([head, *lines])


def _shorten(text: str, width: int, start: float) -> str:
    """Cut text to a width, an ellipsis in place of what goes; ``start`` is the share of the room for its beginning."""
    if _width(text) <= width:
        return text
    head = ''
    while _width(head) < int((width - 1) * start):
        head += text[len(head)]
    tail = text[len(head) :]
    while tail and _width(head) + _width(tail) > width - 1:
        tail = tail[1:]
    return f'{head}…{tail}'


def _width(text: str) -> int:
    """Columns of a terminal that text takes; East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in 'WF' else 1 for character in text)


def _one_line(text: str | Path) -> str:
    """Text without characters that would move the cursor or colour the terminal."""
    return ''.join(character if character.isprintable() else ' ' for character in str(text))
