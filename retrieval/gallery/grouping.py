"""Searches that leave rows out of the hits of single queries, and that show only the best row of each group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits, best_first, best_of_groups, exact_scores, hits_without, pad_hits, worst_score
from ..index.faiss_calls import all_scores
from ..index.part import Part
from ..records import Ids, is_list, read_ids

# Up to so many hits of a query a search lists at hardly more cost than the best ten.
MAX_DEPTH = 1024
_LEAST_DEPTH = 32
# Up to so many allowed rows are sorted by group for one search; more are found among all, whose order is kept.
GATHER_ROWS = 16_384
BLOCK_BYTES = 64 << 20
_COPIED_BYTES = 384 << 10
_FEW_QUERIES = 4  # FAISS compares one at a time as fast as memory is read, a matrix product many
Queries = Mapping[str, np.ndarray]
Search = Callable[[Queries, int], Hits]


def read_exclude(exclude: Sequence[Ids] | None, num_queries: int) -> list[np.ndarray]:
    """Ids of the rows that are left out of the hits of each query; RetrievalError if they do not fit the queries."""
    if exclude is None:
        return [np.empty(0, np.int64)] * num_queries
    if not is_list(exclude):
        raise RetrievalError(f'exclude is a list with the ids of rows for each query, not {exclude!r}')
    if len(exclude) != num_queries:
        raise RetrievalError(f'exclude has rows for {len(exclude)} queries, but there are {num_queries}')
    return [read_ids(ids) for ids in exclude]


def search_without(search: Search, queries: Queries, k: int, exclude: Sequence[np.ndarray], metric: str) -> Hits:
    """The best k rows of each query but those that are left out; as exact as the search."""
    most = max(map(len, exclude), default=0)
    hits = search(queries, k + most)
    return hits_without(hits, exclude, k, metric) if most else hits


def search_groups(
    search: Search,
    groups_of: Callable[[np.ndarray], np.ndarray],
    queries: Queries,
    k: int,
    exclude: Sequence[np.ndarray],
    metric: str,
    depth: int = 0,
    limit: int = MAX_DEPTH,
) -> tuple[Hits, np.ndarray]:
    """The best rows of the best k groups of each query, from a search for rows that goes deeper while it has to.

    Args:
        search: The best rows of each query, by the number of them.
        groups_of: Groups of rows by their ids, of any shape; -1 for an id of -1.
        queries: For each space, (m, d).
        k: Groups of each query.
        exclude: Ids of the rows that are left out, of each query.
        metric: The gallery's.
        depth: Rows to begin with; 0 for a few times k.
        limit: Rows at most.

    Returns:
        Hits (m, k), and the numbers of the queries of which so many rows do not hold k groups.
    """
    total = len(exclude)
    scores, ids = np.full((total, k), worst_score(metric), np.float32), np.full((total, k), -1, np.int64)
    depth = min(depth or max(4 * k, _LEAST_DEPTH), limit)
    open_queries = np.arange(total)
    while len(open_queries):
        left_out = [exclude[number] for number in open_queries.tolist()]
        wanted = depth + max(map(len, left_out))
        rows = search({space: array[open_queries] for space, array in queries.items()}, wanted)
        others = hits_without(rows, left_out, wanted, metric)
        best = best_of_groups(others, groups_of(others.ids), k, metric)
        scores[open_queries], ids[open_queries] = best
        is_all = rows.ids[:, -1] < 0  # every row was listed
        open_queries = open_queries[(best.ids[:, -1] < 0) & ~is_all]
        if depth >= limit:
            break
        depth = min(4 * depth, limit)
    return Hits(scores, ids), open_queries


@dataclass(frozen=True)
class Rows:
    """What a search compares: the parts of every space, in each with the same ids; which of their rows, None for all.

    ``weights`` are those of the spaces that are compared.
    """

    parts: Sequence[Mapping[str, Part]]
    masks: Callable[[], Sequence[np.ndarray | None]]
    weights: Mapping[str, float]
    metric: str


@dataclass(frozen=True)
class Grouping:
    """The groups that all rows of a state of a gallery form.

    Attributes:
        ids: int64, (n,), ascending.
        groups: int64, (n,), the smallest id of the row's group.
    """

    ids: np.ndarray
    groups: np.ndarray

    @cached_property
    def _sizes(self) -> np.ndarray:
        """Rows of the largest group, of the largest two, and so on."""
        return np.cumsum(np.sort(np.unique(self.groups, return_counts=True)[1])[::-1])

    @cached_property
    def _layouts(self) -> dict[object, _Layout]:
        return {}

    def _depth(self, k: int) -> int:
        """So many rows always hold k groups, whichever they are, or all that there are."""
        before = min(k - 1, len(self._sizes))
        return 1 + (int(self._sizes[before - 1]) if before else 0)

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Groups of rows by their ids, of any shape; -1 for an id that is not there."""
        if not len(self.ids):
            return np.full(np.shape(ids), -1, np.int64)
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[places] == ids, self.groups[places], -1)

    def search(
        self,
        search: Search,
        is_exact: bool,
        rows: Rows,
        queries: Queries,
        k: int,
        exclude: Sequence[np.ndarray],
    ) -> Hits:
        """The best rows of the best k groups of each query, (m, k).

        Where few rows always hold k groups, they are searched. An approximate index is asked for some rows too.
        Otherwise, and for queries whose rows hold fewer groups, every row is compared once.

        Args:
            search: The best rows of each query, by the number of them.
            is_exact: Whether that search compares every row.
            rows: Those that are searched.
            queries: For each space, (m, d), as they are compared.
            k: Groups of each query.
            exclude: Ids of the rows that are left out, of each query.
        """
        depth, metric = self._depth(k), rows.metric
        hits = pad_hits(Hits(np.empty((len(exclude), 0), np.float32), np.empty((len(exclude), 0), np.int64)), k, metric)
        undecided = np.arange(len(exclude))
        if depth <= MAX_DEPTH or not is_exact:
            first = depth if is_exact else 0
            hits, undecided = search_groups(search, self.of, queries, k, exclude, metric, first, min(depth, MAX_DEPTH))
        if len(undecided):
            others = {space: array[undecided] for space, array in queries.items()}
            found = self._compare_all(rows, others, k, [exclude[number] for number in undecided.tolist()])
            hits.scores[undecided], hits.ids[undecided] = found
        return hits

    def _compare_all(self, rows: Rows, queries: Queries, k: int, exclude: Sequence[np.ndarray]) -> Hits:
        found = [
            self._compare_part(part, mask, rows, queries, k, exclude)
            for part, mask in zip(rows.parts, rows.masks())
            if mask is None or mask.any()
        ]
        ids = np.concatenate([np.empty((len(exclude), 0), np.int64), *(one.ids for one in found)], axis=1)
        scores = np.concatenate([np.empty((len(exclude), 0), np.float32), *(one.scores for one in found)], axis=1)
        ranked = Hits(*best_first(scores, ids, ids.shape[1], rows.metric))
        return best_of_groups(ranked, self.of(ranked.ids), k, rows.metric)

    def _compare_part(
        self,
        part: Mapping[str, Part],
        mask: np.ndarray | None,
        rows: Rows,
        queries: Queries,
        k: int,
        exclude: Sequence[np.ndarray],
    ) -> Hits:
        """The best rows of the best k groups of a part, unsorted."""
        any_part = next(iter(part.values()))
        if mask is not None and mask.sum() <= GATHER_ROWS:
            numbers, mask = np.flatnonzero(mask), None
            layout = _Layout.of(self.of(any_part.ids[numbers]))
        else:
            numbers = np.arange(len(any_part))
            layout = self._layouts.get(any_part.token) or _Layout.of(self.of(any_part.ids))
            self._layouts[any_part.token] = layout
        ids, width = any_part.ids[numbers], min(k, len(layout.starts))
        scores = np.full((len(exclude), width), worst_score(rows.metric), np.float32)
        hits = Hits(scores, np.full((len(exclude), width), -1, np.int64))
        step = max(1, BLOCK_BYTES // (4 * len(ids)))
        for start in range(0, len(exclude), step):
            block = {space: array[start : start + step] for space, array in queries.items()}
            alike = _likeness(part, numbers, block, rows.weights, rows.metric)
            if mask is not None:
                alike[:, ~mask] = -np.inf
            for query, values in enumerate(alike, start):
                if len(exclude[query]):
                    values[np.isin(ids, exclude[query])] = -np.inf
                best = layout.best(values, width)
                hits.ids[query, : len(best)] = ids[best]
                hits.scores[query, : len(best)] = 0
                for space, weight in rows.weights.items():
                    own, vectors = queries[space][query][None], part[space].rows[numbers[best]][None]
                    hits.scores[query, : len(best)] += np.float32(weight) * exact_scores(own, vectors, rows.metric)[0]
        return hits


@dataclass(frozen=True)
class _Layout:
    """Rows of a part in the order of their groups, and where each group starts in it."""

    order: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, groups: np.ndarray) -> _Layout:
        order = np.argsort(groups, kind='stable')
        ordered = groups[order]
        return cls(order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]))

    def best(self, values: np.ndarray, k: int) -> np.ndarray:
        """The rows with the largest values of the best k groups, in any order, without those of -inf."""
        ordered = values[self.order]
        of_groups = np.maximum.reduceat(ordered, self.starts)
        chosen = np.argpartition(of_groups, len(of_groups) - k)[len(of_groups) - k :]
        chosen = chosen[of_groups[chosen] > -np.inf]
        ends = np.append(self.starts[1:], len(self.order))
        inside = [start + ordered[start:end].argmax() for start, end in zip(self.starts[chosen], ends[chosen])]
        return self.order[np.array(inside, np.int64)]


