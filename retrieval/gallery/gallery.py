"""A gallery in a directory: embeddings in FAISS's files, records in SQLite, changed in transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..fusion import fused_search
from ..hits import Hits, RangeHits
from ..index.files import damaged
from ..index.presets import choose_preset
from ..index.row_ids import check_new_ids
from ..index.selection import RowFilter
from ..index.vector_index import VectorIndex
from .conditions import read_conditions
from .contract import Embeddings, Fingerprint, GalleryWriter, Manifest, Record, Space
from .database import DATABASE_FILE, Database
from .lock import WriteLock
from .segments import (
    NewRows,
    Segment,
    describe_file,
    join_rows,
    open_segment,
    rows_of_segments,
    sweep,
    write_segment,
)

_CACHED_FILTERS = 32
_ATTEMPTS = 100


class Gallery(GalleryWriter):
    """Embeddings of images, what is known of them, and search among them; see :func:`open_gallery`.

    Every change is whole or not made at all, also when the process is killed. Many processes may read while one writes;
    a reader sees the gallery as it was when it was opened or last refreshed.

    Args:
        root: Of the gallery.
        writable: Whether it may change.
        mmap: Leave vectors and indexes on disk, to be read as far as searches need them.
        device: See :class:`VectorIndex`.
        transforms: Whitening of spaces.

    Raises:
        RetrievalError: If the gallery is damaged, or another process writes to it.
    """

    def __init__(
        self,
        root: Path,
        writable: bool = False,
        mmap: bool = True,
        device: str = 'auto',
        transforms: Mapping[str, Any] | None = None,
    ) -> None:
        self.root = root
        self._writable = writable
        self._mmap = mmap
        self._device = device
        self._transforms = dict(transforms or {})
        self._lock = WriteLock(root) if writable else None
        self._segments: list[Segment] = []
        with ExitStack() as undo:
            if self._lock:
                undo.callback(self._lock.release)
            self._database = Database(root / DATABASE_FILE, writable)
            undo.callback(self._database.close)
            self._load()
            undo.pop_all()

    def __len__(self) -> int:
        return sum(int(segment.any_part.alive.sum()) for segment in self._segments)

    def close(self) -> None:
        """Close files, and let others write."""
        self._database.close()
        if self._lock:
            self._lock.release()

    def refresh(self) -> None:
        """See what others have written since; no other thread may use the gallery meanwhile.

        Raises:
            RetrievalError: If that is damaged; the gallery stays at the state before.
        """
        self._load()

    def verify(self) -> None:
        """Read every file and compare checksums."""
        verified: set[str] = set()
        while True:
            generation = self._meta['generation']
            try:
                self._database.check()
                for name, facts in self.manifest.files.items():
                    if name not in verified:
                        if describe_file(self.root / name)['sha256'] != facts['sha256']:
                            raise damaged(self.root / name)
                        verified.add(name)  # files never change once they are listed
                return
            except RetrievalError:
                self.refresh()
                if self._meta['generation'] == generation:
                    raise
                # A writer has replaced files since they were listed: those that are listed now count.

    @property
    def location(self) -> str:
        """Folder of the gallery."""
        return str(self.root)

    @property
    def manifest(self) -> Manifest:
        """What made the gallery, and what it is made of."""
        meta = self._meta
        files: dict[str, dict] = {}
        for segment in self._segments:
            files.update(segment.files)
        rows = len(self)
        return Manifest(
            format_version=meta['format_version'],
            created=meta['created'],
            fingerprint=None if meta['fingerprint'] is None else Fingerprint(**meta['fingerprint']),
            metric=meta['metric'],
            spaces=dict(meta['spaces']),
            input_dimensions=dict(meta['input_dimensions']),
            preset=meta['preset'],
            preset_reason=meta['preset_reason'],
            counts=dict(rows=rows, removed=sum(map(len, self._segments)) - rows, segments=len(self._segments)),
            generation=meta['generation'],
            files=files,
            origin=dict(meta['origin']),
        )

    @property
    def transforms(self) -> dict[str, Any]:
        """Whitening of each space that has one."""
        return dict(self._transforms)

    @property
    def built_presets(self) -> list[dict[str, str]]:
        """What the index of each space was built by, for each segment."""
        return [dict(segment.presets) for segment in self._segments]

    def columns(self) -> dict[str, str]:
        """Columns that a filter can name, with their types ``'TEXT'``, ``'INTEGER'`` and ``'REAL'``."""
        return self._database.columns()

    # -- reading -----------------------------------------------------------------------------------------------------

    def ids(self, where: Any = None) -> np.ndarray:
        """Ids of rows.

        Args:
            where: Filter, see :func:`read_conditions`. Defaults to all.

        Returns:
            int64, ascending.

        Raises:
            RetrievalError: If the filter is not possible.
        """
        return self._database.find_ids(read_conditions(where, self.columns()))

    def records(self, ids: Sequence[int] | np.ndarray) -> list[Record]:
        """Records by id, in that order.

        Args:
            ids: (n,); may repeat.

        Returns:
            n.

        Raises:
            RetrievalError: If an id is unknown.
        """
        return self._database.read_records(np.asarray(ids, np.int64).reshape(-1))

    def vectors(self, ids: Sequence[int] | np.ndarray, space: str | None = None) -> np.ndarray:
        """Stored vectors by id, in that order.

        Args:
            ids: (n,); may repeat.
            space: Defaults to the first.

        Returns:
            float32, (n, d), unit length for ``'cosine'``; whitened where the space is.

        Raises:
            RetrievalError: If an id or the space is unknown.
        """
        return self._indexes[self._space(space)].reconstruct(ids)

    def patches(self, ids: Sequence[int] | np.ndarray) -> np.ndarray | None:
        """Tokens of the selected patches by id.

        Args:
            ids: (n,); may repeat.

        Returns:
            float16, (n, O, C); None if the gallery keeps none.

        Raises:
            RetrievalError: If an id is unknown.
        """
        if self._meta['patch_shape'] is None:
            return None
        numbers = np.asarray(ids, np.int64).reshape(-1)
        found = np.zeros((len(numbers), *self._meta['patch_shape']), np.float16)
        missing = np.ones(len(numbers), bool)
        for segment in self._segments:
            rows = segment.any_part.find(numbers)
            here = rows >= 0
            if here.any() and segment.patches is not None:
                found[here] = segment.patches[rows[here]]
                missing &= ~here
        if missing.any():
            raise RetrievalError(f'id {numbers[missing][0]} is not in the gallery')
        return found

    def find_hashes(self, hashes: Sequence[str]) -> dict[str, int]:
        """Rows by the hash of the content of their files.

        Args:
            hashes: SHA-256, hexadecimal.

        Returns:
            Id of each that is there.
        """
        return self._database.find_hashes(hashes)

    # -- searching ---------------------------------------------------------------------------------------------------

    def search(
        self,
        queries: Embeddings,
        k: int = 10,
        *,
        space: Space = None,
        where: Any = None,
        rescore: int | None = None,
        parameters: Mapping[str, int] | None = None,
        transformed: bool = False,
    ) -> Hits:
        """Best rows of every query.

        Args:
            queries: Floating point, (m, d), or such an array for each space.
            k: Hits per query, >= 1.
            space: Name of a space, or weights > 0 of several, whose scores are added up. Defaults to the first.
            where: Filter, evaluated inside the search; see :func:`read_conditions`.
            rescore: See :meth:`VectorIndex.search`.
            parameters: See :meth:`VectorIndex.search`.
            transformed: Queries are as the gallery stores them, of :meth:`vectors` or :meth:`transform`. Defaults to
                False: as the model gives them.

        Returns:
            (m, k).

        Raises:
            RetrievalError: If queries, k, space or filter do not fit.
        """
        if isinstance(space, Mapping):
            return self._search_fused(queries, dict(space), k, where, rescore, parameters, transformed)
        name = self._space(space)
        return self._indexes[name].search(
            self._queries(queries, name, transformed),
            k,
            allowed=self._filter(where, name),
            rescore=rescore,
            parameters=parameters,
        )

    def range_search(
        self,
        queries: Embeddings,
        radius: float,
        *,
        space: str | None = None,
        where: Any = None,
        transformed: bool = False,
    ) -> RangeHits:
        """All rows within a radius, exactly; see :meth:`VectorIndex.range_search`.

        Args:
            queries: See :meth:`search`.
            radius: Scores above it, for ``'l2'`` SQUARED distances below it.
            space: Defaults to the first.
            where: Filter.
            transformed: See :meth:`search`.

        Returns:
            Best first for every query.

        Raises:
            RetrievalError: See :meth:`search`.
        """
        name = self._space(space)
        return self._indexes[name].range_search(
            self._queries(queries, name, transformed), radius, allowed=self._filter(where, name)
        )

    def _search_fused(
        self,
        queries: Embeddings,
        weights: dict[str, float],
        k: int,
        where: Any,
        rescore: int | None,
        parameters: Mapping[str, int] | None,
        transformed: bool,
    ) -> Hits:
        if not weights or any(not 0 < weight < np.inf for weight in weights.values()):
            raise RetrievalError(f'weights of spaces must be above 0, got {weights}')
        if not isinstance(queries, Mapping):
            raise RetrievalError(f'give queries of each space: {{{", ".join(weights)}: ...}}')
        filters = {name: self._filter(where, self._space(name)) for name in weights}
        prepared = {
            name: self._indexes[name].prepare(self._queries(queries, name, transformed), 'queries') for name in weights
        }

        def search_one(name: str, vectors: np.ndarray, depth: int) -> Hits:
            options = dict(allowed=filters[name], rescore=rescore, parameters=parameters)
            return self._indexes[name].search(vectors, depth, **options)  # type: ignore[arg-type]

        return fused_search(search_one, self.vectors, prepared, weights, k, self._meta['metric'], len(self))

    def _queries(self, queries: Embeddings, space: str, transformed: bool) -> np.ndarray:
        if isinstance(queries, Mapping):
            if space not in queries:
                raise RetrievalError(f'there are no queries for the space {space!r}, only for {", ".join(queries)}')
            queries = queries[space]
        return np.asarray(queries) if transformed else self.transform(queries, space)

    def transform(self, embeddings: np.ndarray, space: str | None = None) -> np.ndarray:
        """Embeddings of the model as the gallery compares them.

        Args:
            embeddings: Floating point, (n, d).
            space: Defaults to the first.

        Returns:
            Whitened, where the space is.
        """
        found = self._transforms.get(self._space(space))
        return np.asarray(embeddings) if found is None else found.apply(np.asarray(embeddings))

    def _filter(self, where: Any, space: str) -> RowFilter | None:
        conditions = read_conditions(where, self.columns()) if where else []
        if not conditions:
            return None
        key = repr(conditions), space
        found = self._filters.get(key)
        if found is None:
            found = self._indexes[space].select(self._database.find_ids(conditions))
            while len(self._filters) >= _CACHED_FILTERS:
                self._filters.pop(next(iter(self._filters)))
            self._filters[key] = found
        return found

    def _space(self, name: str | None) -> str:
        spaces = self._meta['spaces']
        if name is None:
            return next(iter(spaces))
        if name not in spaces:
            raise RetrievalError(f'the gallery has no space {name!r}; it has {", ".join(spaces)}')
        return name

    # -- writing -----------------------------------------------------------------------------------------------------

    def add(
        self,
        embeddings: Embeddings,
        records: Sequence[Record] | None = None,
        ids: Sequence[int] | np.ndarray | None = None,
        patches: np.ndarray | None = None,
        *,
        transformed: bool = False,
    ) -> np.ndarray:
        """Add rows, all or none.

        Args:
            embeddings: Floating point, (n, d), for each space.
            records: What is known of each; their ``id`` does not count. Defaults to nothing.
            ids: >= 0, each once and new. Defaults to numbers never used before.
            patches: Floating point, (n, O, C); stored as float16. All rows have them, or none.
            transformed: The embeddings are as another gallery stores them, whitened already.

        Returns:
            Ids, int64 (n,).

        Raises:
            RetrievalError: If something does not fit or cannot be written.
        """
        self._check_writable()
        vectors = self._stored(embeddings, transformed)
        missing = [name for name in self._meta['spaces'] if name not in vectors]
        if missing:
            raise RetrievalError(
                f'embeddings of {", ".join(missing)} are missing; the gallery holds them for every row'
            )
        count = len(next(iter(vectors.values())))
        if ids is None:
            numbers = np.arange(self._meta['next_id'], self._meta['next_id'] + count, dtype=np.int64)
        else:
            numbers = check_new_ids(ids, count)
            for segment in self._segments:
                known = numbers[segment.any_part.find(numbers) >= 0]
                if len(known):
                    raise RetrievalError(f'id {known[0]} is in the gallery already; use update, or another id')
        named = _with_ids(records, numbers)
        patches = self._check_patches(patches, count)
        self._write_rows(NewRows(numbers, {name: [array] for name, array in vectors.items()}, patches), named)
        return numbers

    def update(
        self,
        ids: Sequence[int] | np.ndarray,
        embeddings: Embeddings | None = None,
        records: Sequence[Record] | None = None,
        patches: np.ndarray | None = None,
    ) -> None:
        """Replace embeddings, records, or both, of rows, all or none.

        Args:
            ids: Of rows that are there, each once.
            embeddings: Of some or all spaces. Defaults to what is there.
            records: Whole new records. Defaults to what is there.
            patches: See :meth:`add`. Defaults to what is there.

        Raises:
            RetrievalError: If an id is unknown, or something does not fit or cannot be written.
        """
        self._check_writable()
        numbers = check_new_ids(ids)
        old = self.records(numbers)
        named = old if records is None else _with_ids(records, numbers)
        if embeddings is None and patches is None:
            with self._database.transaction():
                self._database.write_records(named)
                self._write_state()
            self._load()
            return
        vectors = {} if embeddings is None else self._stored(embeddings, False)
        for name, array in vectors.items():
            if len(array) != len(numbers):
                raise RetrievalError(f'{len(array)} embeddings of {name} were given for {len(numbers)} ids')
        kept = {name: self.vectors(numbers, name) for name in self._meta['spaces'] if name not in vectors}
        whole = {name: [{**kept, **vectors}[name]] for name in self._meta['spaces']}
        patches = self.patches(numbers) if patches is None else self._check_patches(patches, len(numbers))
        self._write_rows(NewRows(numbers, whole, patches), named, replaced=numbers)

    def remove(self, ids: Sequence[int] | np.ndarray | None = None, where: Any = None) -> int:
        """Take rows out, all or none; :meth:`compact` gives back their space.

        Args:
            ids: Of rows that are there, each once.
            where: Or those that a filter lets through.

        Returns:
            How many.

        Raises:
            RetrievalError: If an id is unknown, or neither or both are given.
        """
        self._check_writable()
        if (ids is None) == (where is None):
            raise RetrievalError('remove takes either ids or a filter')
        numbers = self.ids(where) if ids is None else check_new_ids(ids)
        self.records(numbers)
        if not len(numbers):
            return 0
        alive = self._alive_without(numbers)
        empty = [number for number, rows in alive.items() if not rows.any()]
        with self._database.transaction():
            self._database.delete_records(numbers)
            self._database.drop_segments(empty)
            self._write_dead(alive, empty)
            self._write_state()
        self._load()
        return len(numbers)

    def compact(self, preset: str | None = None) -> None:
        """Put all rows into one segment with the index of the preset; space of removed rows is given back.

        Args:
            preset: Changes the preset: ``'auto'``, a name, a FAISS factory string. Defaults to the gallery's.

        Raises:
            RetrievalError: If the preset is unknown, or the disk is full; the gallery is as before then.
        """
        self._check_writable()
        wanted = preset or self._meta['preset']
        chosen, reason = wanted, f'{wanted}: as asked for.'
        if wanted == 'auto':
            widest = max(self._meta['spaces'].values())
            chosen, reason = choose_preset(len(self), widest, self._meta['memory_limit'])
        state = dict(preset=wanted, preset_reason=reason)
        alive = self._alive_without(np.empty(0, np.int64))
        segments = [segment for segment in self._segments if alive[segment.number].any()]
        number = self._meta['next_segment']
        spaces = self._meta['spaces']
        files: dict[str, dict] = {}
        if segments:
            rows = rows_of_segments(segments, alive, spaces)
            limit = self._meta['memory_limit']
            files, efforts = write_segment(self.root, number, rows, spaces, self._meta['metric'], chosen, limit)
            state['preset_reason'] = ' '.join([reason, *(f'{space}: {effort}' for space, effort in efforts.items())])
        with self._database.transaction():
            self._database.drop_segments([segment.number for segment in self._segments])
            if segments:
                self._database.add_segment(number, len(rows.ids), dict.fromkeys(spaces, chosen), files)
            self._write_state(next_segment=number + 1, **state)
        self._load()

    def _write_rows(self, rows: NewRows, records: Sequence[Record], replaced: np.ndarray | None = None) -> None:
        """Write a segment and commit it; exact segments of like size are merged, so that they stay few."""
        alive = self._alive_without(np.empty(0, np.int64) if replaced is None else replaced)
        merged: list[Segment] = []
        count = len(rows.ids)
        for segment in reversed(self._segments):
            size = int(alive[segment.number].sum())
            if not segment.is_flat or size > count:
                break
            merged.insert(0, segment)
            count += size
        spaces, number = self._meta['spaces'], self._meta['next_segment']
        kept = [segment for segment in merged if alive[segment.number].any()]
        whole = join_rows(rows_of_segments(kept, alive, spaces), rows) if kept else rows
        files, _ = write_segment(self.root, number, whole, spaces, self._meta['metric'])
        dropped = [segment.number for segment in merged]
        dropped += [one for one, mask in alive.items() if not mask.any() and one not in dropped]
        shape = None if whole.patches is None else list(whole.patches.shape[1:])
        try:
            with self._database.transaction():
                self._database.drop_segments(dropped)
                self._database.add_segment(number, len(whole.ids), dict.fromkeys(spaces, 'flat'), files)
                if replaced is not None:
                    self._write_dead(alive, dropped)
                self._database.write_records(records)
                largest = max(self._meta['next_id'], int(rows.ids.max()) + 1)
                self._write_state(next_id=largest, next_segment=number + 1, patch_shape=shape)
        except BaseException:
            sweep(self.root, [segment.number for segment in self._segments])
            raise
        self._load()

    def _write_dead(self, alive: Mapping[int, np.ndarray], dropped: Sequence[int]) -> None:
        for segment in self._segments:
            mask = alive[segment.number]
            if segment.number not in dropped and mask.sum() != segment.any_part.alive.sum():
                self._database.write_dead(segment.number, mask)

    def _write_state(self, **values: Any) -> None:
        self._database.write_meta({'generation': self._meta['generation'] + 1, **values})

    def _alive_without(self, ids: np.ndarray) -> dict[int, np.ndarray]:
        """Rows of each segment that are alive and are not these."""
        found = {}
        for segment in self._segments:
            part = segment.any_part
            rows = part.find(ids)
            mask = part.alive
            if (rows >= 0).any():
                mask = mask.copy()
                mask[rows[rows >= 0]] = False
            found[segment.number] = mask
        return found

    def _stored(self, embeddings: Embeddings, transformed: bool) -> dict[str, np.ndarray]:
        """Embeddings as they are stored: checked, whitened, of unit length for cosine."""
        if not isinstance(embeddings, Mapping):
            if len(self._meta['spaces']) != 1:
                raise RetrievalError(f'name the space of embeddings, as {{{", ".join(self._meta["spaces"])}: ...}}')
            embeddings = {self._space(None): embeddings}
        vectors = {}
        for name, array in embeddings.items():
            space = self._space(name)
            own = np.asarray(array) if transformed else self.transform(array, space)
            vectors[space] = self._indexes[space].prepare(own, f'embeddings of {space}')
        if len({len(array) for array in vectors.values()}) > 1:
            raise RetrievalError('every space needs as many embeddings as the others')
        return vectors

    def _check_patches(self, patches: np.ndarray | None, count: int) -> np.ndarray | None:
        known = self._meta['patch_shape']
        if patches is None:
            if known is not None and len(self):
                raise RetrievalError('the gallery keeps patches of every row: give patches of the new ones too')
            return None
        array = np.asarray(patches)
        if array.dtype.kind != 'f' or array.ndim != 3 or len(array) != count or 0 in array.shape:
            raise RetrievalError(f'patches must be floating point ({count}, O, C), got {array.dtype} {array.shape}')
        if len(self) and list(array.shape[1:]) != known:
            raise RetrievalError(
                'the rows that are there have no patches; build the gallery anew to keep them'
                if known is None
                else f'the gallery keeps patches of {known}, not of {list(array.shape[1:])}'
            )
        return array.astype(np.float16)

    def _check_writable(self) -> None:
        if not self._writable:
            raise RetrievalError(f'{self.root} was opened for reading: open it with writable=True')

    # -- state -------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Take over the last committed state."""
        if self._writable:
            self._take_over(*self._read(self._database))
            sweep(self.root, [segment.number for segment in self._segments])
            return
        snapshot, meta, segments = self._newest_snapshot()
        self._database.close()
        self._database = snapshot
        self._take_over(meta, segments)

    def _newest_snapshot(self) -> tuple[Database, dict[str, Any], list[Segment]]:
        """The last committed state, open; the database goes on showing it, whatever is written."""
        for _ in range(_ATTEMPTS):
            with ExitStack() as undo:
                snapshot = Database(self._database.path)
                undo.callback(snapshot.close)
                snapshot.begin_snapshot()
                try:
                    state = self._read(snapshot)
                except RetrievalError:
                    # A writer may have replaced segments since the snapshot was taken; then there is a newer state.
                    if not self._is_replaced(snapshot):
                        raise
                else:
                    undo.pop_all()
                    return snapshot, *state
        raise RetrievalError(f'{self.root} is changed faster than it can be opened: try again when less is written')

    def _is_replaced(self, snapshot: Database) -> bool:
        """Whether somebody has committed since."""
        newest = Database(self._database.path)
        try:
            return newest.read_meta()['generation'] != snapshot.read_meta()['generation']
        finally:
            newest.close()

    def _read(self, database: Database) -> tuple[dict[str, Any], list[Segment]]:
        """State of the gallery as a database has it; segments that are open already are taken from there."""
        known = {segment.number: segment for segment in self._segments}
        segments = []
        for number, _, presets, files, dead in database.read_segments():
            if number in known:
                segments.append(known[number].with_dead(dead))
            else:
                segments.append(open_segment(self.root, number, presets, files, dead, self._mmap))
        return database.read_meta(), segments

    def _take_over(self, meta: dict[str, Any], segments: list[Segment]) -> None:
        self._meta, self._segments = meta, segments
        self._filters: dict[tuple[str, str], RowFilter] = {}
        self._indexes = {
            space: VectorIndex(
                dimension,
                meta['metric'],
                parts=[segment.parts[space] for segment in segments],
                device=self._device,
            )
            for space, dimension in meta['spaces'].items()
        }


def _with_ids(records: Sequence[Record] | None, ids: np.ndarray) -> list[Record]:
    if records is None:
        return [Record(id=number) for number in ids.tolist()]
    if len(records) != len(ids):
        raise RetrievalError(f'{len(records)} records were given for {len(ids)} rows')
    return [replace(record, id=number) for record, number in zip(records, ids.tolist())]
