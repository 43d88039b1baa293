"""A gallery in a folder, open for writing: files first, then one transaction of SQLite, the only commit."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from ..errors import RetrievalError
from ..index.presets import RETIRED, check_preset, check_recall, choose_preset
from ..records import (
    Ids,
    Record,
    check_ids,
    check_records,
    next_ids,
)
from ..whitening import Whitening, add_views
from .contract import Embeddings, GalleryWriter, check_open
from .database import DATABASE_FILE, FORMAT, Database, DiskFull, log_of, lost_log
from .folder_reader import FolderReader, FolderState
from .history import ROW, Change, ChangeSet, Revise, differences, is_new
from .interrupts import postponed_interrupts
from .lock import WriteLock
from .segments import NewRows, Segment, join_rows, last_rows, rows_of_segments, sweep, write_segment
from .spaces import Spaces, check_patches

KEPT_REMOVALS = 100
"""The last removals, as many of which can be taken back."""

_REVISED_AT_ONCE = 10_000
_RESERVE_FILE, _RESERVE_BYTES = 'reserve', 1 << 20  # room on a full disk for the log of a removal
Method = TypeVar('Method', bound=Callable[..., Any])


def _alone(method: Method) -> Method:
    """One change at a time, whatever number of threads ask."""

    @wraps(method)
    def call(self: FolderWriter, *args: Any, **options: Any) -> Any:
        with self._changing:
            return method(self, *args, **options)

    return cast(Method, call)


class FolderWriter(FolderReader, GalleryWriter):
    """A gallery in a folder, open for writing; made by ``create_gallery`` and ``open_gallery(..., writable=True)``.

    Every change is whole or not made at all, also when the process is killed: files are written and made durable first,
    then one transaction of SQLite lists them. Searches may run in other threads meanwhile; each keeps to the state that
    it began with. RetrievalError if another process writes to it.
    """

    def __init__(self, root: Path, mmap: bool = True, device: str = 'auto') -> None:
        self._reader: FolderReader | None = None  # of the last committed state, for snapshots
        self._lock = WriteLock(root)
        try:
            check_log(root)
            try:
                super().__init__(root, mmap, device)
            except DiskFull:
                (root / _RESERVE_FILE).unlink(missing_ok=True)
                super().__init__(root, mmap, device)
        except BaseException:
            self._lock.release()
            raise
        self._lock.announce()
        # Whoever forgets to close it, or ends by an exception, leaves a gallery that can be opened.
        self._abandon = weakref.finalize(self, _abandon, self._lock, self._state.database, os.getpid())
        sweep(self.root, [segment.number for segment in self._state.segments])
        self._fill_reserve()

    def close(self) -> None:
        with self._changing:
            if self._current is None or os.getpid() != self._process:
                return
            self._reader = None
            self._abandon.detach()
            with _leaving(self._lock, self._current.database):
                super().close()

    def refresh(self) -> None:
        """Take over the last committed state, which is the writer's own."""
        with self._changing:
            state = self._state
            self._reader = None
            self._current = self._read(state.database, state.segments)
            sweep(self.root, [segment.number for segment in self._current.segments])

    @_alone
    def snapshot(self) -> FolderReader:
        check_open(self.root, self._current is not None, self._process)
        if self._reader is None:  # opened once for each change, because it copies the database
            self._reader = FolderReader(self.root, self._mmap, self._device)
        return self._reader.snapshot()

    @_alone
    def add(
        self,
        embeddings: Embeddings,
        records: Sequence[Record] | None = None,
        ids: Ids | None = None,
        patches: np.ndarray | None = None,
        *,
        transformed: bool = False,
    ) -> np.ndarray:
        state = self._state
        vectors = state.spaces.whole_rows(embeddings, transformed)
        count = len(next(iter(vectors.values())))
        if ids is None:
            numbers = next_ids(state.meta['next_id'], count)
        else:
            numbers = check_ids(ids, count)
            for segment in state.segments:
                known = numbers[segment.any_part.find(numbers) >= 0]
                if len(known):
                    raise RetrievalError(f'id {known[0]} is in the gallery already; use update, or another id')
        checked = check_records(records, numbers, self.columns(), self.ids)
        patches = check_patches(patches, count, state.meta['patch_shape'], lambda: not len(state))

        def write() -> None:
            used = numbers[numbers < state.meta['next_id']]
            state.database.mark_reused(used)
            state.database.give_up_removed(used)
            self._write_records(*checked)

        self._write_rows(NewRows(numbers, {name: [array] for name, array in vectors.items()}, patches), write)
        return numbers

    @_alone
    def update(
        self,
        ids: Ids,
        embeddings: Embeddings | None = None,
        records: Sequence[Record] | None = None,
        patches: np.ndarray | None = None,
        *,
        by: str | None = None,
    ) -> None:
        state = self._state
        database = state.database
        numbers = check_ids(ids)
        old = self.records(numbers)  # all of them are there
        begun = ChangeSet.begin(by)
        named, columns, changes = [], {}, []
        if records is not None:
            named, columns = check_records(records, numbers, self.columns(), self.ids)
            changes = differences(database.next_change_set(), old, named)
        if embeddings is None and patches is None:
            with self._commit():
                self._write_records(named, columns)
                self._write_history(begun, changes)
                self._write_meta()
            return
        vectors = {} if embeddings is None else state.spaces.rows(embeddings, count=len(numbers))
        kept = {name: self.vectors(numbers, name) for name in state.spaces.dimensions if name not in vectors}
        whole = {name: [{**kept, **vectors}[name]] for name in state.spaces.dimensions}
        if patches is None:
            patches = self.patches(numbers)
        else:
            patches = check_patches(patches, len(numbers), state.meta['patch_shape'], lambda: not len(state))

        def write() -> None:
            self._write_records(named, columns)
            self._write_history(begun, changes)

        self._write_rows(NewRows(numbers, whole, patches), write, replaced=numbers)

    @_alone
    def _revise(self, ids: np.ndarray, revise: Revise, by: str | None, undoes: int | None = None) -> ChangeSet:
        database = self._state.database
        begun = ChangeSet.begin(by, undoes)
        number = database.next_change_set()
        changes: list[Change] = []
        with self._commit():
            for start in range(0, len(ids), _REVISED_AT_ONCE):
                part = ids[start : start + _REVISED_AT_ONCE]
                old = database.read_records(part)
                new, columns = check_records(revise(old), part, database.columns(), self.ids)
                found = differences(number, old, new)
                changed = {change.id for change in found}
                if changed:
                    self._write_records([one for one in new if one.id in changed], columns)
                    changes += found
            if changes:
                self._write_history(begun, changes)
                self._write_meta()
        return begun.of(changes)

    @_alone
    def set_origin(self, values: Mapping[str, str]) -> None:
        with self._commit():
            # Versions that know one root alone would take paths of others for photos that are gone.
            self._write_meta(origin={**self._state.meta['origin'], **values}, format_version=FORMAT)

    @_alone
    def copy_history(self, sets: Iterable[tuple[ChangeSet, list[Change]]]) -> None:
        known = {one.number: one for one in self.history()}
        with self._commit() as database:
            count = 0
            for change_set, changes in sets:
                if is_new(change_set, known):
                    database.write_changes(changes)
                    database.write_change_set(change_set)
                    count += 1
            if count:
                self._write_meta()

    @_alone
    def remove(self, ids: Ids | None = None, where: Any = None, *, by: str | None = None) -> ChangeSet:
        self._check_removal(ids, where)
        return self._remove(self.ids(where) if ids is None else check_ids(ids), by)

    @_alone
    def _remove(self, ids: np.ndarray, by: str | None, undoes: int | None = None) -> ChangeSet:
        self.records(ids)
        begun = ChangeSet.begin(by, undoes)
        if not len(ids):
            return begun
        try:
            return self._remove_rows(ids, begun)
        except DiskFull:
            (self.root / _RESERVE_FILE).unlink(missing_ok=True)
            return self._remove_rows(ids, begun, keeps=False)  # which needs less room

    @_alone
    def _bring_back(self, ids: np.ndarray, by: str | None, undoes: int) -> ChangeSet:
        state = self._state
        begun = ChangeSet.begin(by, undoes)
        rows = last_rows(state.segments, ids)
        alive = {one.number: one.any_part.alive.copy() for one in state.segments}
        for number, mask in alive.items():
            mask[rows[number]] = True
        changes = [Change(state.database.next_change_set(), number, ROW, None, number) for number in ids.tolist()]
        with self._commit() as database:
            database.bring_back(ids)
            self._write_dead(alive, ())
            self._write_history(begun, changes)
            self._write_meta()
        return begun.of(changes)

    @_alone
    def compact(self, preset: str | None = None, recall: float | None = None) -> None:
        check_preset(preset)
        check_recall(recall)
        target: dict[str, Any] = {} if preset is None and recall is None else dict(recall=recall)
        self._rewrite(self._state.meta['preset'] if preset is None else preset, self._state.spaces, **target)

    @_alone
    def put_space(self, name: str, transform: Whitening) -> None:
        state = self._state
        spaces = state.spaces.added(name, transform)
        widths = {**state.meta['input_dimensions'], name: state.meta['input_dimensions'][transform.sources[0]]}
        self._rewrite(state.meta['preset'], spaces, transform, input_dimensions=widths)

    @_alone
    def prefer_space(self, name: str) -> None:
        spaces = self._state.spaces
        dimensions = {spaces.space(name): spaces.dimensions[name], **spaces.dimensions}
        with self._commit():
            self._write_meta(spaces=dimensions)

    @_alone
    def remove_space(self, name: str) -> None:
        state = self._state
        spaces = state.spaces.without(name)
        widths = {space: width for space, width in state.meta['input_dimensions'].items() if space != name}
        self._rewrite(state.meta['preset'], spaces, input_dimensions=widths)

    def _rewrite(self, wanted: str, spaces: Spaces, new: Whitening | None = None, **values: Any) -> None:
        """Write all rows into one segment with an index for each of some spaces; ``new`` maps to the first of them."""
        state = self._state
        meta, dimensions = state.meta, spaces.dimensions
        wanted = RETIRED.get(wanted, wanted)
        chosen, reason = wanted, f'{wanted}: as asked for.'
        if wanted == 'auto':
            chosen, reason = choose_preset(len(state), max(dimensions.values()), meta['memory_limit'])
        alive = self._alive_without(np.empty(0, np.int64))
        segments = [segment for segment in state.segments if alive[segment.number].any()]
        number = meta['next_segment']
        files: dict[str, dict] = {}
        if segments:
            own = [name for name in dimensions if new is None or name != next(iter(dimensions))]
            rows = rows_of_segments(segments, alive, own)
            if new is not None:
                name = next(iter(dimensions))
                blocks = zip(*rows_of_segments(segments, alive, new.sources).vectors.values())
                made = (spaces.stored(new.apply(add_views(parts)), name) for parts in blocks)
                rows.vectors = {**rows.vectors, name: made}
            limit = meta['memory_limit']
            target = values.get('recall', meta.get('recall'))
            files, efforts = write_segment(self.root, number, rows, dimensions, meta['metric'], chosen, limit, target)
            reason = ' '.join([reason, *(f'{space}: {effort}' for space, effort in efforts.items())])
        with self._commit() as database:
            database.drop_segments([segment.number for segment in state.segments])
            database.give_up_removed()
            if segments:
                database.add_segment(number, len(rows.ids), dict.fromkeys(dimensions, chosen), files)
            if spaces is not state.spaces:
                database.write_transforms({name: one.to_bytes() for name, one in spaces.transforms.items()})
                values['spaces'] = dict(dimensions)
            self._write_meta(next_segment=number + 1, preset=wanted, preset_reason=reason, **values)

    @contextmanager
    def _commit(self) -> Iterator[Database]:
        """Make all changes of the block and take over the new state, or neither; Ctrl-C waits for the end of both."""
        state = self._state
        with postponed_interrupts():
            try:
                with state.database.transaction():
                    yield state.database
            except BaseException:
                sweep(self.root, [segment.number for segment in state.segments])
                raise
            self.refresh()

    def _write_rows(
        self,
        rows: NewRows,
        write_facts: Callable[[], None],
        replaced: np.ndarray | None = None,
    ) -> None:
        """Write a segment and commit it with what is known of its rows, which ``write_facts`` writes to the database.

        Exact segments of like size are merged, so that they stay few. Rows that can be brought back stay in them.
        """
        state = self._state
        meta = state.meta
        alive = self._alive_without(np.empty(0, np.int64) if replaced is None else replaced)
        # In an empty gallery, patches may be of another shape than those that were removed, which then cannot return.
        gives_up = not len(state) and _patch_shape(rows) != meta['patch_shape']
        stays = alive if gives_up else self._staying(alive, rows.ids)
        merged: list[Segment] = []
        count = len(rows.ids)
        for segment in reversed(state.segments):
            size = int(stays[segment.number].sum())
            if not segment.is_flat or size > count:
                break
            merged.insert(0, segment)
            count += size
        number = meta['next_segment']
        kept = [segment for segment in merged if stays[segment.number].any()]
        whole = join_rows(rows_of_segments(kept, stays, state.spaces.dimensions), rows) if kept else rows
        files, _ = write_segment(self.root, number, whole, state.spaces.dimensions, meta['metric'])
        dropped = [segment.number for segment in merged]
        dropped += [one for one, mask in stays.items() if not mask.any() and one not in dropped]
        whole_alive = [alive[one.number][stays[one.number]] for one in kept]
        with self._commit() as database:
            database.drop_segments(dropped)
            database.add_segment(number, len(whole.ids), dict.fromkeys(state.spaces.dimensions, 'flat'), files)
            database.write_dead(number, np.concatenate([*whole_alive, np.ones(len(rows.ids), bool)]))
            if gives_up:
                database.give_up_removed()
            if replaced is not None:
                self._write_dead(alive, dropped)
            write_facts()
            largest = max(meta['next_id'], int(rows.ids.max()) + 1)
            self._write_meta(next_id=largest, next_segment=number + 1, patch_shape=_patch_shape(whole))

    def _write_records(self, records: Sequence[Record], columns: Mapping[str, str]) -> None:
        self._state.database.set_columns(columns)
        self._state.database.write_records(records)

    def _write_history(self, begun: ChangeSet, changes: Sequence[Change]) -> None:
        if changes:
            self._state.database.write_changes(changes)
            self._state.database.write_change_set(begun.of(changes))

    def _remove_rows(self, numbers: np.ndarray, begun: ChangeSet, keeps: bool = True) -> ChangeSet:
        alive = self._alive_without(numbers)
        number = self._state.database.next_change_set()
        changes = [Change(number, one, ROW, one, None) for one in numbers.tolist()] if keeps else []
        with self._commit() as database:
            self._write_history(begun, changes)
            if keeps:
                database.keep_removed(numbers, KEPT_REMOVALS)
            else:
                database.delete_records(numbers)
            empty = [number for number, rows in self._staying(alive).items() if not rows.any()]
            database.drop_segments(empty)
            self._write_dead(alive, empty)
            self._write_meta()
        return begun.of(changes) if keeps else replace(begun, rows=len(numbers))

    def _staying(self, alive: Mapping[int, np.ndarray], without: Ids = ()) -> dict[int, np.ndarray]:
        """Rows of each segment that are alive, or can be brought back and are not of some ids."""
        segments = self._state.segments
        kept = last_rows(segments, np.setdiff1d(self._state.database.removed_ids(), without))
        found = {}
        for segment in segments:
            found[segment.number] = alive[segment.number].copy()
            found[segment.number][kept[segment.number]] = True
        return found

    def _fill_reserve(self) -> None:
        """Keep some of the disk, which is given back when it is full, so that rows can be removed even then."""
        path = self.root / _RESERVE_FILE
        if path.exists():
            return
        try:
            path.write_bytes(bytes(_RESERVE_BYTES))
        except OSError:
            path.unlink(missing_ok=True)

    def _write_dead(self, alive: Mapping[int, np.ndarray], dropped: Sequence[int]) -> None:
        for segment in self._state.segments:
            mask = alive[segment.number]
            if segment.number not in dropped and mask.sum() != segment.any_part.alive.sum():
                self._state.database.write_dead(segment.number, mask)

    def _write_meta(self, **values: Any) -> None:
        self._state.database.write_meta({'generation': self._state.meta['generation'] + 1, **values})

    def _alive_without(self, ids: np.ndarray) -> dict[int, np.ndarray]:
        """Rows of each segment that are alive and are not these."""
        found = {}
        for segment in self._state.segments:
            part = segment.any_part
            rows = part.find(ids)
            mask = part.alive
            if (rows >= 0).any():
                mask = mask.copy()
                mask[rows[rows >= 0]] = False
            found[segment.number] = mask
        return found

    def _newest_state(self, known: Sequence[Segment]) -> FolderState:
        """The last committed state, open for writing: it is the writer's own as long as it holds the lock."""
        database = Database(self.root / DATABASE_FILE, writable=True)
        try:
            return self._read(database, known)
        except BaseException:
            database.close()
            raise