def _likeness(
    part: Mapping[str, Part], numbers: np.ndarray, queries: Queries, weights: Mapping[str, float], metric: str
) -> np.ndarray:
    """What ranks rows of a part as their scores do, the larger the better, float32 (m, rows)."""
    total = np.zeros((len(next(iter(queries.values()))), len(numbers)), np.float32)
    is_whole = len(numbers) == len(next(iter(part.values())))
    for space, weight in weights.items():
        if is_whole and len(total) < _FEW_QUERIES:
            for row, query in enumerate(queries[space]):
                total[row] += np.float32(-weight if metric == 'l2' else weight) * all_scores(part[space].vectors, query)
            continue
        stored, weighted = part[space].rows, np.float32(weight) * queries[space]
        step = max(1, _COPIED_BYTES // (4 * stored.shape[1]))
        for start in range(0, len(numbers), step):
            # FAISS's files are not aligned: NumPy would copy all rows for a product, and copies of a few stay cached.
            block = stored[start : start + step] if is_whole else stored[numbers[start : start + step]]
            block = np.require(block, requirements='A')
            products = weighted @ block.T
            if metric == 'l2':  # the squared length of the query is the same for all rows
                products = 2 * products - np.float32(weight) * np.einsum('ij,ij->i', block, block)
            total[:, start : start + step] += products
    return total
