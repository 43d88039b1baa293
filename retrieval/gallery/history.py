"""The history of a gallery: who gave which row which value, when, and how that is taken back."""

from __future__ import annotations

import getpass
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..errors import RetrievalError
from ..records import RESERVED, TEXT_COLUMNS, Record, check_records

Value = int | float | str | None
Revise = Callable[[list[Record]], list[Record]]
ROW = 'id'
"""Column of a change that removes a row as a whole, or brings it back."""

CHANGEABLE = ('path', 'label', 'split')  # and metadata; the rest of a record comes with its embeddings
_MAX_AUTHOR = 255
_NAMED = 5


class Change(NamedTuple):
    """A value of a row that was changed.

    Example:
        >>> for change in gallery.changes(ids=[3]):
        ...     print(change.number, change.column, change.old, '->', change.new)

    Attributes:
        number: Number of the change set that it is part of.
        id: Id of the row.
        column: ``'path'``, ``'label'``, ``'split'``, ``'content_hash'`` or a column of metadata; ``'id'`` where the row
            was removed, then ``new`` is None, or brought back, then ``old`` is.
        old, new: Values before and after, None for no value.
        reused: Whether the row was removed since, and its id given to another one.
    """

    number: int
    id: int
    column: str
    old: Value
    new: Value
    reused: bool = False


@dataclass(frozen=True)
class ChangeSet:
    """What one call has changed, as a whole; nothing where ``rows`` is 0.

    Example:
        >>> last = gallery.history()[-1]
        >>> print(last.number, last.time, last.by, last.rows, last.columns)

    Attributes:
        number: Its number in the gallery; 0 for one that changes nothing and is not kept.
        time: Date and time, ISO 8601, UTC.
        by: Who made it.
        rows: Number of rows.
        columns: Number of values by column; that of ``'id'`` is of whole rows, below 0 for rows that were removed.
        undoes: Number of the change set that it takes back; None if it takes back none.
        whole: False for one that broke off in Milvus, where some rows may have changed and others not.
    """

    number: int
    time: str
    by: str
    rows: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    undoes: int | None = None
    whole: bool = True

    @classmethod
    def begin(cls, by: str | None, undoes: int | None = None) -> ChangeSet:
        """One that changes nothing yet, by somebody, None for the login name; RetrievalError if that is no name."""
        name = _login_name() if by is None else by
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _MAX_AUTHOR:
            raise RetrievalError(f'by is the name of whoever makes a change, on one line, not {by!r}')
        return cls(0, datetime.now(timezone.utc).isoformat(timespec='seconds'), name, undoes=undoes)

    def of(self, changes: Sequence[Change]) -> ChangeSet:
        """This one with its number and the changes that are part of it."""
        columns = dict(Counter(change.column for change in changes))
        if changes and is_removal(changes[0]):
            columns[ROW] = -columns[ROW]
        number = changes[0].number if changes else 0
        return replace(self, number=number, rows=len({change.id for change in changes}), columns=columns)


@dataclass(frozen=True)
class UndoPlan:
    """What taking back a change set would do.

    Attributes:
        number: Number of the change set.
        changes: What would change: from ``old``, the value of today, to ``new``, the one before the change set.
        left: Ids of rows that cannot be taken back, by the reason: ``'changed since'``, ``'removed since'``,
            ``'encoded anew'``, or ``'removed for good'``, when the gallery has given up what it kept of them.
    """

    number: int
    changes: list[Change]
    left: dict[str, list[int]]

    def refuse(self, skip_changed: bool) -> None:
        """RetrievalError if rows cannot be taken back, unless they shall be skipped and others can."""
        if self.left and not (skip_changed and self.changes):
            reasons = ', '.join(f'{_rows(ids)} {reason}' for reason, ids in self.left.items())
            advice = '; add --skip-changed (skip_changed=True) to take back the others' if self.changes else ''
            raise RetrievalError(f'change {self.number} cannot be taken back, {reasons}{advice}')


def plan_undo(changes: Sequence[Change], records: Mapping[int, Record], kept: Collection[int] = ()) -> UndoPlan:
    """How to take back the changes of one set, where records are those of the rows that are still there, by id.

    A value that is already as it was before is left alone, as after a set that broke off or was taken back. ``kept``
    are the ids of rows that were removed and can be brought back.
    """
    left: dict[str, list[int]] = {}
    wanted: list[Change] = []
    rows: dict[int, list[Change]] = {}
    for change in changes:
        rows.setdefault(change.id, []).append(change)
    for number, own in rows.items():
        record = records.get(number)
        if own[0].column == ROW:
            is_there, was_there = record is not None, own[0].old is not None
            if own[0].reused or was_there and not is_there and number not in kept:
                left.setdefault('removed for good', []).append(number)
            elif is_there != was_there:
                wanted.append(own[0]._replace(old=own[0].new, new=own[0].old))
            continue
        if record is None or any(change.reused for change in own):
            left.setdefault('removed since', []).append(number)
            continue
        values = [(change, value_of(record, change.column)) for change in own]
        todo = [change for change, value in values if value != change.old]
        if not todo:
            continue
        if any(change.column == 'content_hash' for change in own):
            left.setdefault('encoded anew', []).append(number)
        elif any(value != change.new for change, value in values if change in todo):
            left.setdefault('changed since', []).append(number)
        else:
            wanted += [change._replace(old=change.new, new=change.old) for change in todo]
    return UndoPlan(changes[0].number, wanted, left)


