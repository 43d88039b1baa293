"""Filters for a search that knows none: search more, drop what is not allowed, and tell whether the result is certain.

FAISS's GPU indexes accept an ``IDSelector`` and silently ignore it (faiss issues 3114 and 3924), so that a result looks
filtered and is not. Here it is filtered, or there is none.
"""

import math
from collections.abc import Callable

import numpy as np

SearchFunction = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
_SAFETY = 2.0


def search_overfetch(
    search: SearchFunction, queries: np.ndarray, k: int, allowed: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Best k allowed rows of every query.

    What a search of depth r returns are its r best rows in order; if k of them are allowed, these are the k best
    allowed ones. So the result is as exact as the search, or it is not given.

    Args:
        search: Queries (m, d) and depth r -> scores and row numbers (m, r), best first, -1 for none.
        queries: float32, (m, d).
        k: Rows per query, 1 to the number of allowed rows.
        allowed: bool, (n,).
        limit: Largest depth of the search, such as the 2048 of FAISS on GPUs.

    Returns:
        Scores float32 and row numbers int64, (m, k); None where some query did not see k allowed rows: search in
        another way then.
    """
    total, count = len(allowed), int(allowed.sum())
    if not 1 <= k <= count:
        raise ValueError(f'k must be from 1 to the {count} allowed rows, got {k}')
    # Among allowed rows like the others, twice the expected depth; all that are not allowed at most.
    depth = min(k + total - count, math.ceil(_SAFETY * k * total / count) + 16, limit)
    if depth < k:
        return None
    scores, rows = search(queries, depth)
    is_allowed = allowed[np.maximum(rows, 0)] & (rows >= 0)
    if (is_allowed.sum(axis=1) < k).any():
        return None
    order = np.argsort(~is_allowed, axis=1, kind='stable')[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
