"""Where the history of a gallery in Milvus is: a collection beside the gallery's, made by the first change.

Milvus has no transactions, so a change is noted before its rows are touched, as one that is not whole, and becomes
whole when all rows are written. What breaks off in between stays in the history as not whole, for good: some of its
rows may have changed and others not. Taking it back looks at each row, and so does making it again.

Each change set has a row of its own and one for each value. As with the gallery's own rows, numbers are random, so that
two writers never choose the same; change sets are in the order in which they began.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..gallery.history import Change, ChangeSet, Value
from .collection import MAX_IDS, Collection
from .side_collection import PART, UNUSED, create_side, load_side
from .stored_rows import MAX_TEXT_BYTES, batches, check_size

_TEXTS = ('name', 'kinds', 'old', 'new')
_FIELDS = ('number', 'row', *_TEXTS, 'reused')
_HEAD = 'row == -1'  # the row of a change set itself: its order is its name, all else is JSON in old
_KINDS = {type(None): 'n', int: 'i', float: 'r', str: 't'}
_READ: dict[str, Callable[[str], Value]] = {'n': lambda text: None, 'i': int, 'r': float, 't': str}


class StoredHistory:
    """The history of the gallery in a collection.

    Example::

        history = StoredHistory(collection)
        change_set = history.begin(ChangeSet.begin('anna'), changes)
        ...  # write the rows
        history.end(change_set)
    """

    def __init__(self, gallery: Collection) -> None:
        self._collection = gallery.sibling('history')
        self._gallery = gallery.location
        self._is_open = False

    def clear(self) -> None:
        """Delete what a gallery that was here before has left; RetrievalError if it is something else."""
        if self._open():
            self._collection.drop()
            self._is_open = False

    def change_sets(self) -> list[ChangeSet]:
        """All change sets, in the order in which they began."""
        return [change_set for _, change_set in sorted(self._heads(), key=_order)]

    def changes(self, number: int | None, ids: np.ndarray | None) -> list[Change]:
        """Changes of one set, None for all, and of some rows, None for all, in the order of sets, rows and columns."""
        if not self._open():
            return []
        order = {change_set.number: position for position, change_set in enumerate(self.change_sets())}
        within = 'row >= 0' if number is None else f'row >= 0 and number == {number}'
        found = [_change(row) for row in self._rows(within, ids)]
        known = [change for change in found if change.number in order]
        return sorted(known, key=lambda change: (order[change.number], change.id, change.column))

    def check(self, changes: Sequence[Change]) -> None:
        """RetrievalError if Milvus cannot note changes."""
        for change in changes:
            _row(change)

    def begin(self, begun: ChangeSet, changes: Sequence[Change]) -> ChangeSet:
        """Note a change set, the last one, before its rows are written."""
        self._make()
        change_set = replace(begun.of(changes), whole=False)
        head = _head(change_set, max((place for place, _ in self._heads()), default=0) + 1)
        for batch in batches([_row(change) for change in changes]):
            self._collection.insert(batch)
        self._collection.insert([head])
        return change_set

    def end(self, change_set: ChangeSet) -> ChangeSet:
        """Note that all rows of a change set are written."""
        order = next(place for place, one in self._heads() if one.number == change_set.number)
        whole = replace(change_set, whole=True)
        self._collection.upsert([_head(whole, order)])
        return whole

    def take_over(self, change_set: ChangeSet, changes: Sequence[Change]) -> None:
        """Add a change set of another gallery as the last one; what broke off before is done again."""
        self._make()
        self._collection.delete(f'number == {change_set.number}')
        begun = self.begin(change_set, changes)
        if change_set.whole:
            self.end(begun)

    def mark_reused(self, ids: np.ndarray) -> None:
        """Say of all changes of some ids that they are of rows that are gone."""
        if self._open():
            rows = [{**row, 'reused': True, **UNUSED} for row in self._rows('row >= 0', ids)]
            for batch in batches(rows):
                self._collection.upsert(batch)

    def _heads(self) -> list[tuple[int, ChangeSet]]:
        return [_change_set(row) for row in self._rows(_HEAD, None)] if self._open() else []

    def _rows(self, within: str, ids: np.ndarray | None) -> Iterator[dict]:
        if ids is None:
            parts = [within]
        else:
            listed = [ids[start : start + MAX_IDS].tolist() for start in range(0, len(ids), MAX_IDS)]
            parts = [f'{within} and row in {part}' for part in listed]
        return (row for part in parts for page in self._collection.scan(part, _FIELDS) for row in page)

    def _open(self) -> bool:
        """Whether there is a history; then it can be read."""
        if not self._is_open and self._collection.exists():
            if self._collection.properties().get(PART) != 'history':
                raise RetrievalError(
                    f'{self._collection.location} should be the history of {self._gallery}, and is something else: '
                    'choose another name for one of them'
                )
            load_side(self._collection)
            self._is_open = True
        return self._is_open

    def _make(self) -> None:
        if self._open():
            return
        create_side(self._collection, ('number', 'row'), _TEXTS, ('reused',), part='history')
        self._is_open = True


def _row(change: Change) -> dict:
    values = (change.old, change.new)
    texts = ['' if value is None else str(value) for value in values]
    return {
        'id': secrets.randbits(62),
        'number': change.number,
        'row': change.id,
        'name': change.column,
        'kinds': ''.join(_KINDS[type(value)] for value in values),
        'old': check_size(texts[0], change.column, change.id),
        'new': check_size(texts[1], change.column, change.id),
        'reused': change.reused,
        **UNUSED,
    }


def _change(row: Mapping[str, Any]) -> Change:
    old, new = (_READ[kind](row[name]) for kind, name in zip(row['kinds'], ('old', 'new')))
    return Change(int(row['number']), int(row['row']), row['name'], old, new, bool(row['reused']))


def _head(change_set: ChangeSet, order: int) -> dict:
    text = json.dumps({name: value for name, value in asdict(change_set).items() if name != 'number'})
    if len(text) > MAX_TEXT_BYTES:
        raise RetrievalError('Milvus cannot note a change of so many columns at once: change fewer of them at a time')
    number = change_set.number
    facts = {'kinds': '', 'old': text, 'new': '', 'reused': False}
    return {'id': number, 'number': number, 'row': -1, 'name': str(order), **facts, **UNUSED}


def _change_set(row: Mapping[str, Any]) -> tuple[int, ChangeSet]:
    return int(row['name']), ChangeSet(number=int(row['number']), **json.loads(row['old']))


def _order(head: tuple[int, ChangeSet]) -> tuple[int, str, int]:
    """Those that began at once are in the order of their clocks."""
    return head[0], head[1].time, head[1].number
