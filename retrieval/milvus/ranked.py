"""Search results of Milvus as Hits and RangeHits, exact re-scoring, and ranges of any size."""

from collections.abc import Callable

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits, RangeHits
from .collection import MAX_RESULTS

Ranked = list[tuple[np.ndarray, np.ndarray]]


def pad_hits(ranked: Ranked, k: int, metric: str) -> Hits:
    """Results of every query as a table of k columns.

    Args:
        ranked: Per query, scores and ids, best first.
        k: Columns; missing places get id -1 and the worst score.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.

    Returns:
        Scores float32 and ids int64, (m, k).
    """
    scores = np.full((len(ranked), k), np.inf if metric == 'l2' else -np.inf, np.float32)
    ids = np.full((len(ranked), k), -1, np.int64)
    for row, (row_scores, row_ids) in enumerate(ranked):
        count = min(k, len(row_ids))
        scores[row, :count], ids[row, :count] = row_scores[:count], row_ids[:count]
    return Hits(scores, ids)


def exact_scores(queries: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """Scores of every query with every vector, float32 (m, n); cosine of rows of unit length."""
    if metric != 'l2':
        return queries @ vectors.T
    difference = queries[:, None, :] - vectors[None, :, :]
    return np.einsum('mnd,mnd->mn', difference, difference)


def rescore(queries: np.ndarray, ranked: Ranked, metric: str, vectors: Callable[[np.ndarray], np.ndarray]) -> Ranked:
    """The same candidates, ranked by their exact scores.

    Args:
        queries: float32, (m, d).
        ranked: Candidates of every query.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        vectors: Ids int64 (n,) -> stored vectors float32 (n, d).

    Returns:
        list[tuple[np.ndarray, np.ndarray]]: Best first.
    """
    wanted = np.unique(np.concatenate([ids for _, ids in ranked])) if ranked else np.empty(0, np.int64)
    if not len(wanted):
        return ranked
    stored = vectors(wanted)
    result: Ranked = []
    for query, (_, ids) in zip(queries, ranked):
        scores = exact_scores(query[None], stored[np.searchsorted(wanted, ids)], metric)[0]
        order = np.argsort(scores if metric == 'l2' else -scores, kind='stable')
        result.append((scores[order], ids[order]))
    return result


def search_range(
    search: Callable[[np.ndarray, int, dict], Ranked], queries: np.ndarray, radius: float, page_size: int = MAX_RESULTS
) -> RangeHits:
    """All rows with a score beyond a radius; Milvus returns a limited number at a time, so that ranges go in pages.

    Args:
        search: Queries (m, d), most results of each, bounds -> results of each query, best first.
        queries: float32, (m, d).
        radius: Scores above it count, for ``'l2'`` squared distances below it.
        page_size: Results of one call. Defaults to the most that Milvus returns.

    Returns:
        Results of all queries.

    Raises:
        RetrievalError: If more rows than that have one and the same score.
    """
    bounds = {'radius': float(radius)}
    lists = search(queries, page_size, bounds)
    for row, page in enumerate(lists):
        scores, ids = page
        while len(page[1]) == page_size:  # the next page begins at the score where this one ended
            (page,) = search(queries[row, None], page_size, {**bounds, 'range_filter': float(scores[-1])})
            new = ~np.isin(page[1], ids)
            if not new.any():
                raise RetrievalError(
                    f'{page_size} rows or more have the score {scores[-1]}, which Milvus cannot list: choose a tighter '
                    'radius'
                )
            scores, ids = np.append(scores, page[0][new]), np.append(ids, page[1][new])
        lists[row] = (scores, ids)
    limits = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(ids) for _, ids in lists], out=limits[1:])
    scores = np.concatenate([np.empty(0, np.float32), *(scores for scores, _ in lists)])
    return RangeHits(limits, scores, np.concatenate([np.empty(0, np.int64), *(ids for _, ids in lists)]))
