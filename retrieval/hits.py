"""What a search returns."""

from typing import NamedTuple

import numpy as np


class Hits(NamedTuple):
    """The best gallery rows of every query, best first.

    Attributes:
        scores: float32, (m, k). Metric ``'cosine'``: -1 to 1; ``'ip'``: inner product; both the larger the better.
            ``'l2'``: SQUARED Euclidean distance, the smaller the better. Where there is no hit: -inf, for ``'l2'``
            +inf.
        ids: int64, (m, k); -1 where a query has fewer than k hits.
    """

    scores: np.ndarray
    ids: np.ndarray


class RangeHits(NamedTuple):
    """All gallery rows within a radius of every query, in FAISS's layout, those of a query best first.

    Attributes:
        limits: int64, (m + 1,); query i has the entries from ``limits[i]`` to ``limits[i + 1]``.
        scores: float32, (limits[-1],), as in :class:`Hits`.
        ids: int64, (limits[-1],).
    """

    limits: np.ndarray
    scores: np.ndarray
    ids: np.ndarray
