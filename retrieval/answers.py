"""Answers of image search: each query with its hits, as objects, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .terminal_text import TERMINAL_WIDTH, one_line, shorten, text_width

if TYPE_CHECKING:
    from .gallery import Record

_HEADS = ('rank', 'score', 'id', 'label', 'path')


@dataclass
class SearchHit:
    """A row of the gallery that was found.

    Example:
        >>> best = result.hits[0]
        >>> print(best.score, best.record.path)

    Attributes:
        rank: 1 for the best.
        score: As in :class:`retrieval.hits.Hits`; after re-ranking, whatever the method ranks by.
        record: What the gallery knows about it.
    """

    rank: int
    score: float
    record: Record


@dataclass
class SearchResult:
    """A query and what was found for it.

    Example:
        >>> for result in results:
        ...     print(result.query.path, [hit.record.label for hit in result.hits])

    Attributes:
        query: Path, box of its region, similarity map; its id is -1 if it is not a row of the gallery.
        hits: Best first; fewer than k where the gallery, or the filter, has no more.
        error: Why the query could not be read; then there are no hits.
    """

    query: Record
    hits: list[SearchHit] = field(default_factory=list)
    error: str = ''


def format_table(results: Sequence[SearchResult], width: int = TERMINAL_WIDTH) -> str:
    """Results as text, a line for each hit; the middle of long labels and the start of long paths give way."""
    return '\n\n'.join(_block(result, width) for result in results)


def results_to_json(results: Sequence[SearchResult]) -> list[dict[str, Any]]:
    """Results in types that JSON knows, without similarity maps: ``query``, ``hits``, and ``error`` if there is one.

    Boxes are ``x0, y0, x1, y1`` in pixels of the upright photo.
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
    head = shorten(name_of(result.query), width, 0.0)
    if result.error:
        return f'{head}\n  cannot be read: {one_line(result.error)}'
    if not result.hits:
        return f'{head}\n  nothing was found'
    rows = [
        (f'{hit.rank}', f'{hit.score:.4f}', f'{hit.record.id}', one_line(hit.record.label or ''), hit.record.path)
        for hit in result.hits
    ]
    numbers = [max(len(row[column]) for row in [_HEADS, *rows]) for column in range(3)]
    label_width = min(max(text_width(row[3]) for row in [_HEADS, *rows]), max(width // 3, 8))
    room = max(width - sum(numbers) - label_width - 2 * len(_HEADS), 12)
    lines = []
    for row in [_HEADS, *rows]:
        cells = [cell.rjust(size) for cell, size in zip(row, numbers)]
        label = shorten(row[3], label_width)
        label += ' ' * (label_width - text_width(label))
        lines.append('  ' + '  '.join([*cells, label, shorten(row[4], room, 0.0)]).rstrip())
    return '\n'.join([head, *lines])
