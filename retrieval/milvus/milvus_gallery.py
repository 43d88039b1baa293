"""Galleries in Milvus, open for reading and for writing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ..errors import RetrievalError
from ..gallery.conditions import check_column, read_conditions
from ..gallery.contract import Embeddings, GalleryReader, GalleryWriter, Manifest, Space
from ..gallery.grouping import MAX_DEPTH, read_exclude, search_groups, search_without
from ..gallery.history import Change, ChangeSet, Revise, is_new
from ..gallery.spaces import Spaces
from ..hits import Hits, RangeHits, best_first, exact_scores, fused_search, worst_score
from ..index.presets import check_preset
from ..records import (
    MAX_ID,
    TEXT_COLUMNS,
    Ids,
    Record,
    check_count,
    check_ids,
    check_number,
    check_search_options,
    check_texts,
    read_ids,
)
from ..whitening import Whitening
from .collection import MAX_RESULTS, Collection
from .expression import NULLABLE_FIELDS, conditions_expression, join_expressions
from .state import (
    FORMAT,
    State,
    change_properties,
    definition_properties,
    origin_properties,
    preset_properties,
    read_state,
)
from .stored_history import StoredHistory
from .stored_rows import (
    LOSSY_PRESETS,
    RECORD_FIELDS,
    build_indexes,
    choose_preset,
    column_value,
    decode_array,
    read_rows,
    row_record,
    search_parameters,
    vector_field,
)
from .writes import Noted, Writes, plan_add, plan_removal, plan_revision, plan_update

_ATTEMPTS = 100
_QUERIES_AT_ONCE = 64
_T = TypeVar('_T')
_logger = logging.getLogger(__name__)


class MilvusReader(GalleryReader):
    """A gallery in a collection of Milvus, open for reading; :class:`GalleryReader` says what the methods do.

    Each call sees the writes that have ended when it begins, and each of them as a whole; no refresh is needed.

    Example::

        with open_gallery('milvus://localhost/birds') as gallery:
            hits = gallery.search(embeddings, k=5, where={'split': 'train'})
    """

    def __init__(self, collection: Collection, state: State, transforms: Mapping[str, Whitening]) -> None:
        self._collection = collection
        self._history = StoredHistory(collection)
        self._state = state
        self._spaces = Spaces(state.about.metric, state.about.spaces, dict(transforms))

    def _settled(self, read: Callable[[State], _T]) -> _T:
        """What ``read`` finds in a state that was the same before and after.

        Looking at the state again costs a millisecond; it tells whether a write has begun or ended meanwhile, part of
        which may have been seen.
        """
        for _ in range(_ATTEMPTS):
            state = self._state
            try:
                found = read(state)
            except RetrievalError:
                self.refresh()
                if self._state == state:
                    raise
                continue
            self.refresh()
            if self._state == state:
                return found
        raise RetrievalError(f'{self.location} changes faster than it can be read: write in fewer, larger batches')

    def __len__(self) -> int:
        return self._settled(lambda state: self._collection.count(state.hidden))

    def close(self) -> None:
        self._collection.close()

    def refresh(self) -> None:
        """Read the state; every other method does it by itself."""
        self._state = read_state(self._collection.properties(), self._collection.location)

    def verify(self) -> None:
        """Nothing to do: Milvus checks its own files."""

    @property
    def location(self) -> str:
        return str(self._collection.location)

    @property
    def unfinished(self) -> list[str]:
        self.refresh()
        return [note.describe() for note in self._state.notes]

    @property
    def built_presets(self) -> list[dict[str, str]]:
        """Empty: the manifest's preset is the index of all rows."""
        return []

    @property
    def manifest(self) -> Manifest:
        def read(state: State) -> Manifest:
            return replace(deepcopy(state.about), counts={'rows': self._collection.count(state.hidden)})

        return self._settled(read)

    @property
    def transforms(self) -> dict[str, Whitening]:
        return dict(self._spaces.transforms)

    def columns(self) -> dict[str, str]:
        return self._columns(self._settled(lambda state: state))

    def transform(self, embeddings: Embeddings, space: str | None = None) -> np.ndarray:
        return self._spaces.transform(embeddings, self._spaces.space(space))

    def ids(self, where: Any = None) -> np.ndarray:
        return self._settled(partial(self._ids, where=where))

    def records(self, ids: Ids) -> list[Record]:
        wanted = read_ids(ids)

        def read(state: State) -> list[Record]:
            rows = read_rows(self._collection, wanted, RECORD_FIELDS, state.hidden)
            return [row_record(row, state.columns) for row in rows]

        return self._settled(read)

    def vectors(self, ids: Ids, space: str | None = None) -> np.ndarray:
        name = self._spaces.space(space)
        return self._settled(lambda state: self._vectors(state, name, read_ids(ids)))

    def patches(self, ids: Ids) -> np.ndarray | None:

        def read(state: State) -> np.ndarray | None:
            if state.patch_shape is None:
                return None
            rows = read_rows(self._collection, read_ids(ids), ['patches'], state.hidden)
            patches = np.empty((len(rows), *state.patch_shape), np.float16)
            for index, row in enumerate(rows):
                patches[index] = decode_array(row['patches'], np.float16)
            return patches

        return self._settled(read)

    def find_hashes(self, hashes: Sequence[str]) -> dict[str, int]:
        listed = check_texts(hashes, 'hashes')

        def read(state: State) -> dict[str, int]:
            found: dict[str, int] = {}
            for start in range(0, len(listed), 500):
                wanted = self._expression([('content_hash', 'in', listed[start : start + 500])], state)
                for page in self._collection.scan(wanted, ['content_hash']):
                    for row in sorted(page, key=lambda row: row['id']):
                        found.setdefault(row['content_hash'], int(row['id']))
            return found

        return self._settled(read)

    def history(self) -> list[ChangeSet]:
        return self._history.change_sets()

    def changes(self, number: int | None = None, ids: Ids | None = None) -> list[Change]:
        if number is not None:
            check_count(number, 'the number of a change', 0, MAX_ID)
        return self._history.changes(number, None if ids is None else read_ids(ids))

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
        if k > MAX_RESULTS:
            raise RetrievalError(f'k must be from 1 to the {MAX_RESULTS} that Milvus returns, got {k}')
        if isinstance(space, Mapping):
            prepared = self._spaces.fused_queries(queries, space, transformed)
        else:
            name = self._spaces.space(space)
            prepared = {name: self._spaces.queries(queries, name, transformed)}
        left_out = read_exclude(exclude, len(next(iter(prepared.values()))))
        if k + max(map(len, left_out)) > MAX_RESULTS:
            raise RetrievalError(f'k and the rows left out are more than the {MAX_RESULTS} that Milvus returns')

        def read(state: State) -> Hits:
            every = self._expression(where, state)
            rows = self._collection.count(state.hidden) if isinstance(space, Mapping) else 0

            def search_rows(vectors: Mapping[str, np.ndarray], count: int, expression: str = every) -> Hits:
                one = partial(search_one, expression=expression)
                if not isinstance(space, Mapping):
                    return one(*next(iter(vectors.items())), count)
                most = min(rows, MAX_RESULTS)
                deep = partial(search_deep, expression=expression)
                return fused_search(deep, vectors_of, vectors, space, count, state.about.metric, most)

            def search_one(name: str, vectors: np.ndarray, count: int, expression: str) -> Hits:
                depth = (4 * count if state.about.preset in LOSSY_PRESETS else 0) if rescore is None else rescore
                candidates = min(MAX_RESULTS, max(count, depth))
                hits = self._ranked(name, vectors, candidates, expression, parameters, state)
                if not depth:
                    return hits
                return exact_hits(vectors, hits, count, state.about.metric, partial(self._vectors, state, name))

            def search_deep(name: str, vectors: np.ndarray, count: int, expression: str) -> Hits:
                if count == MAX_RESULTS < rows:
                    _logger.warning('only the best %d rows of %s are compared, Milvus lists no more', count, name)
                return search_one(name, vectors, count, expression)

            def vectors_of(ids: np.ndarray, name: str) -> np.ndarray:
                return self._vectors(state, name, ids)

            if group_by is not None:
                return self._search_groups(state, group_by, search_rows, every, prepared, k, left_out)
            return search_without(search_rows, prepared, k, left_out, state.about.metric)

        return self._settled(read)

    def range_search(
        self,
        queries: Embeddings,
        radius: float,
        *,
        space: str | None = None,
        where: Any = None,
        transformed: bool = False,
    ) -> RangeHits:
        check_number(radius, 'radius')
        name = self._spaces.space(space)
        vectors = self._spaces.queries(queries, name, transformed)

        def read(state: State) -> RangeHits:
            expression = self._expression(where, state)

            def search_one(part: np.ndarray, count: int, bounds: dict) -> Hits:
                return self._ranked(name, part, count, expression, bounds, state)

            return search_range(search_one, vectors, radius)

        return self._settled(read)

    def _search_groups(
        self,
        state: State,
        column: str,
        search: Callable[..., Hits],
        expression: str,
        queries: Mapping[str, np.ndarray],
        k: int,
        exclude: Sequence[np.ndarray],
    ) -> Hits:
        """The best row of each of k groups: of the best rows, then of rows of none of the groups found so far.

        Milvus' own ``group_by_field`` came with 2.4, knows no metadata, takes rows without a value for one group, and
        may return fewer groups than there are.
        """
        columns, metric = self._columns(state), state.about.metric
        check_column(column, columns)
        values: dict[int, Any] = {-1: None}
        first: dict[Any, int] = {}

        def groups_of(ids: np.ndarray) -> np.ndarray:
            unknown = np.array([number for number in np.unique(ids).tolist() if number not in values], np.int64)
            names = [column, f'has_{column}'] if column in NULLABLE_FIELDS else [column]
            fields = [] if column == 'id' else names if column in TEXT_COLUMNS else ['metadata']
            for row in read_rows(self._collection, unknown, fields, state.hidden):
                values[int(row['id'])] = column_value(row, column)
            numbers, places = np.unique(ids, return_inverse=True)
            groups = [
                number if values[number] is None else first.setdefault(values[number], number)
                for number in numbers.tolist()
            ]
            return np.array(groups, np.int64)[places].reshape(ids.shape)

        limit = min(MAX_DEPTH, MAX_RESULTS - max(map(len, exclude)))
        hits, undecided = search_groups(search, groups_of, queries, k, exclude, metric, limit=limit)
        for query in undecided.tolist():
            one, more = {space: array[[query]] for space, array in queries.items()}, undecided[:1]
            while len(more):
                seen = hits.ids[query][hits.ids[query] >= 0]
                named = [values[number] for number in seen.tolist() if values[number] is not None]
                unnamed = [number for number in seen.tolist() if values[number] is None]
                found = conditions_expression(read_conditions([(column, 'in', named)], columns))
                others = partial(search, expression=join_expressions(expression, f'not ({found})'))
                left_out = [np.concatenate([exclude[query], np.array(unnamed, np.int64)])]
                deeper, more = search_groups(others, groups_of, one, k - len(seen), left_out, metric, limit=limit)
                hits.scores[query, len(seen) :], hits.ids[query, len(seen) :] = deeper.scores[0], deeper.ids[0]
        return hits

    def _ranked(
        self,
        space: str,
        queries: np.ndarray,
        k: int,
        expression: str,
        parameters: Mapping[str, int] | None,
        state: State,
    ) -> Hits:
        chosen = search_parameters(state.about.preset, k, parameters)
        return self._collection.search(queries, vector_field(space), k, state.about.metric, expression, chosen)

    def _ids(self, state: State, where: Any) -> np.ndarray:
        found = [row['id'] for page in self._collection.scan(self._expression(where, state)) for row in page]
        return np.sort(np.array(found, dtype=np.int64))

    def _vectors(self, state: State, space: str, ids: np.ndarray) -> np.ndarray:
        name = vector_field(space)
        vectors = np.empty((len(ids), state.about.spaces[space]), np.float32)
        for index, row in enumerate(read_rows(self._collection, ids, [name], state.hidden)):
            vectors[index] = row[name]
        return vectors

    def _columns(self, state: State) -> dict[str, str]:
        return {'id': 'INTEGER', **dict.fromkeys(TEXT_COLUMNS, 'TEXT'), **state.columns}

    def _expression(self, where: Any, state: State) -> str:
        conditions = conditions_expression(read_conditions(where, self._columns(state)))
        return join_expressions(conditions, state.hidden)


