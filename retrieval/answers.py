"""Answers for people and programs: what a search has found, what a gallery holds, as text and as JSON."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any

from .gallery import Record, Roots, open_gallery
from .hits import PatchMatch
from .index.presets import readable

TERMINAL_WIDTH = 80
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
        matches: Which of its patches are like which of the query's, see :func:`retrieval.ranking.match_patches`; None
            where that was not asked for, or cannot be told.
        unexplained: Why it cannot be told.
    """

    rank: int
    score: float
    record: Record
    matches: list[PatchMatch] | None = None
    unexplained: str = ''

    @property
    def region_similarity(self) -> float | None:
        """What its patches and the query's have in common, -1 to 1; the re-ranking by regions adds it to the score."""
        return None if self.matches is None else sum(one.weight * one.similarity for one in self.matches)


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


def format_matches(results: Sequence[SearchResult], listed: int = 3) -> str:
    """The ``listed`` most similar patches of each hit that has any, as text: similarity, place in query and in hit."""
    lines = []
    for result in results:
        told = [hit for hit in result.hits if hit.matches is not None or hit.unexplained]
        lines += (
            [f'{shorten(name_of(result.query), TERMINAL_WIDTH - 38, 0.0)}: its patches and those of its hits']
            if told
            else []
        )
        for hit in told:
            if hit.matches is None:
                lines.append(f'  {hit.rank:>3}  {one_line(hit.unexplained)}')
                continue
            lines.append(f'  {hit.rank:>3}  {hit.region_similarity:.2f} in all, {len(hit.matches)} pairs')
            for one in hit.matches[:listed]:
                lines.append(f'       {one.similarity:5.2f}  {_place(one.query_box)} - {_place(one.box)}')
    return '\n'.join(lines)


def results_to_json(results: Sequence[SearchResult]) -> list[dict[str, Any]]:
    """Results in types that JSON knows, without similarity maps: ``query``, ``hits``, and ``error`` if there is one.

    Hits that are explained have ``region_similarity`` and ``matches``, pairs of patches.

    Boxes are ``x0, y0, x1, y1`` in pixels of the upright photo, paths as :func:`shown_paths` gives them.
    """
    answers = []
    for result, path in zip(results, shown_paths([result.query.path for result in results])):
        hits = [dict(rank=hit.rank, score=hit.score, **_fields(hit.record), **_explained(hit)) for hit in result.hits]
        answer = dict(query=_fields(result.query) | dict(path=path), hits=hits)
        answers.append({**answer, 'error': result.error} if result.error else answer)
    return answers


def shown_paths(paths: Sequence[str]) -> list[str]:
    """Paths as files tell them that are passed on: absolute ones from the innermost folder on that holds all of them.

    Where this is the whole disk, names alone are left. Other paths, and addresses, stay as they are.
    """
    whole = [path for path in paths if os.path.isabs(path)]
    drives = {os.path.splitdrive(path)[0] for path in whole}
    folder = os.path.commonpath(map(os.path.dirname, whole)) if len(drives) == 1 else ''
    depth = len(PurePath(folder).parts) if folder != os.path.dirname(folder) else None
    below = {one: '/'.join(PurePath(one).parts[-1:] if depth is None else PurePath(one).parts[depth:]) for one in whole}
    return [below.get(path, path) for path in paths]


def name_of(record: Record) -> str:
    """Path of a row, or its id where it has none; of a query that is a text, the text."""
    return record.path or (f'id {record.id}' if record.id >= 0 else text_of(record) or 'image')


def text_of(record: Record) -> str | None:
    """The text that a query from outside consists of."""
    text = record.metadata.get('text') if record.id < 0 and not record.path else None
    return None if text is None else str(text)


def _fields(record: Record) -> dict[str, Any]:
    box = None if record.box is None else [float(value) for value in record.box]
    (path,) = shown_paths([record.path])
    return dict(id=int(record.id), path=path, label=record.label, split=record.split, box=box, metadata=record.metadata)


def _explained(hit: SearchHit) -> dict[str, Any]:
    if hit.matches is None:
        return {'unexplained': hit.unexplained} if hit.unexplained else {}
    return dict(region_similarity=hit.region_similarity, matches=[one._asdict() for one in hit.matches])


def _place(box: Sequence[float] | None) -> str:
    """A box of a photo in whole pixels; a question mark where it is not known."""
    return '?' if box is None else '[' + ' '.join(f'{value:.0f}' for value in box) + ']'


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


