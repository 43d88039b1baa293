"""Rows of a gallery as files for others: spreadsheets, programs, detectors, training, and people who want to look."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from retrieval.answers import shown_paths
from retrieval.gallery import GalleryReader, Record, Roots
from retrieval.names import pretty_name
from retrieval.records import RESERVED

from ..errors import GLSimError
from ..visualization import FoundImage
from ..visualization.html_report import ReportSettings
from ..visualization.photo_groups import PhotoGroup, stream_photo_groups

CSV, JSON, COCO, TABLE, HTML = 'csv', 'json', 'coco', 'table', 'html'
KINDS = (CSV, JSON, COCO, TABLE, HTML)
"""Of files; the last one is made by :func:`export_page`, the others by :func:`export_rows`."""

MOST_SHOWN = 10_000
"""Photos of a page."""

_READ, _IN_A_ROW, _SIDE = 1000, 24, 256
# What spreadsheets take for the beginning of a formula, also in the wide forms of East Asian writing.
_FORMULA = tuple('=+-@＝＋－＠')


def export_rows(gallery: GalleryReader, ids: np.ndarray, kind: str) -> Iterator[str]:
    """A file about rows, piece by piece; paths are those below the roots, so that none tells of the machine.

    Args:
        gallery: One state of it.
        ids: int64, (n,), of rows that are there.
        kind: ``'csv'``: ``id``, ``path``, ``label``, ``split`` and metadata, which ``glsim label --table`` reads again.
            ``'json'``: sizes and boxes too. ``'coco'``: COCO's format with a box for each row with a label, that of the
            region that the model selected, or the whole photo. ``'table'``: ``path``, ``label`` and ``split``, on which
            :class:`~glsim_mm.datasets.TableDataset` trains; a row without a path or label is left out, and so is
            another row of a photo that has come before.

    Yields:
        Text. In tables, what a spreadsheet would take for a formula has a ``'`` before it, a path ``./``.
    """
    write = {CSV: _csv, JSON: _json, COCO: _coco, TABLE: _table}[kind]
    return write(gallery, ids)


def _csv(gallery: GalleryReader, ids: np.ndarray) -> Iterator[str]:
    own = [name for name in gallery.columns() if name not in RESERVED]
    yield '\ufeff'  # or Excel takes UTF-8 for another encoding

    def rows() -> Iterator[list[Any]]:
        yield ['id', 'path', 'label', 'split', *own]
        for record in _records(gallery, ids):
            facts = [record.id, _harmless_path(_shown(record)), record.label, record.split]
            yield [*facts, *(record.metadata.get(name) for name in own)]

    yield from _written(rows())


def _table(gallery: GalleryReader, ids: np.ndarray) -> Iterator[str]:
    roots = Roots.of(gallery.manifest.origin)
    seen: set[str] = set()

    def rows() -> Iterator[list[Any]]:
        yield ['path', 'label', 'split']
        for record in _records(gallery, ids):
            path = _below_root(roots, record)
            if path and record.label is not None and path not in seen:
                seen.add(path)
                yield [_harmless_path(path), record.label, record.split]

    yield from _written(rows())


def _json(gallery: GalleryReader, ids: np.ndarray) -> Iterator[str]:
    yield '{"rows": ['
    for number, record in enumerate(_records(gallery, ids)):
        row = dict(
            id=record.id,
            path=_shown(record),
            label=record.label,
            split=record.split,
            size=_numbers(record.image_size),
            box=_numbers(record.box),
            metadata=record.metadata,
        )
        yield f'{"," if number else ""}\n{json.dumps(row)}'
    yield '\n]}\n'


def _coco(gallery: GalleryReader, ids: np.ndarray) -> Iterator[str]:
    roots = Roots.of(gallery.manifest.origin)
    wanted = set(ids.tolist())
    labels = {label for number, label in zip(*_column(gallery, 'label')) if number in wanted and label is not None}
    categories = {label: number for number, label in enumerate(sorted(labels), 1)}
    images: dict[str, int] = {}
    yield '{"images": ['
    for record in _records(gallery, ids):
        name = _below_root(roots, record)
        if name and name not in images:
            images[name] = len(images) + 1
            size = dict(zip(('width', 'height'), _numbers(record.image_size) or ()))
            yield f'{"," if len(images) > 1 else ""}\n{json.dumps(dict(id=images[name], file_name=name, **size))}'
    yield '\n], "annotations": ['
    count = 0
    for record in _records(gallery, ids):
        box = _numbers(record.box) or [0, 0, *(_numbers(record.image_size) or ())]
        name = _below_root(roots, record)
        if not name or record.label is None or len(box) < 4:
            continue
        x0, y0, x1, y1 = box
        count += 1
        annotation = dict(
            id=count,
            image_id=images[name],
            category_id=categories[record.label],
            bbox=[x0, y0, x1 - x0, y1 - y0],
            area=(x1 - x0) * (y1 - y0),
            iscrowd=0,
        )
        yield f'{"," if count > 1 else ""}\n{json.dumps(annotation)}'
    listed = [dict(id=number, name=label) for label, number in categories.items()]
    yield f'\n], "categories": {json.dumps(listed)}}}\n'


def export_page(gallery: GalleryReader, ids: np.ndarray, photo: Callable[[Record], FoundImage]) -> Iterator[bytes]:
    """A page of HTML that holds the photos of rows, by class, piece by piece: few photos are in memory at a time.

    Args:
        gallery: One state of it.
        ids: int64, (n,), of up to :data:`MOST_SHOWN` rows that are there.
        photo: A row as the page shows it.

    Raises:
        GLSimError: If there are too many rows; at once, not with the first piece.
    """
    if len(ids) > MOST_SHOWN:
        raise GLSimError(f'a page shows {MOST_SHOWN:,} photos at most, not {len(ids):,}: choose fewer by a filter')
    wanted = set(ids.tolist())
    by_class: dict[str | None, list[int]] = {}
    for number, label in zip(*_column(gallery, 'label')):
        if number in wanted:
            by_class.setdefault(label, []).append(number)
    settings = ReportSettings(title='Photos of a gallery', side=_SIDE)
    facts = [('Photos', f'{len(wanted):,}'), ('Classes', f'{len(by_class.keys() - {None}):,}')]
    return stream_photo_groups(_groups(gallery, by_class, photo), settings, facts)


def _groups(
    gallery: GalleryReader, by_class: Mapping[str | None, list[int]], photo: Callable[[Record], FoundImage]
) -> Iterator[PhotoGroup]:
    for label, own in sorted(by_class.items(), key=lambda one: (one[0] is None, one[0] or '')):
        title = 'Without a label' if label is None else pretty_name(label)
        for start in range(0, len(own), _IN_A_ROW):
            records = gallery.records(own[start : start + _IN_A_ROW])
            shown = [(one.split or f'row {one.id}', photo(one)) for one in records]
            yield PhotoGroup(title, '', '', shown, f'{len(own):,}')


def harmless(value: Any) -> Any:
    """A value for a cell of a table, with a ``'`` before a text that a spreadsheet would take for a formula."""
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def _is_formula(text: str) -> bool:
    return text.startswith(('\t', '\r', '\n')) or text.lstrip().startswith(_FORMULA)


def _harmless_path(path: str) -> str:
    return f'./{path}' if _is_formula(path) else path


def _written(rows: Iterator[list[Any]]) -> Iterator[str]:
    """Lines of a table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    for row in rows:
        writer.writerow(map(harmless, row))
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _records(gallery: GalleryReader, ids: np.ndarray) -> Iterator[Record]:
    for start in range(0, len(ids), _READ):
        yield from gallery.records(ids[start : start + _READ])


def _column(gallery: GalleryReader, name: str) -> tuple[list[int], list[Any]]:
    ids, values = gallery.column(name)
    return ids.tolist(), values


def _shown(record: Record) -> str:
    return shown_paths([record.path])[0]


def _below_root(roots: Roots, record: Record) -> str:
    """A row's path as a data set has it: below the default root, or below a folder that is called as its root."""
    name, below = roots.split(_shown(record))
    return f'{name}/{below}' if name else below


def _numbers(values: Sequence[Any] | None) -> list[Any] | None:
    return None if values is None else [value.item() if hasattr(value, 'item') else value for value in values]
