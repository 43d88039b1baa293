"""Rankings of several parts as one."""

from collections.abc import Sequence

import numpy as np

from ..hits import Hits, RangeHits
from .part_search import worst_score


def merge_rankings(scores: Sequence[np.ndarray], ids: Sequence[np.ndarray], k: int, metric: str) -> Hits:
    """The best k of several rankings of the same queries.

    Args:
        scores: float32, (m, r) each, best first.
        ids: int64, likewise; -1 where there is none.
        k: Hits per query.
        metric: ``'l2'``: the smallest scores are best.

    Returns:
        (m, k), padded.
    """
    if len(scores) == 1 and scores[0].shape[1] >= k:
        merged, numbers = scores[0][:, :k], ids[0][:, :k]
    else:
        merged, numbers = np.concatenate(scores, axis=1), np.concatenate(ids, axis=1)
        merged = np.where(numbers < 0, np.float32(worst_score(metric)), merged)
        order = np.argsort(merged if metric == 'l2' else -merged, axis=1, kind='stable')[:, :k]
        merged, numbers = np.take_along_axis(merged, order, axis=1), np.take_along_axis(numbers, order, axis=1)
    missing = numbers < 0
    if missing.any():
        merged = np.where(missing, np.float32(worst_score(metric)), merged)
    return pad_hits(Hits(merged, numbers), k, metric)


def pad_hits(hits: Hits, k: int, metric: str) -> Hits:
    """Hits with k columns.

    Args:
        hits: (m, r), r <= k.
        k: Columns.
        metric: Says what a missing score is.

    Returns:
        (m, k).
    """
    short = k - hits.ids.shape[1]
    if short <= 0:
        return hits
    width = ((0, 0), (0, short))
    return Hits(
        np.pad(hits.scores, width, constant_values=worst_score(metric)), np.pad(hits.ids, width, constant_values=-1)
    )


def merge_ranges(found: Sequence[RangeHits], num_queries: int, metric: str) -> RangeHits:
    """Hits within a radius in several parts, best first for every query.

    Args:
        found: Of the same queries.
        num_queries: How many.
        metric: ``'l2'``: the smallest scores are best.

    Returns:
        All of them.
    """
    owners = [np.repeat(np.arange(num_queries), np.diff(hits.limits)) for hits in found]
    owner = np.concatenate(owners) if owners else np.empty(0, np.int64)
    scores = np.concatenate([hits.scores for hits in found]) if found else np.empty(0, np.float32)
    ids = np.concatenate([hits.ids for hits in found]) if found else np.empty(0, np.int64)
    order = np.lexsort((ids, scores if metric == 'l2' else -scores, owner))
    limits = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=num_queries))]).astype(np.int64)
    return RangeHits(limits, scores[order], ids[order])