def describe_gallery(location: str | Path, ids: Sequence[int] = ()) -> dict[str, Any]:
    """What a gallery holds, and some of its rows by id, in types that JSON knows.

    It is the manifest with ``roots`` (by name the ``folder`` and whether it ``exists``, ``''`` is the default one),
    ``columns``, ``indexes``, ``bytes`` of its files, ``unfinished`` writes and ``records``.
    RetrievalError if the gallery cannot be opened, or an id is unknown.
    """
    with open_gallery(location) as gallery:
        manifest = gallery.manifest
        described: dict[str, Any] = asdict(manifest)
        described['location'] = str(location)
        roots = Roots.of(manifest.origin).folders
        described['roots'] = {name: dict(folder=one, exists=os.path.isdir(one)) for name, one in roots.items()}
        described['columns'] = gallery.columns()
        described['bytes'] = sum(facts['size'] for facts in manifest.files.values())
        described['indexes'] = gallery.built_presets
        described['unfinished'] = gallery.unfinished
        described['learned'] = {
            space: dict(source=one.source, fingerprint=one.fingerprint, **one.notes)
            for space, one in gallery.transforms.items()
            if one.source
        }
        records = [SearchResult(record) for record in gallery.records(ids)] if len(ids) else []
        described['records'] = [answer['query'] for answer in results_to_json(records)]
    return described


def format_description(described: Mapping[str, Any], as_json: bool = False) -> str:
    """What :func:`describe_gallery` found, as text: the main facts, a line each, or all of it as JSON."""
    if as_json:
        return json.dumps(described, indent=1)
    counts = described['counts']
    spaces = [f'{name} ({_describe_space(described, name, size)})' for name, size in described['spaces'].items()]
    built = sorted({preset for segment in described['indexes'] for preset in segment.values()})
    own = [f'{name} ({kind.lower()})' for name, kind in described['columns'].items()]
    print_ = described['fingerprint'] or {}
    facts = [
        ('rows', f'{counts["rows"]:,}' + (f', {counts["removed"]:,} removed' if counts.get('removed') else '')),
        ('spaces', ', '.join(spaces)),
        ('metric', described['metric']),
        ('preset', described['preset'] + (f' (built: {", ".join(built)})' if built else '')),
        ('why', described['preset_reason']),
        *(('unfinished', sentence) for sentence in described['unfinished']),
        ('columns', ', '.join(own)),
        ('size', f'{readable(described["bytes"])} in {len(described["files"])} files' if described['files'] else ''),
        ('created', f'{described["created"]}, changed {described["generation"]} times'),
        ('model', print_.get('description', '')),
        ('weights', print_.get('weights', '')[:12]),
        *((f'root {name}'.strip(), _describe_root(name, **one)) for name, one in described['roots'].items()),
        *((name, value) for name, value in described['origin'].items() if name.partition(':')[0] != 'root'),
    ]
    lines = [f'{name + ":":<11} {value}' for name, value in facts if value]
    return '\n'.join([described['location'], *lines, *(json.dumps(record) for record in described['records'])])


def _describe_root(name: str, folder: str, exists: bool) -> str:
    """Folder of a root, and what to do where it is gone."""
    moves = f'{name}=DIR' if name else 'DIR'
    return folder if exists else f'{folder}, which is not there: mount its disk, or glsim sync GALLERY --root {moves}'


def _describe_space(described: Mapping[str, Any], name: str, size: int) -> str:
    """Dimension of a space, and how it is computed from what the model gives."""
    if name in described['learned']:
        how = described['learned'][name]
        learned = '' if how.get('kind') in ('sum', 'pca') else 'learned from labels, '
        return f'{size}, {learned}of {how["source"]}'
    whole = described['input_dimensions'].get(name, size)
    return f'{size}' if whole == size else f'{size}, whitened from {whole}'


def text_width(text: str) -> int:
    """Columns of a terminal that text takes; East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in 'WF' else 1 for character in text)


def one_line(text: object) -> str:
    """Text without characters that would move the cursor or colour the terminal."""
    return ''.join(character if character.isprintable() else ' ' for character in str(text))


def shorten(text: str, width: int, start: float = 0.5) -> str:
    """Text on one line of ``width`` columns; an ellipsis stands for what is cut out.

    ``start`` is the share of the room for the beginning of the text, 0 to 1; the rest is for its end.
    """
    text = one_line(text)
    if text_width(text) <= width:
        return text
    head = ''
    while text_width(head) < int((width - 1) * start):
        head += text[len(head)]
    tail = text[len(head) :]
    while tail and text_width(head) + text_width(tail) > width - 1:
        tail = tail[1:]
    return f'{head}…{tail}'
