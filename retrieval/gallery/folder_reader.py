"""A gallery in a folder, open for reading: a state of its database and its segments, which every call keeps to."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits, RangeHits, fused_search
from ..index.part import damaged, fill_rows
from ..index.vector_index import RowFilter, VectorIndex
from ..records import (
    MAX_ID,
    Ids,
    Record,
    check_count,
    check_search_options,
    check_texts,
    read_ids,
)
from ..whitening import Whitening
from .conditions import check_column, read_conditions
from .contract import Embeddings, Fingerprint, GalleryReader, Manifest, Space, check_open
from .database import DATABASE_FILE, Database
from .grouping import Grouping, Rows, read_exclude, search_without
from .history import Change, ChangeSet
from .segments import Segment, describe_file, last_rows, open_segment
from .spaces import Spaces

ATTEMPTS = 100
_CACHED_FILTERS, _CACHED_GROUPINGS = 32, 4


@dataclass(frozen=True)
class FolderState:
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


class FolderReader(GalleryReader):
    """A gallery in a folder, open for reading; made by :func:`retrieval.gallery.open_gallery`.

    :class:`GalleryReader` says what the methods do. Any number of processes may read while one writes. A reader sees
    the gallery as it was when it was opened or last refreshed. Threads may share it, also while one of them refreshes
    or closes it: each call keeps to the state that it began with, which ends with the last call that uses it.
    """

    def __init__(self, root: Path, mmap: bool = True, device: str = 'auto') -> None:
        self.root = root
        self._mmap = mmap
        self._device = device
        self._process = os.getpid()
        self._cache_lock = threading.Lock()
        self._changing = threading.RLock()
        self._current: FolderState | None = self._newest_state([])

    @property
    def _state(self) -> FolderState:
        """The state that a call works with; it asks once, because another thread may refresh the gallery."""
        state = self._current
        check_open(self.root, state is not None, self._process)
        return cast(FolderState, state)

    @property
    def location(self) -> str:
        return str(self.root)

    @property
    def manifest(self) -> Manifest:
        state = self._state
        meta = state.meta
        # All of it is plain, or a dict of what is plain, which a deep copy takes ten times as long for.
        about = {one.name: copy(meta[one.name]) for one in fields(Manifest) if one.name in meta}
        if about['fingerprint'] is not None:
            about['fingerprint'] = Fingerprint(**about['fingerprint'])
        rows = len(state)
        counts = dict(rows=rows, removed=sum(map(len, state.segments)) - rows, segments=len(state.segments))
        return Manifest(**about, counts=counts, files=state.files)

    @property
    def transforms(self) -> dict[str, Whitening]:
        return dict(self._state.spaces.transforms)

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
            if old.meta['fingerprint'] != new.meta['fingerprint'] or not old.spaces.take_the_same(new.spaces):
                new.database.close()
                raise RetrievalError(f'{self.root} is the gallery of another model now: open it again, with that model')
            self._current = new

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

    def column(self, name: str, where: Any = None) -> tuple[np.ndarray, list[Any]]:
        database = self._state.database
        columns = database.columns()
        check_column(name, columns)
        return database.read_column(name, read_conditions(where, columns))

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

    def _kept(self, ids: np.ndarray) -> np.ndarray:
        state = self._state
        rows = last_rows(state.segments, np.intersect1d(ids, state.database.removed_ids()))
        return np.concatenate([np.empty(0, np.int64), *(one.any_part.ids[rows[one.number]] for one in state.segments)])

    def transform(self, embeddings: Embeddings, space: str | None = None) -> np.ndarray:
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

    def _grouping(self, column: str, state: FolderState) -> Grouping:
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

    def _filter(self, where: Any, space: str, state: FolderState) -> RowFilter | None:
        conditions = [] if where is None else read_conditions(where, state.database.columns())
        if not conditions:
            return None
        key = repr(conditions), space
        found = state.filters.get(key)
        if found is None:
            found = state.indexes[space].select(state.database.find_ids(conditions))
            self._keep(state.filters, key, found, _CACHED_FILTERS)
        return found

    def _newest_state(self, known: Sequence[Segment]) -> FolderState:
        """The last committed state, open; its database goes on showing it, whatever is written."""
        path = self.root / DATABASE_FILE
        for _ in range(ATTEMPTS):
            with ExitStack() as undo:
                file = file_number(path)
                snapshot = Database(path)
                undo.callback(snapshot.close)
                snapshot.begin_snapshot()
                try:
                    state = self._read(snapshot, known)
                except RetrievalError:
                    # A writer may have replaced segments since the snapshot was taken; then there is a newer state.
                    if file_number(path) == file and not is_replaced(path, snapshot):
                        raise
                else:
                    if file_number(path) != file:
                        continue  # the folder is another one now, and the segments may be from there
                    undo.pop_all()
                    return state
        raise RetrievalError(f'{self.root} is changed faster than it can be opened: try again when less is written')

    def _read(self, database: Database, known: Sequence[Segment]) -> FolderState:
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
        transforms = {space: Whitening.from_bytes(content) for space, content in database.read_transforms().items()}
        spaces = Spaces(meta['metric'], meta['spaces'], transforms)
        return FolderState(database, meta, spaces, segments, indexes)


def file_number(path: Path) -> int | None:
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
