"""How several writers change a gallery in Milvus at the same time without losing a row.

Milvus inserts, replaces and deletes each row as a whole, but a write of many rows takes several calls, and there are
neither transactions nor locks. What its server does guarantee: a change of a collection's properties sets all its keys
at once, changes come one after another, and whoever reads the properties sees the last. This is built on:

- Every write draws a random number. Before its first call it sets a property of its own, the *note*: the number, what
  the write does, and which ids nobody else may touch meanwhile. Its last call removes the note.
- Every row carries the number of the write that wrote it. Readers leave out the rows of an add that still has its
  note, so that an add becomes visible as a whole, at the moment its note is removed. A writer that fails deletes the
  rows that carry its own number, and no others.
- New ids start at one of 2**62 numbers, chosen at random, so that two writers never choose the same. Only adds with ids
  of the caller's choice, updates and removals claim ids: all from the smallest to the largest that they touch.
- After it has set its note, and before it touches a row, a writer reads the notes of the others. If another one claims
  ids of the same range (or adds the same column with another type, or rows with patches of another shape), it removes
  its note and fails with one sentence. Of two writers that begin at once, the one that reads later sees the other:
  both may fail, but never do both go on. If another write has begun or ended since the arguments were checked, they
  are checked again.
- An update replaces each row in one call: a search finds the old row or the new one, never none and never both.

A writer that dies leaves its note. If it ran on this machine, the operating system knows for certain that it is gone,
and the next write clears up: it deletes the rows of an add; after an update or a removal, a warning says that it may be
done in part, and running it again completes it. Nobody can know whether a writer on another machine still runs, and no
clock is asked: ``info`` and a warning at every opening say what it has begun, and ``remove.py --unfinished`` clears up
once somebody knows that it is gone. Until then the rows of its add stay hidden, and other adds go on.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import RetrievalError
from ..gallery.history import Change, ChangeSet, Revise, differences
from ..gallery.spaces import check_patches
from ..records import Record, check_records
from .collection import MAX_IDS, Collection
from .expression import ids_expression
from .state import (
    CLEAR_UP,
    FORMAT,
    NOTE,
    Note,
    State,
    change_properties,
    definition_properties,
    patch_properties,
    read_state,
)
from .stored_history import StoredHistory
from .stored_rows import (
    RECORD_FIELDS,
    add_arrays,
    batches,
    encode_array,
    read_rows,
    record_row,
    row_record,
    vector_field,
)

Find = Callable[[list[tuple[str, str, int]]], np.ndarray]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A write whose arguments are checked.

    Attributes:
        kind: ``'add'``, ``'update'`` or ``'remove'``.
        ids: int64, (n,), of the rows that it touches; none means that there is nothing to do.
        send: Writes all rows, with the number of the write.
        claims_ids: Whether others could touch the same ids.
        columns: Metadata columns that are new or of another type, with their types.
        patch_shape: O and C of the patches; None for none.
    """

    kind: str
    ids: np.ndarray
    send: Callable[[int], None]
    claims_ids: bool = True
    columns: dict[str, str] = field(default_factory=dict)
    patch_shape: list[int] | None = None


@dataclass
class Noted:
    """What the history says of a write, once it has ended."""

    change_set: ChangeSet