def is_removal(change: Change) -> bool:
    """Whether a change is that a row was removed."""
    return change.column == ROW and change.new is None


def revise_undo(plan: UndoPlan) -> Revise:
    """Records as they were before a change set; RetrievalError if they have changed since it was planned."""
    rows: dict[int, dict[str, Change]] = {}
    for change in plan.changes:
        rows.setdefault(change.id, {})[change.column] = change

    def revise(records: list[Record]) -> list[Record]:
        for record in records:
            if any(value_of(record, name) != change.old for name, change in rows[record.id].items()):
                raise RetrievalError(f'id {record.id} was changed in this moment: try again')
        return [_with(record, {name: one.new for name, one in rows[record.id].items()}) for record in records]

    return revise


def revise_values(ids: np.ndarray, values: Any, columns: Mapping[str, str]) -> Revise:
    """Records with new values in some columns, the same for all of these ids, or others for each.

    Args:
        ids: int64, (n,).
        values: A dict of values by column, or a list of n of them.
        columns: Those that the gallery has, with their types.

    Raises:
        RetrievalError: If values have another form, or are such that a gallery cannot hold.
    """
    whole = isinstance(values, Mapping)
    if not whole and (isinstance(values, (str, bytes)) or not isinstance(values, Sequence)):
        raise RetrievalError(f'values must be a dict of values by column, or a list of them, got {values!r}')
    if not whole and len(values) != len(ids):
        raise RetrievalError(f'values for {len(values)} rows were given for {len(ids)} ids')
    names = {name.lower(): name for name in columns}
    read = [_read_values(one, names) for one in ([values] if whole else values)]
    # What cannot be held is found before anything is read; a row whose path stays has one.
    named = [_with(Record(), one) for one in read]
    check_records(named, np.arange(len(named)), columns, None)
    rows = dict(zip(ids.tolist(), read * len(ids) if whole else read))

    def revise(records: list[Record]) -> list[Record]:
        return [_with(record, rows[record.id]) for record in records]

    return revise


def differences(number: int, old: Sequence[Record], new: Sequence[Record]) -> list[Change]:
    """Values in which records differ from those before, as changes of a set of this number."""
    return [
        Change(number, one.id, name, value_of(one, name), value_of(other, name))
        for one, other in zip(old, new)
        for name in [*TEXT_COLUMNS, *dict.fromkeys([*one.metadata, *other.metadata])]
        if value_of(one, name) != value_of(other, name)
    ]


class HasHistory(Protocol):
    """A gallery, as far as its history goes."""

    def history(self) -> list[ChangeSet]:
        """Change sets, the last one at the end."""

    def changes(self, number: int | None = None) -> list[Change]:
        """Changes of a set."""


def numbered_history(galleries: Sequence[HasHistory]) -> Iterator[tuple[ChangeSet, list[Change]]]:
    """Change sets of galleries with their changes, for a copy of all of them, in which they have numbers from 1 on.

    Those of several galleries are in order of time.
    """
    listed = [(one, source) for source, gallery in enumerate(galleries) for one in gallery.history()]
    if len(galleries) > 1:
        listed.sort(key=lambda pair: pair[0].time)
    numbers = {(source, one.number): number for number, (one, source) in enumerate(listed, 1)}
    for one, source in listed:
        number = numbers[source, one.number]
        undoes = None if one.undoes is None else numbers[source, one.undoes]
        changes = [change._replace(number=number) for change in galleries[source].changes(one.number)]
        yield replace(one, number=number, undoes=undoes), changes


def is_new(change_set: ChangeSet, known: Mapping[int, ChangeSet]) -> bool:
    """Whether a copy lacks a change set; RetrievalError if it has another one of the same number."""
    if known.get(change_set.number, change_set) != change_set:
        raise RetrievalError(f'change {change_set.number} differs between source and copy: migrate to a new place')
    return change_set.number not in known


def value_of(record: Record, column: str) -> Value:
    """A value of a record by the column that a filter names; None for no value."""
    return getattr(record, column) if column in TEXT_COLUMNS else record.metadata.get(column)


def _read_values(values: Any, names: dict[str, str]) -> dict[str, Any]:
    """Values by the gallery's own names of columns; new names are noted, and differ in more than case."""
    if not isinstance(values, Mapping):
        raise RetrievalError(f'values must be a dict of values by column, got {values!r}')
    read: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(name, str) and name.lower() in RESERVED and name not in CHANGEABLE:
            raise RetrievalError(
                f'{name} cannot be set: {", ".join(CHANGEABLE)} and columns of metadata can, update changes the rest'
            )
        own = names.setdefault(name.lower(), name) if isinstance(name, str) else name
        if own in read:
            raise RetrievalError(f'{name!r} and another name are the same column {own!r}: give it once')
        read[own] = value
    return read


def _with(record: Record, values: Mapping[str, Any]) -> Record:
    facts = {name: value for name, value in values.items() if name in CHANGEABLE}
    metadata = {**record.metadata, **{name: value for name, value in values.items() if name not in facts}}
    return replace(record, **facts, metadata=metadata)


def _rows(ids: Sequence[int]) -> str:
    """``'2 rows (4, 7) were'``."""
    shown = ', '.join(map(str, ids[:_NAMED])) + (', ...' if len(ids) > _NAMED else '')
    return f'{len(ids)} {"row" if len(ids) == 1 else "rows"} ({shown}) {"was" if len(ids) == 1 else "were"}'


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # as in a container, whose user has no name
        return f'user {os.getuid()}' if hasattr(os, 'getuid') else 'unknown'
