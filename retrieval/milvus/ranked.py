"""What Milvus' own search does not give: scores of lossy indexes computed again, and ranges of any size."""

from collections.abc import Callable

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits, RangeHits, best_first, exact_scores, worst_score
from .collection import MAX_RESULTS

_QUERIES_AT_ONCE = 64


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
