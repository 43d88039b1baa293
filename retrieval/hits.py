"""What a search returns, and how the results of several searches become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

_LEAST_DEPTH = 32


class Hits(NamedTuple):
    """The best gallery rows of every query, best first.

    Example:
        >>> scores, ids = Hits(np.array([[0.9, -np.inf]], np.float32), np.array([[7, -1]]))

    Attributes:
        scores: float32, (m, k). For ``'cosine'`` -1 to 1 and for ``'ip'`` the inner product, both the larger the
            better; for ``'l2'`` the SQUARED Euclidean distance, the smaller the better. Where there is no hit: -inf,
            for ``'l2'`` +inf.
        ids: int64, (m, k); -1 where a query has fewer than k hits.
    """

    scores: np.ndarray
    ids: np.ndarray


class RangeHits(NamedTuple):
    """All gallery rows within a radius of every query, in FAISS's layout; those of a query are sorted, best first.

    Example:
        >>> hits = RangeHits(np.array([0, 1]), np.array([0.9], np.float32), np.array([7]))
        >>> hits.ids[hits.limits[0] : hits.limits[1]]  # those of the first query
        array([7])

    Attributes:
        limits: int64, (m + 1,); query i has the entries from ``limits[i]`` to ``limits[i + 1]``.
        scores: float32, (limits[-1],), as in :class:`Hits`.
        ids: int64, (limits[-1],).
    """

    limits: np.ndarray
    scores: np.ndarray
    ids: np.ndarray


class PatchMatch(NamedTuple):
    """A patch of a query and a patch of a hit, one of which is the most similar patch that the other has.

    Attributes:
        similarity: Cosine similarity of the two, -1 to 1.
        weight: Share of it in :func:`retrieval.ranking.region_similarity`, 0 to 1; those of a hit make 1 together.
        query_box, box: Where the two lie, ``x0, y0, x1, y1`` in pixels of the upright photos; None where not known.
        query_patch, patch: Their numbers among the patches of query and hit, from 0.
    """

    similarity: float
    weight: float
    query_box: tuple[float, ...] | None
    box: tuple[float, ...] | None
    query_patch: int
    patch: int


def worst_score(metric: str) -> float:
    """The score of a place without a hit."""
    return np.inf if metric == 'l2' else -np.inf


def exact_scores(queries: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """Scores of each query (m, d) with r vectors of its own (m, r, d), all float32: (m, r)."""
    if metric == 'l2':
        return np.square(vectors - queries[:, None]).sum(axis=2)
    return np.matmul(vectors, queries[:, :, None])[..., 0]


def best_first(scores: np.ndarray, ids: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The k best columns of scores and ids, (m, r) each; equal scores keep their order."""
    order = np.argsort(scores if metric == 'l2' else -scores, axis=1, kind='stable')[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def merge_rankings(scores: Sequence[np.ndarray], ids: Sequence[np.ndarray], k: int, metric: str) -> Hits:
    """The best k of several rankings of the same queries, (m, r) each, best first, -1 for no hit; padded to (m, k)."""
    if len(scores) == 1 and scores[0].shape[1] >= k:
        merged, numbers = scores[0][:, :k], ids[0][:, :k]
    else:
        merged, numbers = np.concatenate(scores, axis=1), np.concatenate(ids, axis=1)
        merged = np.where(numbers < 0, np.float32(worst_score(metric)), merged)
        merged, numbers = best_first(merged, numbers, k, metric)
    missing = numbers < 0
    if missing.any():
        merged = np.where(missing, np.float32(worst_score(metric)), merged)
    return pad_hits(Hits(merged, numbers), k, metric)


def pad_hits(hits: Hits, k: int, metric: str) -> Hits:
    """Hits with at least k columns; places without a hit are added at the end."""
    short = k - hits.ids.shape[1]
    if short <= 0:
        return hits
    width = ((0, 0), (0, short))
    scores = np.pad(hits.scores, width, constant_values=worst_score(metric))
    return Hits(scores, np.pad(hits.ids, width, constant_values=-1))


def hits_without(hits: Hits, exclude: Sequence[np.ndarray], k: int, metric: str) -> Hits:
    """The first k hits of each query, (m, k), but rows that are left out of its hits, by their ids."""
    kept = hits.ids >= 0
    for row, ids in enumerate(exclude):
        if len(ids):
            kept[row] &= ~np.isin(hits.ids[row], ids)
    return _kept_first(hits, kept, k, metric)


def best_of_groups(hits: Hits, groups: np.ndarray, k: int, metric: str) -> Hits:
    """The first hit of each group among the first hits of each query, (m, k); groups are int64 of the hits' shape."""
    order = np.argsort(groups, axis=1, kind='stable')
    ordered = np.take_along_axis(groups, order, axis=1)
    is_first = np.ones(ordered.shape, bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    kept = np.empty(ordered.shape, bool)
    np.put_along_axis(kept, order, is_first, axis=1)
    return _kept_first(hits, kept & (hits.ids >= 0), k, metric)


def _kept_first(hits: Hits, kept: np.ndarray, k: int, metric: str) -> Hits:
    """The first k hits of each query that are kept, padded to (m, k)."""
    order = np.argsort(~kept, axis=1, kind='stable')[:, :k]
    there = np.take_along_axis(kept, order, axis=1)
    scores = np.where(there, np.take_along_axis(hits.scores, order, axis=1), np.float32(worst_score(metric)))
    return pad_hits(Hits(scores, np.where(there, np.take_along_axis(hits.ids, order, axis=1), -1)), k, metric)


def without_own(ids: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Neighbours (m, k) of queries that were searched among themselves, without themselves (``own``, (m,), -1: none).

    A row from which the query is taken ends with -1. The query need not come first: equal embeddings come in any order.
    """
    kept = np.ones((len(ids), ids.shape[1] + 1), bool)  # and one more at the end
    kept[:, :-1] = (ids != own[:, None]) | (own < 0)[:, None]
    kept[:, -1] = ~kept.all(axis=1)
    return np.pad(ids, ((0, 0), (0, 1)), constant_values=-1)[kept].reshape(ids.shape)


def merge_ranges(found: Sequence[RangeHits], num_queries: int, metric: str) -> RangeHits:
    """Hits of the same queries within a radius in several parts, as one result."""
    owners = [np.repeat(np.arange(num_queries), np.diff(hits.limits)) for hits in found]
    owner = np.concatenate(owners) if owners else np.empty(0, np.int64)
    scores = np.concatenate([hits.scores for hits in found]) if found else np.empty(0, np.float32)
    ids = np.concatenate([hits.ids for hits in found]) if found else np.empty(0, np.int64)
    order = np.lexsort((ids, scores if metric == 'l2' else -scores, owner))
    limits = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=num_queries))]).astype(np.int64)
    return RangeHits(limits, scores[order], ids[order])


def fused_search(
    search: Callable[[str, np.ndarray, int], Hits],
    vectors: Callable[[np.ndarray, str], np.ndarray],
    queries: Mapping[str, np.ndarray],
    weights: Mapping[str, float],
    k: int,
    metric: str,
    count: int,
) -> Hits:
    """Best rows by the weighted sum of the scores in several spaces, exact for exact indexes.

    Every space gives its best candidates by ``search(space, queries, depth)``; all of them are scored in all spaces
    from their stored ``vectors(ids, space)``, and the search goes deeper, up to all ``count`` rows, until no row that
    was not seen can be among the best k (the threshold algorithm of Fagin, Lotem and Naor, JCSS 2003).
    """
    total = len(next(iter(queries.values())))
    scores = np.full((total, k), worst_score(metric), np.float32)
    ids = np.full((total, k), -1, np.int64)
    undecided, depth = np.arange(total), min(max(2 * k, _LEAST_DEPTH), max(count, 1))
    while len(undecided):
        current = {space: queries[space][undecided] for space in weights}
        found = {space: search(space, current[space], depth) for space in weights}
        fused, certain = _fuse(found, current, vectors, weights, k, metric)
        scores[undecided], ids[undecided] = fused
        if depth >= count:
            break
        undecided, depth = undecided[~certain], min(4 * depth, count)
    return Hits(scores, ids)


def _fuse(
    found: Mapping[str, Hits],
    queries: Mapping[str, np.ndarray],
    vectors: Callable[[np.ndarray, str], np.ndarray],
    weights: Mapping[str, float],
    k: int,
    metric: str,
) -> tuple[Hits, np.ndarray]:
    """The best k of all candidates, and for which queries no other row can be among them."""
    candidates = np.sort(np.concatenate([hits.ids for hits in found.values()], axis=1), axis=1)
    candidates[:, 1:][candidates[:, 1:] == candidates[:, :-1]] = -1
    known, places = np.unique(candidates, return_inverse=True)
    places = places.reshape(candidates.shape)
    fused = np.zeros(candidates.shape, np.float32)
    for space, weight in weights.items():
        table = np.zeros((len(known), queries[space].shape[1]), np.float32)
        table[known >= 0] = vectors(known[known >= 0], space)
        for row, query in enumerate(queries[space]):  # one query at a time bounds the memory
            fused[row] += np.float32(weight) * exact_scores(query[None], table[places[row]][None], metric)[0]
    fused[candidates < 0] = worst_score(metric)
    best = pad_hits(Hits(*best_first(fused, candidates, k, metric)), k, metric)
    exhausted = np.any([hits.ids[:, -1] < 0 for hits in found.values()], axis=0)  # one space has listed every row
    last = {space: np.where(hits.ids[:, -1] < 0, 0, hits.scores[:, -1]) for space, hits in found.items()}
    threshold = np.sum([weight * last[space] for space, weight in weights.items()], axis=0)
    sign = -1 if metric == 'l2' else 1
    certain = (best.ids[:, -1] >= 0) & (sign * best.scores[:, -1] >= sign * threshold)
    return best, exhausted | certain
