"""A gallery in Milvus, with the interface of the local one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..gallery.conditions import read_conditions
from ..gallery.contract import Embeddings, GalleryWriter, Manifest, Record, Space
from ..hits import Hits, RangeHits, fused_search
from ..whitening import Whitening
from . import fields
from .checks import as_ids, check_ids, check_patches, check_records, name_columns
from .client import MAX_RESULTS, Collection
from .expression import conditions_expression
from .journal import read_pending, undo_broken_add
from .manifest import build_manifest
from .preparing import Preparation
from .reading import read_patches, read_records, read_rows, read_vectors
from .searching import Ranked, pad_hits, rescore, search_range
from .state import State, counter_properties, preset_properties, read_state
from .writing import add_rows, choose_ids, remove_rows, update_rows

_logger = logging.getLogger(__name__)


class MilvusGallery(GalleryWriter):
    """Embeddings and records in a collection of Milvus; see :class:`retrieval.gallery.GalleryReader` for every method.

    Many readers and one writer at a time. Rows of an add are visible to readers as they arrive. An add that breaks off
    is undone by the next write; see :mod:`retrieval.milvus.journal`.

    Args:
        collection: An open connection to a gallery.
        state: Its state.
        writable: Whether methods may change it.
        transforms: Space -> whitening of queries and new embeddings.
    """

    def __init__(
        self,
        collection: Collection,
        state: State,
        writable: bool = False,
        transforms: Mapping[str, Whitening] | None = None,
    ) -> None:
        self._collection = collection
        self._state = state
        self._writable = writable
        self._preparation = Preparation(state.metric, state.spaces, dict(transforms or {}))

    def __len__(self) -> int:
        return self._collection.count()

    def close(self) -> None:
        """End the connection."""
        self._collection.close()

    def refresh(self) -> None:
        """Read anew what another writer may have changed: columns, counters, the index."""
        self._state = read_state(self._collection.properties(), self._collection.location)

    def verify(self) -> None:
        """Nothing to do: Milvus checks its own files."""

    @property
    def location(self) -> str:
        """Address of the collection."""
        return str(self._collection.location)

    @property
    def built_presets(self) -> list[dict[str, str]]:
        """Empty: the manifest's preset is the index of all rows."""
        return []

    @property
    def manifest(self) -> Manifest:
        """What made the gallery and how it is indexed."""
        return build_manifest(self._state, len(self))

    @property
    def transforms(self) -> dict[str, Whitening]:
        """Whitening of each space that has one."""
        return dict(self._preparation.transforms)

    def columns(self) -> dict[str, str]:
        """Columns that a filter can name, with their types."""
        return {'id': 'INTEGER', **dict.fromkeys(fields.TEXT_FIELDS, 'TEXT'), **self._state.columns}

    def transform(self, embeddings: np.ndarray, space: str | None = None) -> np.ndarray:
        """Embeddings of the model as the gallery compares them, whitened where the space is."""
        return self._preparation.transform(embeddings, self._preparation.space(space))

    # -- reading -----------------------------------------------------------------------------------------------------

    def ids(self, where: Any = None) -> np.ndarray:
        """Ids of the rows that a filter lets through, int64, ascending."""
        found = [row['id'] for page in self._collection.scan(self._expression(where)) for row in page]
        return np.sort(np.array(found, dtype=np.int64))

    def records(self, ids: Sequence[int] | np.ndarray) -> list[Record]:
        """Records in the order of the ids."""
        return read_records(self._collection, as_ids(ids))

    def vectors(self, ids: Sequence[int] | np.ndarray, space: str | None = None) -> np.ndarray:
        """Stored vectors in the order of the ids, float32 (n, d); of unit length for cosine."""
        name = self._preparation.space(space)
        return read_vectors(self._collection, as_ids(ids), name, self._state.spaces[name])

    def patches(self, ids: Sequence[int] | np.ndarray) -> np.ndarray | None:
        """Patches in the order of the ids, float16 (n, O, C); None if the gallery keeps none."""
        shape = self._state.patch_shape
        return None if shape is None else read_patches(self._collection, as_ids(ids), shape)

    def find_hashes(self, hashes: Sequence[str]) -> dict[str, int]:
        """Ids by content hash, the smallest of several; hashes that are not there are left out."""
        found: dict[str, int] = {}
        for start in range(0, len(hashes), 500):
            conditions = [('content_hash', 'in', list(hashes[start : start + 500]))]
            for page in self._collection.scan(conditions_expression(conditions), ['content_hash']):
                for row in sorted(page, key=lambda row: row['id']):
                    found.setdefault(row['content_hash'], int(row['id']))
        return found

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
        """Best k rows of every query; a filter is evaluated by Milvus, inside its search."""
        if not 1 <= k <= MAX_RESULTS:
            raise RetrievalError(f'k must be from 1 to the {MAX_RESULTS} that Milvus returns, got {k}')
        expression = self._expression(where)
        if isinstance(space, Mapping):
            vectors = self._preparation.fused_queries(queries, space, transformed)
            return self._search_fused(vectors, space, k, expression, rescore, parameters)
        name = self._preparation.space(space)
        one = self._preparation.queries(queries, name, transformed)
        return self._search_one(name, one, k, expression, rescore, parameters)

    def range_search(
        self,
        queries: Embeddings,
        radius: float,
        *,
        space: str | None = None,
        where: Any = None,
        transformed: bool = False,
    ) -> RangeHits:
        """All rows with a score above the radius, for ``'l2'`` a squared distance below it."""
        name, expression = self._preparation.space(space), self._expression(where)

        def search(part: np.ndarray, count: int, bounds: dict) -> Ranked:
            return self._ranked(name, part, count, expression, bounds)

        return search_range(search, self._preparation.queries(queries, name, transformed), radius)

    def _search_one(
        self,
        space: str,
        queries: np.ndarray,
        k: int,
        expression: str,
        depth: int | None,
        parameters: Mapping[str, int] | None,
    ) -> Hits:
        if depth is None:
            depth = 4 * k if self._state.preset in fields.LOSSY_PRESETS else 0
        ranked = self._ranked(space, queries, min(MAX_RESULTS, max(k, depth)), expression, parameters)
        if depth:
            ranked = rescore(queries, ranked, self._state.metric, lambda ids: self.vectors(ids, space))
        return pad_hits(ranked, k, self._state.metric)

    def _search_fused(
        self,
        queries: Mapping[str, np.ndarray],
        weights: Mapping[str, float],
        k: int,
        expression: str,
        depth: int | None,
        parameters: Mapping[str, int] | None,
    ) -> Hits:
        count = len(self)

        def search(name: str, vectors: np.ndarray, candidates: int) -> Hits:
            if candidates == MAX_RESULTS < count:
                _logger.warning(
                    'only the best %d rows of the space %s are compared, Milvus lists no more', candidates, name
                )
            return self._search_one(name, vectors, candidates, expression, depth, parameters)

        return fused_search(search, self.vectors, queries, weights, k, self._state.metric, min(count, MAX_RESULTS))

    def _ranked(
        self, space: str, queries: np.ndarray, k: int, expression: str, parameters: Mapping[str, int] | None
    ) -> Ranked:
        return self._collection.search(
            queries,
            fields.vector_field(space),
            k,
            fields.METRIC_TYPES[self._state.metric],
            expression,
            fields.search_parameters(self._state.preset, k, parameters),
        )

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
        """Add rows, all or none; returns their ids, int64 (n,)."""
        state = self._begin_write()
        vectors = self._preparation.whole_rows(embeddings, transformed)
        count = len(next(iter(vectors.values())))
        records = check_records(records, count)
        named = name_columns(records, state.columns)
        numbers = choose_ids(self._collection, state, None if ids is None else check_ids(ids), count)
        kept = check_patches(patches, count, state.patch_shape, lambda: not len(self))
        add_rows(self._collection, state, numbers, records, vectors, kept, *named)
        self.refresh()
        return numbers

    def update(
        self,
        ids: Sequence[int] | np.ndarray,
        embeddings: Embeddings | None = None,
        records: Sequence[Record] | None = None,
        patches: np.ndarray | None = None,
    ) -> None:
        """Replace embeddings, records, patches, or all, of rows that are there."""
        state = self._begin_write()
        numbers = check_ids(ids)
        vectors = {} if embeddings is None else self._preparation.rows(embeddings, False)
        for name, array in vectors.items():
            if len(array) != len(numbers):
                raise RetrievalError(f'{len(array)} embeddings of {name} were given for {len(numbers)} ids')
        checked = None if records is None else check_records(records, len(numbers))
        named = name_columns(checked or [], state.columns)
        kept = None if patches is None else check_patches(patches, len(numbers), state.patch_shape, lambda: False)
        update_rows(self._collection, state, numbers, checked, vectors, kept, *named)
        self.refresh()

    def remove(self, ids: Sequence[int] | np.ndarray | None = None, where: Any = None) -> int:
        """Remove rows by id or by a filter; returns how many."""
        if (ids is None) == (where is None):
            raise RetrievalError('remove() takes either ids or a filter')
        state = self._begin_write()
        numbers = self.ids(where) if ids is None else check_ids(ids)
        if ids is not None:
            read_rows(self._collection, numbers, ())
        if len(numbers):
            remove_rows(self._collection, state, numbers)
            self.refresh()
        return len(numbers)

    def compact(self, preset: str | None = None) -> None:
        """Change the index, if a preset is given; Milvus merges segments and drops deleted rows by itself."""
        state = self._begin_write()
        self._collection.flush()
        if preset is not None:
            name, reason = fields.choose_preset(preset, len(self), self._collection.is_lite())
            if name != state.preset:
                build = fields.build_indexes(self._collection.client, state.spaces, state.metric, name)
                self._collection.replace_indexes([fields.vector_field(space) for space in state.spaces], build)
            self._collection.set_properties(preset_properties(name, reason))
        self._collection.set_properties(counter_properties(generation=state.generation + 1))
        self.refresh()

    def _begin_write(self) -> State:
        if not self._writable:
            raise RetrievalError(f'{self._collection.location} was opened for reading: open it with writable=True')
        properties = self._collection.properties()
        if undo_broken_add(self._collection, read_pending(properties)):
            _logger.warning('an add to %s had broken off; its rows were taken back', self._collection.location)
        self._state = read_state(properties, self._collection.location)
        return self._state

    # -- checks ------------------------------------------------------------------------------------------------------

    def _expression(self, where: Any) -> str:
        return conditions_expression(read_conditions(where, self.columns()))
