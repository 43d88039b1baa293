"""New labels and metadata for rows of a gallery, as people give them: by filter, by table, by names of classes."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .answers import one_line
from .errors import RetrievalError
from .gallery import Change, ChangeSet, GalleryReader, Roots, UndoPlan, parse_conditions
from .gallery.conditions import check_column
from .gallery.history import ROW, Value, is_removal
from .records import Ids
from .text_tables import read_typed_table, read_values

_AT_ONCE = 500
_TEXTS = ('id', 'path', 'label', 'split')


class NewValues(NamedTuple):
    """What :meth:`retrieval.gallery.GalleryWriter.set_values` takes, and sentences about it.

    ::

        new = renamed_labels(gallery, [('wren', 'Wren')])
        print(new.sentences, gallery.set_values(new.ids, new.values, by='anna'))
    """

    ids: Ids
    values: Any
    sentences: Sequence[str] = ()


def read_assignments(words: Sequence[str], columns: Mapping[str, str]) -> dict[str, Value]:
    """Values as people type them, by column: ``'label=Wren'``, ``'year=2019'``, ``'year='`` for no value.

    They are numbers where the column holds numbers, or is new and the value is one. ``columns`` has the types of those
    that the gallery has. RetrievalError for other words, and for a column that comes twice.
    """
    values: dict[str, Value] = {}
    how = 'write label=Wren, or year= for no value'
    for word in words:
        if '=' not in word:
            raise RetrievalError(f'{word!r} sets no value: {how}')
    for one in parse_conditions(words) or ():
        if one.op != '=':
            raise RetrievalError(f'{one} sets no value: {how}')
        if one.value is None:
            check_column(one.column, columns)
        if one.column in values:
            raise RetrievalError(f'{one.column} is set twice: give it one value')
        values[one.column] = None if one.value is None else read_values(one.column, [one.value], columns)[0]
    return values


def new_columns(values: Iterable[Mapping[str, Value]], columns: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each column that a gallery with these columns does not have yet; it may be a slip of the pen."""
    known = [name.lower() for name in columns]
    for name in dict.fromkeys(name for row in values for name in row):
        if name.lower() not in known:
            yield one_line(f'{name} is a new column')


def renamed_labels(gallery: GalleryReader, names: Iterable[tuple[str, str]]) -> NewValues:
    """Labels of the rows of some classes, given by old and new name; all are looked up before any is renamed.

    A class whose new name is that of another one becomes part of it, and a sentence says so. RetrievalError if no row
    has an old name, or one comes twice.
    """
    rows: dict[str, np.ndarray] = {}
    sentences = []
    labels: dict[int, str] = {}
    for old, new in names:
        if old in rows:
            raise RetrievalError(f'{old!r} is given two new names: give one')
        if not new.strip():
            raise RetrievalError(f'{old!r} needs a new name; to take labels away, set label= for the rows')
        rows[old] = gallery.ids({'label': old})
        if not len(rows[old]):
            raise RetrievalError(gallery.why_empty({'label': old}))
        labels.update(dict.fromkeys(rows[old].tolist(), new))
        there = len(gallery.ids({'label': new}))
        merged = f', merged with the {there} that have it' if there and old != new else ''
        sentences.append(one_line(f'{old} -> {new}: {count_rows(len(rows[old]))}{merged}'))
    ids = np.array(sorted(labels), np.int64)
    return NewValues(ids, [{'label': labels[number]} for number in ids.tolist()], sentences)


def read_value_table(gallery: GalleryReader, path: str | Path) -> NewValues:
    """Values for rows that a table names by their ``id`` or ``path``, in its other columns; an empty cell says nothing.

    A path means all rows that have it. Where a table has both columns, they must agree.

    Raises:
        RetrievalError: If the table cannot be read, names no row or one twice, or has nothing to set.
    """
    path = Path(path)
    columns, rows = read_typed_table(path, _TEXTS, gallery.columns())
    key = next((name for name in ('id', 'path') if name in columns), None)
    if key is None or len(columns) < 2 + ('id' in columns and 'path' in columns):
        raise RetrievalError(f'{path} needs a column id or path, and others with values, not {", ".join(columns)}')
    wanted: dict[Any, int] = {}
    for line, row in rows:
        name = row[key]
        if name is None:
            raise RetrievalError(f'{path}: line {line} has no {key}: fill it in')
        if wanted.setdefault(name, line) != line:
            raise RetrievalError(f'{path}: line {line} names {name} again, as line {wanted[name]} does: keep one')
    found = _rows_by_id(gallery, path, wanted) if key == 'id' else _rows_by_path(gallery, path, wanted)
    ids, values = [], []
    for line, row in rows:
        said = {name: value for name, value in row.items() if value is not None and name not in ('id', 'path')}
        for number, own in found[row[key]]:
            if key == 'id' and row.get('path') not in (None, own):
                raise RetrievalError(f'{path}: line {line} names id {number}, which is {own}, not {row["path"]}')
            ids.append(number)
            values.append(said)
    return NewValues(np.array(ids, np.int64), values, list(new_columns(values, gallery.columns())))


