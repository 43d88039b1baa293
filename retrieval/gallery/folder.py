"""Galleries in folders: embeddings in FAISS's files, records in SQLite, whose transactions are the only commits."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import copy, deepcopy
from dataclasses import asdict, dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits, RangeHits, fused_search
from ..index.part import damaged, fill_rows, fsync_file
from ..index.presets import check_preset, choose_preset
from ..index.vector_index import RowFilter, VectorIndex
from ..records import (
    MAX_ID,
    Ids,
    Record,
    check_count,
    check_ids,
    check_records,
    check_search_options,
    check_texts,
    next_ids,
    read_ids,
)
from ..whitening import Whitening
from .conditions import check_column, read_conditions
from .contract import Embeddings, Fingerprint, GalleryReader, GalleryWriter, Manifest, Space, check_open
from .database import DATABASE_FILE, Database, DiskFull, log_of, lost_log
from .grouping import Grouping, Rows, read_exclude, search_without
from .history import Change, ChangeSet, Revise, differences, is_new
from .interrupts import postponed_interrupts
from .lock import WriteLock
from .segments import NewRows, Segment, describe_file, join_rows, open_segment, rows_of_segments, sweep, write_segment
from .spaces import Spaces, check_patches

FORMAT = 1
_REVISED_AT_ONCE = 10_000
_CACHED_FILTERS, _CACHED_GROUPINGS = 32, 4
_MODEL_FACTS = ('fingerprint', 'metric', 'spaces', 'input_dimensions')
_ATTEMPTS = 100
_RESERVE_FILE, _RESERVE_BYTES = 'reserve', 1 << 20  # room on a full disk for the log of a removal


@dataclass(frozen=True)
class _State:
    """A committed state of a gallery, open; a search takes one and keeps to it."""

    database: Database
    meta: dict[str, Any]
    spaces: Spaces
    segments: list[Segment]
    indexes: dict[str, VectorIndex]
    filters: dict[tuple[str, str], RowFilter] = field(default_factory=dict)
    groupings: dict[str, Grouping] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, dict]:
        return {name: facts for segment in self.segments for name, facts in segment.files.items()}

    def __len__(self) -> int:
        return sum(int(segment.any_part.alive.sum()) for segment in self.segments)


Method = TypeVar('Method', bound=Callable[..., Any])


def _alone(method: Method) -> Method:
    """One change at a time, whatever number of threads ask."""

    @wraps(method)
    def call(self: FolderWriter, *args: Any, **options: Any) -> Any:
        with self._changing:
            return method(self, *args, **options)

    return cast(Method, call)


class FolderReader(GalleryReader):
    """A gallery in a folder, open for reading; made by :func:`retrieval.gallery.open_gallery`.

    :class:`GalleryReader` says what the methods do. Any number of processes may read while one writes. A reader sees
    the gallery as it was when it was opened or last refreshed. Threads may share it, also while one of them refreshes
    or closes it: each call keeps to the state that it began with, which ends with the last call that uses it.
    """

    def __init__(
        self, root: Path, transforms: Mapping[str, Whitening], mmap: bool = True, device: str = 'auto'
    ) -> None:
        self.root = root
        self._transforms = dict(transforms)
        self._mmap = mmap
        self._device = device
        self._process = os.getpid()
        self._cache_lock = threading.Lock()
        self._changing = threading.RLock()
        self._current: _State | None = self._newest_state([])

    @property
    def _state(self) -> _State:
        """The state that a call works with; it asks once, because another thread may refresh the gallery."""
        state = self._current
        check_open(self.root, state is not None, self._process)
        return cast(_State, state)

    @property
    def location(self) -> str:
        return str(self.root)

    @property
    def manifest(self) -> Manifest:
        state = self._state
        meta = state.meta
        about = deepcopy({one.name: meta[one.name] for one in fields(Manifest) if one.name in meta})
        if about['fingerprint'] is not None:
            about['fingerprint'] = Fingerprint(**about['fingerprint'])
        rows = len(state)
        counts = dict(rows=rows, removed=sum(map(len, state.segments)) - rows, segments=len(state.segments))
        return Manifest(**about, counts=counts, files=state.files)

    @property
    def transforms(self) -> dict[str, Whitening]:
        return dict(self._transforms)

    @property
    def built_presets(self) -> list[dict[str, str]]:
        return [dict(segment.presets) for segment in self._state.segments]

    def __len__(self) -> int:
        return len(self._state)

    def close(self) -> None:
        with self._changing:
            state, self._current = self._current, None
            if state is not None and os.getpid() == self._process:
                state.database.close()

    def refresh(self) -> None:
        with self._changing:
            old = self._state
            new = self._newest_state(old.segments)
            is_other = any(old.meta[name] != new.meta[name] for name in _MODEL_FACTS)
            if is_other or (old.meta['created'] != new.meta['created'] and not self._fits(new.database)):
                new.database.close()
                raise RetrievalError(f'{self.root} is the gallery of another model now: open it again, with that model')
            self._current = new

    def _fits(self, database: Database) -> bool:
        """Whether a gallery that took the place of this one is whitened alike."""
        return database.read_transforms() == {name: one.to_bytes() for name, one in self._transforms.items()}

    def snapshot(self) -> FolderReader:
        found = copy(self)
        found._current = self._state
        found._changing = threading.RLock()
        return found

    def verify(self) -> None:
        verified: set[str] = set()
        while True:
            state = self._state
            try:
                state.database.check()
                for name, facts in state.files.items():
                    if name not in verified and describe_file(self.root / name)['sha256'] != facts['sha256']:
                        raise damaged(self.root / name)
                    verified.add(name)  # files never change once they are listed
                return
            except RetrievalError:
                self.refresh()
                if self._state.meta['generation'] == state.meta['generation']:
                    raise
                # A writer has replaced files since they were listed: those that are listed now count.

    def columns(self) -> dict[str, str]:
        return self._state.database.columns()

    def ids(self, where: Any = None) -> np.ndarray:
        database = self._state.database
        return database.find_ids(read_conditions(where, database.columns()))

    def records(self, ids: Ids) -> list[Record]:
        return self._state.database.read_records(read_ids(ids))

    def vectors(self, ids: Ids, space: str | None = None) -> np.ndarray:
        state = self._state
        return state.indexes[state.spaces.space(space)].reconstruct(ids)

    def patches(self, ids: Ids) -> np.ndarray | None:
        state = self._state
        if state.meta['patch_shape'] is None:
            return None
        numbers = read_ids(ids)
        found = np.zeros((len(numbers), *state.meta['patch_shape']), np.float16)
        kept = ((one.any_part, one.patches) for one in state.segments if one.patches is not None)
        fill_rows(found, numbers, kept, 'gallery')
        return found

    def find_hashes(self, hashes: Sequence[str]) -> dict[str, int]:
        return self._state.database.find_hashes(check_texts(hashes, 'hashes'))

    def history(self) -> list[ChangeSet]:
        return self._state.database.read_history()

    def changes(self, number: int | None = None, ids: Ids | None = None) -> list[Change]:
        if number is not None:
            check_count(number, 'the number of a change', 0, MAX_ID)
        return self._state.database.read_changes(number, None if ids is None else read_ids(ids))

    def transform(self, embeddings: np.ndarray, space: str | None = None) -> np.ndarray:
        spaces = self._state.spaces
        return spaces.transform(embeddings, spaces.space(space))

    def search(
        self,
        queries: Embeddings,
        k: int = 10,
        *,
        space: Space = None,
        where: Any = None,
        group_by: str | None = None,
        exclude: Sequence[Ids] | None = None,
        rescore: int | None = None,
        parameters: Mapping[str, int] | None = None,
        transformed: bool = False,
    ) -> Hits:
        check_search_options(k, rescore, parameters)
        state = self._state
        spaces = state.spaces

        def search_one(name: str, vectors: np.ndarray, depth: int) -> Hits:
            allowed = self._filter(where, name, state)
            return state.indexes[name].search(vectors, depth, allowed=allowed, rescore=rescore, parameters=parameters)

        def search_rows(vectors: Mapping[str, np.ndarray], depth: int) -> Hits:
            if not isinstance(space, Mapping):
                return search_one(*next(iter(vectors.items())), depth)
            return fused_search(search_one, vectors_of, vectors, space, depth, spaces.metric, len(state))

        def vectors_of(ids: np.ndarray, name: str) -> np.ndarray:
            return state.indexes[name].reconstruct(ids)

        if isinstance(space, Mapping):
            prepared = spaces.fused_queries(queries, space, transformed)
        else:
            prepared = {name: spaces.pick(queries, name, transformed) for name in spaces.weights(space)}
        if group_by is None and exclude is None:
            return search_rows(prepared, k)
        prepared = {name: state.indexes[name].prepare(vectors, 'queries') for name, vectors in prepared.items()}
        left_out = read_exclude(exclude, len(next(iter(prepared.values()))))
        if group_by is None:
            return search_without(search_rows, prepared, k, left_out, spaces.metric)
        weights = spaces.weights(space)

        def masks() -> list[np.ndarray | None]:
            name = next(iter(weights))
            return state.indexes[name].masks(self._filter(where, name, state))

        rows = Rows([segment.parts for segment in state.segments], masks, weights, spaces.metric)
        is_exact = all(segment.is_flat for segment in state.segments)
        return self._grouping(group_by, state).search(search_rows, is_exact, rows, prepared, k, left_out)

    def range_search(
        self,
        queries: Embeddings,
        radius: float,
        *,
        space: str | None = None,
        where: Any = None,
        transformed: bool = False,
    ) -> RangeHits:
        state = self._state
        name = state.spaces.space(space)
        vectors = state.spaces.pick(queries, name, transformed)
        return state.indexes[name].range_search(vectors, radius, allowed=self._filter(where, name, state))

    def _grouping(self, column: str, state: _State) -> Grouping:
        check_column(column, state.database.columns())
        found = state.groupings.get(column)
        if found is None:
            found = Grouping(*state.database.read_groups(column))
            self._keep(state.groupings, column, found, _CACHED_GROUPINGS)
        return found

    def _keep(self, cache: dict[Any, Any], key: Any, value: Any, most: int) -> None:
        """Put something into a cache of a state, in place of the oldest where it is full."""
        with self._cache_lock:
            while len(cache) >= most:
                cache.pop(next(iter(cache)))
            cache[key] = value

    def _filter(self, where: Any, space: str, state: _State) -> RowFilter | None:
        conditions = [] if where is None else read_conditions(where, state.database.columns())
        if not conditions:
            return None
        key = repr(conditions), space
        found = state.filters.get(key)
        if found is None:
            found = state.indexes[space].select(state.database.find_ids(conditions))
            self._keep(state.filters, key, found, _CACHED_FILTERS)
        return found

    def _newest_state(self, known: Sequence[Segment]) -> _State:
        """The last committed state, open; its database goes on showing it, whatever is written."""
        path = self.root / DATABASE_FILE
        for _ in range(_ATTEMPTS):
            with ExitStack() as undo:
                file = _number(path)
                snapshot = Database(path)
                undo.callback(snapshot.close)
                snapshot.begin_snapshot()
                try:
                    state = self._read(snapshot, known)
                except RetrievalError:
                    # A writer may have replaced segments since the snapshot was taken; then there is a newer state.
                    if _number(path) == file and not is_replaced(path, snapshot):
                        raise
                else:
                    if _number(path) != file:
                        continue  # the folder is another one now, and the segments may be from there
                    undo.pop_all()
                    return state
        raise RetrievalError(f'{self.root} is changed faster than it can be opened: try again when less is written')

    def _read(self, database: Database, known: Sequence[Segment]) -> _State:
        """State of the gallery as a database has it; segments that are known are open already."""
        opened = {segment.number: segment for segment in known}
        segments = []
        for number, _, presets, files, dead in database.read_segments():
            if number in opened and opened[number].files == files:  # else the folder was replaced
                segments.append(opened[number].with_dead(dead))
            else:
                segments.append(open_segment(self.root, number, presets, files, dead, self._mmap))
        meta = database.read_meta()
        indexes = {
            space: VectorIndex(dimension, meta['metric'], [one.parts[space] for one in segments], self._device)
            for space, dimension in meta['spaces'].items()
        }
        spaces = Spaces(meta['metric'], meta['spaces'], self._transforms)
        return _State(database, meta, spaces, segments, indexes)


class FolderWriter(FolderReader, GalleryWriter):
    """A gallery in a folder, open for writing; made by ``create_gallery`` and ``open_gallery(..., writable=True)``.

    Every change is whole or not made at all, also when the process is killed: files are written and made durable first,
    then one transaction of SQLite lists them. Searches may run in other threads meanwhile; each keeps to the state that
    it began with. RetrievalError if another process writes to it.
    """

    def __init__(
        self, root: Path, transforms: Mapping[str, Whitening], mmap: bool = True, device: str = 'auto'
    ) -> None:
        self._reader: FolderReader | None = None  # of the last committed state, for snapshots
        self._lock = WriteLock(root)
        try:
            check_log(root)
            try:
                super().__init__(root, transforms, mmap, device)
            except DiskFull:
                (root / _RESERVE_FILE).unlink(missing_ok=True)
                super().__init__(root, transforms, mmap, device)
        except BaseException:
            self._lock.release()
            raise
        self._lock.announce()
        sweep(self.root, [segment.number for segment in self._state.segments])
        self._fill_reserve()

    def close(self) -> None:
        with self._changing:
            if self._current is None or os.getpid() != self._process:
                return
            self._reader = None
            with ExitStack() as others:
                emptied = False
                with suppress(RetrievalError):  # on a full disk, the log keeps what it holds
                    emptied = self._current.database.empty_log()
                if emptied:
                    self._lock.withdraw()
                else:  # SQLite removes the log with the last connection, and then its notice would be wrong
                    others.callback(Database(self.root / DATABASE_FILE).close)
                super().close()
            self._lock.release()

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
            self._reader = FolderReader(self.root, self._transforms, self._mmap, self._device)
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
            state.database.mark_reused(numbers[numbers < state.meta['next_id']])
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
    def remove(self, ids: Ids | None = None, where: Any = None) -> int:
        self._check_removal(ids, where)
        numbers = self.ids(where) if ids is None else check_ids(ids)
        self.records(numbers)
        if not len(numbers):
            return 0
        try:
            self._remove_rows(numbers)
        except DiskFull:
            (self.root / _RESERVE_FILE).unlink(missing_ok=True)
            self._remove_rows(numbers)
        return len(numbers)

    @_alone
    def compact(self, preset: str | None = None) -> None:
        check_preset(preset)
        state = self._state
        meta = state.meta
        wanted = preset or meta['preset']
        chosen, reason = wanted, f'{wanted}: as asked for.'
        if wanted == 'auto':
            chosen, reason = choose_preset(len(state), max(state.spaces.dimensions.values()), meta['memory_limit'])
        alive = self._alive_without(np.empty(0, np.int64))
        segments = [segment for segment in state.segments if alive[segment.number].any()]
        number = meta['next_segment']
        files: dict[str, dict] = {}
        if segments:
            rows = rows_of_segments(segments, alive, state.spaces.dimensions)
            limit = meta['memory_limit']
            files, efforts = write_segment(
                self.root, number, rows, state.spaces.dimensions, meta['metric'], chosen, limit
            )
            reason = ' '.join([reason, *(f'{space}: {effort}' for space, effort in efforts.items())])
        with self._commit() as database:
            database.drop_segments([segment.number for segment in state.segments])
            if segments:
                database.add_segment(number, len(rows.ids), dict.fromkeys(state.spaces.dimensions, chosen), files)
            self._write_meta(next_segment=number + 1, preset=wanted, preset_reason=reason)

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

        Exact segments of like size are merged, so that they stay few.
        """
        state = self._state
        meta = state.meta
        alive = self._alive_without(np.empty(0, np.int64) if replaced is None else replaced)
        merged: list[Segment] = []
        count = len(rows.ids)
        for segment in reversed(state.segments):
            size = int(alive[segment.number].sum())
            if not segment.is_flat or size > count:
                break
            merged.insert(0, segment)
            count += size
        number = meta['next_segment']
        kept = [segment for segment in merged if alive[segment.number].any()]
        whole = join_rows(rows_of_segments(kept, alive, state.spaces.dimensions), rows) if kept else rows
        files, _ = write_segment(self.root, number, whole, state.spaces.dimensions, meta['metric'])
        dropped = [segment.number for segment in merged]
        dropped += [one for one, mask in alive.items() if not mask.any() and one not in dropped]
        shape = None if whole.patches is None else list(whole.patches.shape[1:])
        with self._commit() as database:
            database.drop_segments(dropped)
            database.add_segment(number, len(whole.ids), dict.fromkeys(state.spaces.dimensions, 'flat'), files)
            if replaced is not None:
                self._write_dead(alive, dropped)
            write_facts()
            largest = max(meta['next_id'], int(rows.ids.max()) + 1)
            self._write_meta(next_id=largest, next_segment=number + 1, patch_shape=shape)

    def _write_records(self, records: Sequence[Record], columns: Mapping[str, str]) -> None:
        self._state.database.set_columns(columns)
        self._state.database.write_records(records)

    def _write_history(self, begun: ChangeSet, changes: Sequence[Change]) -> None:
        if changes:
            self._state.database.write_changes(changes)
            self._state.database.write_change_set(begun.of(changes))

    def _remove_rows(self, numbers: np.ndarray) -> None:
        alive = self._alive_without(numbers)
        empty = [number for number, rows in alive.items() if not rows.any()]
        with self._commit() as database:
            database.delete_records(numbers)
            database.drop_segments(empty)
            self._write_dead(alive, empty)
            self._write_meta()

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

    def _newest_state(self, known: Sequence[Segment]) -> _State:
        """The last committed state, open for writing: it is the writer's own as long as it holds the lock."""
        database = Database(self.root / DATABASE_FILE, writable=True)
        try:
            return self._read(database, known)
        except BaseException:
            database.close()
            raise


