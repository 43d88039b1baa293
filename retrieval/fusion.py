"""Search by a weighted sum of the scores in several spaces, exact for exact indexes.

Every space gives its best candidates; all of them are scored in all spaces from their stored vectors, and the search
goes deeper until no row that was not seen can be among the best k (the threshold algorithm of Fagin, Lotem and Naor,
JCSS 2003).
"""

from collections.abc import Callable, Mapping

import numpy as np

from .hits import Hits
from .index.part_search import exact_scores, worst_score
from .index.ranking import pad_hits

_LEAST_DEPTH = 32


def fused_search(
    search: Callable[[str, np.ndarray, int], Hits],
    vectors: Callable[[np.ndarray, str], np.ndarray],
    queries: Mapping[str, np.ndarray],
    weights: Mapping[str, float],
    k: int,
    metric: str,
    count: int,
) -> Hits:
    """Best rows by the weighted sum of scores.

    Args:
        search: Space, queries (m, d), depth -> hits (m, depth).
        vectors: Ids and space -> stored vectors float32 (n, d).
        queries: By space, float32 (m, d), as they are compared.
        weights: By space, above 0.
        k: Rows per query.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        count: Rows there are, beyond which no search goes.

    Returns:
        (m, k).
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
    """The best k of all candidates, and of which queries no other row can be among them."""
    worst = worst_score(metric)
    candidates = np.sort(np.concatenate([hits.ids for hits in found.values()], axis=1), axis=1)
    candidates[:, 1:][candidates[:, 1:] == candidates[:, :-1]] = -1
    known, places = np.unique(candidates, return_inverse=True)
    places = places.reshape(candidates.shape)
    fused = np.zeros(candidates.shape, np.float32)
    for space, weight in weights.items():
        table = np.zeros((len(known), queries[space].shape[1]), np.float32)
        table[known >= 0] = vectors(known[known >= 0], space)
        for row, query in enumerate(queries[space]):  # one query at a time bounds the memory
            exact = exact_scores(query[None], table[places[row]][None], metric)[0]
            fused[row] += np.float32(weight) * exact
    fused[candidates < 0] = worst
    sign = -1 if metric == 'l2' else 1
    order = np.argsort(-sign * fused, axis=1, kind='stable')[:, :k]
    best = Hits(np.take_along_axis(fused, order, axis=1), np.take_along_axis(candidates, order, axis=1))
    best = pad_hits(best, k, metric)
    exhausted = np.any([hits.ids[:, -1] < 0 for hits in found.values()], axis=0)  # one space has listed every row
    last = {space: np.where(hits.ids[:, -1] < 0, 0, hits.scores[:, -1]) for space, hits in found.items()}
    threshold = np.sum([weight * last[space] for space, weight in weights.items()], axis=0)
    certain = (best.ids[:, -1] >= 0) & (sign * best.scores[:, -1] >= sign * threshold)
    return best, exhausted | certain