class MilvusWriter(MilvusReader, GalleryWriter):
    """A gallery in a collection of Milvus, open for writing, by any number of writers.

    Adds of several writers do not disturb each other; an update or removal that another writer disturbs fails with one
    sentence. :mod:`retrieval.milvus.writes` says how, and what a writer that dies leaves.

    Example::

        with create_gallery('milvus://localhost/birds', 384) as gallery:
            ids = gallery.add(embeddings, [Record(path=path) for path in paths])
    """

    def __init__(self, collection: Collection, state: State, transforms: Mapping[str, Whitening]) -> None:
        super().__init__(collection, state, transforms)
        self._writes = Writes(collection)

    def close(self) -> None:
        self._writes.close()
        super().close()

    def add(
        self,
        embeddings: Embeddings,
        records: Sequence[Record] | None = None,
        ids: Ids | None = None,
        patches: np.ndarray | None = None,
        *,
        transformed: bool = False,
    ) -> np.ndarray:
        """Add rows, all or none; returns their ids, int64 (n,), which start at a random number if none are given."""
        vectors = self._spaces.whole_rows(embeddings, transformed)
        count = len(next(iter(vectors.values())))
        numbers = self._writes.new_ids(count) if ids is None else check_ids(ids, count)
        self._writes.run(
            lambda state: plan_add(
                self._collection, state, numbers, records, vectors, patches, partial(self._ids, state), ids is None
            )
        )
        return numbers

    def update(
        self,
        ids: Ids,
        embeddings: Embeddings | None = None,
        records: Sequence[Record] | None = None,
        patches: np.ndarray | None = None,
        *,
        by: str | None = None,
    ) -> None:
        numbers = check_ids(ids)
        noted = Noted(ChangeSet.begin(by))
        vectors = {} if embeddings is None else self._spaces.rows(embeddings, count=len(numbers))
        self._writes.run(
            lambda state: plan_update(
                self._collection, state, numbers, records, vectors, patches, partial(self._ids, state), noted
            )
        )

    def _revise(self, ids: np.ndarray, revise: Revise, by: str | None, undoes: int | None = None) -> ChangeSet:
        noted = Noted(ChangeSet.begin(by, undoes))
        self._writes.run(
            lambda state: plan_revision(self._collection, state, ids, revise, partial(self._ids, state), noted)
        )
        return noted.change_set

    def set_origin(self, values: Mapping[str, str]) -> None:
        self.refresh()
        about = self._state.about
        upgrade = definition_properties(self._state) if about.format_version < FORMAT else {}
        changed = change_properties(about.generation + 1, self._state.last_write)
        self._collection.set_properties({**upgrade, **changed, **origin_properties(values)})
        self.refresh()

    def copy_history(self, sets: Iterable[tuple[ChangeSet, list[Change]]]) -> None:
        known = {one.number: one for one in self.history()}
        for change_set, changes in sets:
            broken_off = change_set.whole and change_set.number in known and not known[change_set.number].whole
            if broken_off or is_new(change_set, known):
                self._history.take_over(change_set, changes)

    def remove(self, ids: Ids | None = None, where: Any = None, *, by: str | None = None) -> ChangeSet:
        self._check_removal(ids, where)
        numbers = None if ids is None else check_ids(ids)
        begun = ChangeSet.begin(by)
        plan = self._writes.run(
            lambda state: plan_removal(self._collection, state, self._ids(state, where) if numbers is None else numbers)
        )
        return replace(begun, rows=len(plan.ids))

    def compact(self, preset: str | None = None, recall: float | None = None) -> None:
        """Change the index, if a preset is given; Milvus merges segments and drops deleted rows by itself."""
        if recall is not None:
            raise RetrievalError('Milvus is not calibrated for a recall: leave recall out; searches take parameters')
        check_preset(preset)
        self.refresh()
        state = self._state
        self._collection.flush()
        properties = change_properties(state.about.generation + 1, state.last_write)
        if preset is not None:
            name, reason = choose_preset(
                preset, len(self), self._collection.is_lite(), self._collection.server_version()
            )
            if name != state.about.preset:
                build = build_indexes(self._collection.client, state.about.spaces, state.about.metric, name)
                self._collection.replace_indexes([vector_field(space) for space in state.about.spaces], build)
            properties.update(preset_properties(name, reason))
        self._collection.set_properties(properties)
        self.refresh()

    @property
    def fixed_spaces(self) -> str:
        return (
            f'{self.location}: a collection of Milvus 2 takes no vectors of a new kind, and gives none up, once it is '
            'made: copy it into a folder with glsim migrate, change that, and migrate it to a new '
            'collection; or build it with --metric-from labels'
        )

    def discard_unfinished(self) -> int:
        return self._writes.clear_up(lambda note: True)[1]