def backend_exists(location: str) -> bool:
    """Whether there is a file or folder of that name."""
    return Path(location).exists()


def create_backend(
    location: str,
    manifest: Manifest,
    transforms: Mapping[str, Whitening],
    memory_limit: int | None,
    expected_rows: int,
) -> FolderWriter:
    """Make an empty gallery for :func:`retrieval.gallery.create_gallery`, which checks the arguments."""
    root = Path(location)
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise RetrievalError(f'{root} exists already: open it, or choose another place for the gallery')
    meta = asdict(manifest) | dict(memory_limit=memory_limit, next_id=0, next_segment=1, patch_shape=None)
    meta['identity'] = uuid4().hex
    del meta['counts'], meta['files']  # the segments tell
    _make_folder(root, meta, {name: one.to_bytes() for name, one in transforms.items()})
    return FolderWriter(root, transforms)


def open_backend(location: str, *, writable: bool, mmap: bool, device: str) -> FolderReader:
    """Open a gallery for :func:`retrieval.gallery.open_gallery`."""
    root = Path(location)
    path = root / DATABASE_FILE
    if not root.exists():
        raise RetrievalError(f'there is no gallery at {root}: build it first, or correct the path')
    if not path.is_file():
        raise RetrievalError(f'{root} is not a gallery: it has no {DATABASE_FILE}')
    for _ in range(_ATTEMPTS):
        file = _number(path)
        gallery = _open(root, writable, mmap, device)
        if _number(path) == file:
            return gallery
        gallery.close()  # another gallery took its place, and the whitening may be that of the first
    raise RetrievalError(f'{root} is replaced faster than it can be opened: try again when less is written')