def _patch_shape(rows: NewRows) -> list[int] | None:
    return None if rows.patches is None else list(rows.patches.shape[1:])


@contextmanager
def _leaving(lock: WriteLock, database: Database) -> Iterator[None]:
    """Closing a database in the block keeps its log and the notice that says who writes together, or removes both."""
    with ExitStack() as others:
        emptied = False
        with suppress(RetrievalError):  # on a full disk, the log keeps what it holds
            emptied = database.empty_log()
        if emptied:
            lock.withdraw()
        else:  # SQLite removes the log with the last connection, and then its notice would be wrong
            others.callback(Database(database.path).close)
        yield
    lock.release()


def _abandon(lock: WriteLock, database: Database, process: int) -> None:
    """Close what a writer leaves that nobody closed; the child of a fork has none of its own."""
    if os.getpid() == process:
        with suppress(RetrievalError, OSError), _leaving(lock, database):
            database.close()


def check_log(root: Path) -> None:
    """Refuse a copy that was made without the write-ahead log, before anything is made or removed in it."""
    path = root / DATABASE_FILE
    if all(lost_log(path) for _ in range(3)):  # a writer may come and go while it looks
        name = log_of(path).name
        raise RetrievalError(
            f'{root} is a copy without its {name}, which holds the last changes: close the gallery and copy its whole '
            f'folder again; to go on without these changes, make an empty file {name} in the copy'
        )