def exact_hits(
    queries: np.ndarray, hits: Hits, k: int, metric: str, vectors: Callable[[np.ndarray], np.ndarray]
) -> Hits:
    """The best k of some candidates by their exact scores; ``vectors`` gives stored vectors (n, d) of ids (n,)."""
    wanted = np.unique(hits.ids[hits.ids >= 0])
    if not len(wanted):
        return Hits(hits.scores[:, :k], hits.ids[:, :k])
    stored = vectors(wanted)[np.searchsorted(wanted, hits.ids.clip(min=wanted[0]))]
    scores = np.where(hits.ids < 0, np.float32(worst_score(metric)), exact_scores(queries, stored, metric))
    return Hits(*best_first(scores, hits.ids, k, metric))


def search_range(
    search: Callable[[np.ndarray, int, dict], Hits], queries: np.ndarray, radius: float, page_size: int = MAX_RESULTS
) -> RangeHits:
    """All rows with a score beyond a radius; Milvus returns a limited number at a time, so that ranges go in pages.

    ``search`` gives the best rows of some queries (m, d), so many for each, within bounds. RetrievalError if more rows
    than a page holds have one and the same score.
    """
    bounds = {'radius': float(radius)}
    lists = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = queries[start : start + _QUERIES_AT_ONCE]
        for query, scores, ids in zip(part, *search(part, page_size, bounds)):
            found = ids >= 0
            scores, ids = scores[found], ids[found]
            page = ids
            while len(page) == page_size:  # the next page begins at the score where this one ended
                within = {**bounds, 'range_filter': float(scores[-1])}
                ((more, page),) = zip(*search(query[None], page_size, within))
                more, page = more[page >= 0], page[page >= 0]
                new = ~np.isin(page, ids)
                if not new.any():
                    raise RetrievalError(
                        f'{page_size} rows or more have the score {scores[-1]}, which Milvus cannot list: choose a '
                        'tighter radius'
                    )
                scores, ids = np.append(scores, more[new]), np.append(ids, page[new])
            lists.append((scores, ids))
    limits = np.cumsum([0, *(len(ids) for _, ids in lists)]).astype(np.int64)
    return RangeHits(
        limits,
        np.concatenate([np.empty(0, np.float32), *(scores for scores, _ in lists)]),
        np.concatenate([np.empty(0, np.int64), *(ids for _, ids in lists)]),
    )