class Writes:
    """The writes of one open gallery, one after another; the module says how they get along with those of others.

    ``collection`` is where the rows are, with strongly consistent reads.

    Example::

        writes = Writes(collection)
        writes.run(lambda state: plan_removal(collection, state, np.array([3, 17])))
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._key = ''
        self._next_id = (1 << 61) + secrets.randbelow(1 << 62)
        self._lock = threading.Lock()

    def new_ids(self, count: int) -> np.ndarray:
        """Ids that nobody else uses, int64 (count,), ascending from one call to the next."""
        start, self._next_id = self._next_id, self._next_id + count
        return np.arange(start, start + count, dtype=np.int64)

    def run(self, prepare: Callable[[State], Plan]) -> Plan:
        """Write what ``prepare`` plans after it has checked the arguments; it is asked again if the state has changed.

        RetrievalError if the arguments do not fit, another writer is in the way, or Milvus fails.
        """
        with self._lock:
            while True:
                state = self.clear_up(Note.is_over)[0]
                plan = prepare(state)
                if not len(plan.ids) or self._write(plan, state):
                    return plan

    def clear_up(self, chosen: Callable[[Note], bool]) -> tuple[State, int]:
        """Clear up after chosen writes, which broke off; returns the state, and how many there were."""
        state = self._read()
        over = [note for note in state.notes if chosen(note)]
        for note in over:
            if note.kind == 'add':
                self._collection.delete(f'write_number == {note.number}')
            self._collection.drop_property(note.key)
            advice = 'its rows are deleted' if note.kind == 'add' else f'run the {note.kind} again to complete it'
            _logger.warning('%s: cleared up after %s; %s', self._collection.location, note.describe(), advice)
        return (self._read() if over else state), len(over)

    def close(self) -> None:
        """Remove the property that held the notes."""
        if self._key:
            with suppress(RetrievalError):  # it is empty, which is as good
                self._collection.drop_property(self._key)

    def _read(self) -> State:
        return read_state(self._collection.properties(), self._collection.location)

    def _write(self, plan: Plan, state: State) -> bool:
        """Carry out a plan, unless something was written after the state that it is based on."""
        self._key = self._key or f'{NOTE}{secrets.randbits(62)}'
        note = Note(
            number=secrets.randbelow(1 << 62) + 1,
            kind=plan.kind,
            rows=len(plan.ids),
            claimed=(int(plan.ids.min()), int(plan.ids.max())) if plan.claims_ids else None,
            columns=plan.columns,
            patch_shape=plan.patch_shape,
            key=self._key,
        )
        begun = False
        try:
            upgrade = definition_properties(state) if state.about.format_version < FORMAT else {}
            self._collection.set_properties({note.key: note.to_json(), **upgrade})
            now = self._read()
            self._refuse_conflicts(note, now)
            if _is_outdated(plan, state, now, note):
                self._collection.set_properties({note.key: ''})
                return False
            begun = True
            plan.send(note.number)
            generation = self._check(note).about.generation + 1
            end = change_properties(generation, note.number, plan.columns)
            if plan.kind == 'add':
                end.update(patch_properties(plan.patch_shape))
            self._collection.set_properties({note.key: '', **end})
        except BaseException as error:
            self._give_up(note, begun)
            if begun and isinstance(error, RetrievalError):
                left = 'nothing is added' if plan.kind == 'add' else f'some rows may be {plan.kind}d and others not'
                raise RetrievalError(f'{error}; {left}: run the {plan.kind} again') from error
            raise
        if upgrade:
            _logger.warning(
                '%s was upgraded from format %d to %d: older versions of glsim-mm refuse it',
                self._collection.location,
                state.about.format_version,
                FORMAT,
            )
        return True

    def _refuse_conflicts(self, note: Note, state: State) -> None:
        for other in state.notes:
            reason = '' if other.key == note.key else _conflict(note, other)
            if reason:
                raise RetrievalError(
                    f'another writer (process {other.process} on {other.host}) {reason} at '
                    f'{self._collection.location}: try again when it has finished; {CLEAR_UP}'
                )

    def _check(self, note: Note) -> State:
        """The state before a write ends; RetrievalError if not all is there, or somebody took this writer for gone."""
        if note.kind != 'remove':
            found = self._collection.count_written(note.number)
            if found != note.rows:
                raise RetrievalError(f'Milvus at {self._collection.location} has {found} of the {note.rows} rows sent')
        state = self._read()
        if note.number not in [other.number for other in state.notes]:
            raise RetrievalError(f'someone cleared up this {note.kind} at {self._collection.location} before its end')
        return state

    def _give_up(self, note: Note, begun: bool) -> None:
        try:
            if begun:
                self._key = ''  # whoever clears up may remove this note at any time
                if note.kind == 'add':
                    self._collection.delete(f'write_number == {note.number}')
            # A call that failed may still arrive at the server: the note stays until the next write clears up.
            self._collection.set_properties({note.key: replace(note, failed=True).to_json() if begun else ''})
        except RetrievalError as error:
            _logger.warning('%s still notes %s, because %s', self._collection.location, note.describe(), error)


def _is_outdated(plan: Plan, state: State, now: State, note: Note) -> bool:
    """Whether a plan could differ had it been made now, when its note can no longer be missed."""
    if not plan.claims_ids and plan.patch_shape == state.patch_shape:  # it has looked at no rows
        return (now.columns, now.patch_shape) != (state.columns, state.patch_shape)
    known = {note.number, *(other.number for other in state.notes)}
    # A write that began meanwhile is one whose rows the plan has taken for visible.
    return now.last_write != state.last_write or any(other.number not in known for other in now.notes)


def _conflict(note: Note, other: Note) -> str:
    """What another writer does that this one must not do at the same time; '' for nothing."""
    if note.claimed and other.claimed and note.claimed[0] <= other.claimed[1] and other.claimed[0] <= note.claimed[1]:
        return f'has begun to {other.kind} ids {other.claimed[0]} to {other.claimed[1]}'
    theirs = {name.lower(): (name, kind) for name, kind in other.columns.items()}
    for name, kind in note.columns.items():
        if theirs.get(name.lower(), (name, kind)) != (name, kind):
            return 'has begun to add the column {} ({})'.format(*theirs[name.lower()])
    if note.kind == other.kind == 'add' and note.patch_shape != other.patch_shape:
        patches = f'with patches of {other.patch_shape}' if other.patch_shape else 'without patches'
        return f'has begun to add rows {patches}'
    return ''


def plan_add(
    collection: Collection,
    state: State,
    ids: np.ndarray,
    records: Sequence[Record] | None,
    embeddings: Mapping[str, np.ndarray],
    patches: np.ndarray | None,
    find: Find,
    ids_are_own: bool,
) -> Plan:
    """New rows, all or none: embeddings float32 (n, d) of each space as they shall be stored, patches (n, O, C).

    ``find`` gives the ids of rows that meet conditions; ``ids_are_own`` says that nobody else can use these ids.
    RetrievalError if an id is there already, or Milvus cannot take a row.
    """
    taken = {} if ids_are_own else collection.fetch(ids.tolist(), (), state.hidden)
    if taken:
        raise RetrievalError(
            f'id {min(taken)} is there already ({len(taken)} of {len(ids)} are): use update() to change rows'
        )
    kept = check_patches(patches, len(ids), state.patch_shape, lambda: not collection.count(state.hidden))
    checked, columns = check_records(records, ids, state.columns, find)
    # Before anything is sent: a row that Milvus cannot take must not stop an add in its middle.
    rows = [record_row(record) for record in checked]
    add_arrays(rows, embeddings, kept)

    def send(number: int) -> None:
        if not ids_are_own:
            StoredHistory(collection).mark_reused(ids)
        for batch in batches([{**row, 'write_number': number} for row in rows]):
            collection.insert(batch)

    return Plan('add', ids, send, not ids_are_own, columns, None if kept is None else list(kept.shape[1:]))


def plan_update(
    collection: Collection,
    state: State,
    ids: np.ndarray,
    records: Sequence[Record] | None,
    embeddings: Mapping[str, np.ndarray],
    patches: np.ndarray | None,
    find: Find,
    noted: Noted,
) -> Plan:
    """New values for rows that are there, in the forms of :func:`plan_add`; what is None or not there is kept."""
    kept = None if patches is None else check_patches(patches, len(ids), state.patch_shape, lambda: False)
    changes: list[dict] = [{} for _ in ids]
    columns: dict[str, str] = {}
    different: list[Change] = []
    old = read_rows(collection, ids, () if records is None else RECORD_FIELDS, state.hidden)
    if records is not None:
        checked, columns = check_records(records, ids, state.columns, find)
        changes = [record_row(record) for record in checked]
        different = differences(0, [row_record(row, state.columns) for row in old], checked)
    for index, change in enumerate(changes):
        if kept is not None:
            change['patches'] = encode_array(kept[index], np.float16, f'row {ids[index]}: patches')
        change.update((vector_field(space), vectors[index]) for space, vectors in embeddings.items())
    return _plan_changes(collection, state, ids, changes, columns, different, noted)


def plan_revision(
    collection: Collection, state: State, ids: np.ndarray, revise: Revise, find: Find, noted: Noted
) -> Plan:
    """Other records of rows that are there, made of those that they have; rows whose facts stay are left alone."""
    old = [row_record(row, state.columns) for row in read_rows(collection, ids, RECORD_FIELDS, state.hidden)]
    new, columns = check_records(revise(old), ids, state.columns, find)
    different = differences(0, old, new)
    changed = {change.id for change in different}
    kept = [record for record in new if record.id in changed]
    rows = [record_row(record) for record in kept]
    numbers = np.array([record.id for record in kept], np.int64)
    return _plan_changes(collection, state, numbers, rows, columns, different, noted)


def _plan_changes(
    collection: Collection,
    state: State,
    ids: np.ndarray,
    changes: Sequence[dict],
    columns: dict[str, str],
    different: Sequence[Change],
    noted: Noted,
) -> Plan:
    names = [*RECORD_FIELDS, 'patches', *(vector_field(space) for space in state.about.spaces)]
    history = StoredHistory(collection)
    history.check(different)

    def send(number: int) -> None:
        if different:
            noted.change_set = history.begin(noted.change_set, [one._replace(number=number) for one in different])
        for start in range(0, len(ids), MAX_IDS):
            part = slice(start, start + MAX_IDS)
            old = read_rows(collection, ids[part], names, state.hidden)
            rows = [{**{name: row[name] for name in ('id', *names)}, **new} for row, new in zip(old, changes[part])]
            for batch in batches([{**row, 'write_number': number} for row in rows]):
                collection.upsert(batch)
        if different:
            noted.change_set = history.end(noted.change_set)

    return Plan('update', ids, send, True, columns)


def plan_removal(collection: Collection, state: State, ids: np.ndarray) -> Plan:
    """Removal of rows; RetrievalError if an id is not there."""
    read_rows(collection, ids, (), state.hidden)

    def send(_: int) -> None:
        for start in range(0, len(ids), MAX_IDS):
            collection.delete(ids_expression(ids[start : start + MAX_IDS].tolist()))

    return Plan('remove', ids, send)