def _open(root: Path, writable: bool, mmap: bool, device: str) -> FolderReader:
    check_log(root)
    path = root / DATABASE_FILE
    database = Database(path)
    try:
        meta = database.read_meta()
        contents = database.read_transforms()
    finally:
        database.close()
    if 'format_version' not in meta:
        raise damaged(path)
    if meta['format_version'] > FORMAT:
        raise RetrievalError(
            f'{root} is of format {meta["format_version"]}, this version reads up to {FORMAT}: update glsim-mm'
        )
    transforms = {space: Whitening.from_bytes(content) for space, content in contents.items()}
    return (FolderWriter if writable else FolderReader)(root, transforms, mmap, device)


def check_log(root: Path) -> None:
    """Refuse a copy that was made without the write-ahead log, before anything is made or removed in it."""
    path = root / DATABASE_FILE
    if all(lost_log(path) for _ in range(3)):  # a writer may come and go while it looks
        name = log_of(path).name
        raise RetrievalError(
            f'{root} is a copy without its {name}, which holds the last changes: close the gallery and copy its whole '
            f'folder again; to go on without these changes, make an empty file {name} in the copy'
        )


def _make_folder(root: Path, meta: Mapping[str, Any], transforms: Mapping[str, bytes]) -> None:
    """The folder of an empty gallery, which appears whole."""
    making = root.with_name(f'{root.name}.new-{os.getpid()}')
    shutil.rmtree(making, ignore_errors=True)
    try:
        making.mkdir(parents=True)
        database = Database(making / DATABASE_FILE, writable=True, create=True)
        with database.transaction():
            database.write_meta(meta)
            database.write_transforms(transforms)
        database.close()
        if root.exists():
            root.rmdir()
        os.replace(making, root)
        fsync_file(root.parent)
    except OSError as error:
        raise RetrievalError(f'{root} cannot be made ({error.strerror}): choose another place') from error
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _number(path: Path) -> int | None:
    """What tells a file from one that takes its place; None where there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def is_replaced(path: Path, snapshot: Database) -> bool:
    """Whether somebody has committed since a snapshot was taken, or put another gallery there."""
    newest = Database(path)
    try:
        return newest.read_meta() != snapshot.read_meta()
    finally:
        newest.close()