def describe_changes(changes: Sequence[Change], limit: int | None = None, numbered: bool = False) -> Iterator[str]:
    """A line for each value that changes, up to a limit; ``numbered`` says of which change set."""
    shown = changes[:limit]
    for change in shown:
        again = ', of a row that was removed' if change.reused else ''
        number = f'{change.number}  ' if numbered else ''
        if change.column == ROW:
            yield f'{number}id {change.id}  {"removed" if is_removal(change) else "brought back"}{again}'
            continue
        yield one_line(f'{number}id {change.id}  {change.column}: {_shown(change.old)} -> {_shown(change.new)}{again}')
    if len(changes) > len(shown):
        yield f'... and {len(changes) - len(shown):,} more values'


def describe_change_set(change_set: ChangeSet) -> str:
    """One line for a person: what a change set is."""
    undoes = '' if change_set.undoes is None else f', takes back {change_set.undoes}'
    broken = '' if change_set.whole else ', broke off: some rows may have changed and others not'
    when = change_set.time.replace('T', ' ').replace('+00:00', ' UTC')
    return one_line(
        f'{change_set.number}  {when}  {change_set.by}  {count_rows(change_set.rows)}: '
        f'{describe_columns(change_set)}{undoes}{broken}'
    )


def describe_columns(change_set: ChangeSet) -> str:
    """What a change set has changed in its rows: ``'label (3), year (1)'``, ``'removed'`` or ``'brought back'``."""
    if ROW in change_set.columns:
        return 'removed' if change_set.columns[ROW] < 0 else 'brought back'
    return ', '.join(f'{name} ({count:,})' for name, count in change_set.columns.items())


def describe_left(plan: UndoPlan) -> Iterator[str]:
    """A line for each reason for which rows are left out when a change set is taken back."""
    for reason, ids in plan.left.items():
        yield f'left alone, {reason}: id {", ".join(map(str, ids))}'


def count_rows(count: int) -> str:
    """``'1 row'``, ``'1,200 rows'``."""
    return f'{count:,} row{"" if count == 1 else "s"}'


def _rows_by_id(gallery: GalleryReader, path: Path, lines: Mapping[str, int]) -> dict[str, list[tuple[int, str]]]:
    numbers = {}
    for text, line in lines.items():
        if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
            raise RetrievalError(f'{path}: line {line} has the id {text!r}, which is no id of a row')
        numbers[int(text)] = text
    found = {}
    for part in _parts(list(numbers)):
        there = gallery.ids({'id': part})
        found.update({numbers[one.id]: [(one.id, one.path)] for one in gallery.records(there)})
    _refuse_unknown(path, lines, found, lambda text: f'id {text} is not in the gallery')
    return found


def _rows_by_path(gallery: GalleryReader, path: Path, lines: Mapping[str, int]) -> dict[str, list[tuple[int, str]]]:
    roots = Roots.of(gallery.manifest.origin)
    found = _find_paths(gallery, {text: text for text in lines})
    found.update(_find_paths(gallery, {text: _tidy(text, roots) for text in lines if text not in found}))
    _refuse_unknown(path, lines, found, lambda text: gallery.why_empty({'path': text}))
    return found


def _find_paths(gallery: GalleryReader, names: Mapping[str, str]) -> dict[str, list[tuple[int, str]]]:
    """Rows of each text that is there, by the path in the gallery that it stands for."""
    rows: dict[str, list[tuple[int, str]]] = {}
    for part in _parts(list(dict.fromkeys(names.values()))):
        for one in gallery.records(gallery.ids({'path': part})):
            rows.setdefault(one.path, []).append((one.id, one.path))
    return {text: rows[name] for text, name in names.items() if name in rows}


def _tidy(text: str, roots: Roots) -> str:
    """A path as a gallery keeps it: with slashes, below the root that it lies in."""
    path = posixpath.normpath(text.replace('\\', '/'))
    return roots.path(path) if posixpath.isabs(path) else path


def _refuse_unknown(
    path: Path, lines: Mapping[str, int], found: Mapping[str, object], reason: Callable[[str], str]
) -> None:
    unknown = [text for text in lines if text not in found]
    if unknown:
        others = f'; {len(unknown) - 1} more name no row either' if len(unknown) > 1 else ''
        raise RetrievalError(f'{path}: line {lines[unknown[0]]}: {reason(unknown[0])}{others}')


def _parts(values: list[Any]) -> Iterator[list[Any]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


def _shown(value: Value) -> str:
    return 'no value' if value is None else json.dumps(value, ensure_ascii=False)
