"""Photos that are far from every class of a gallery: wrong files, blanks, the only ones of their kind."""

from __future__ import annotations

import numpy as np

from ..errors import RetrievalError
from ..whitening import DEFAULT_SHRINKAGE, Whitening, within_class
from .class_means import ClassMeans

_LEAST = 10  # rows; quartiles of fewer say nothing
_FENCE = 3.0  # interquartile ranges above the upper quartile: Tukey's "far out"
_NUMBERS = 5_000_000


def find_outliers(rows: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are far from the nearest class, the farthest first, and how far.

    A distance is the one of Mahalanobis, under the covariance within classes, to the nearest class mean (Lee et al., A
    simple unified framework for detecting out-of-distribution samples, arXiv 1807.03888); a mean of its own class is
    that of the others. Without two classes of two rows, it is to the mean of all rows, under their covariance. A row is
    far if its squared distance is more than three interquartile ranges above the upper quartile (Tukey, Exploratory
    Data Analysis, 1977). The similarity to the nearest rows, which is simpler, misses odd photos that are like each
    other.

    Args:
        rows: Embeddings as the model gives them, (n, d).
        codes: Classes, int64 (n,); -1 for none.

    Returns:
        Their places, int64, and their distances, float64, where 1 is the median of all rows. Nothing of ten rows or
        fewer, or where rows do not differ.
    """
    nothing = np.zeros(0, np.int64), np.zeros(0)
    if len(rows) <= _LEAST or not (rows != rows[:1]).any():
        return nothing
    labels = [str(code) if code >= 0 else None for code in codes.tolist()]
    try:
        spread = within_class(rows, labels).whitening(DEFAULT_SHRINKAGE, rows.mean(axis=0, dtype=np.float64), False)
    except RetrievalError:  # too few labels, or photos of a class that do not differ
        codes = np.zeros(len(rows), np.int64)
        spread = _of_all(rows)
    squares = _to_nearest(spread.apply(rows), codes)
    low, usual, high = np.quantile(squares, (0.25, 0.5, 0.75))
    far = np.flatnonzero(squares > high + _FENCE * (high - low)) if usual > 0 else nothing[0]
    order = far[np.argsort(-squares[far], kind='stable')]
    return order, np.sqrt(squares[order] / max(usual, np.finfo(float).tiny))


def _of_all(rows: np.ndarray) -> Whitening:
    """The map that divides by the root of the covariance of all rows, shrunk as that within classes is."""
    mean = rows.mean(axis=0, dtype=np.float64)
    deviations = rows - mean
    variances, axes = np.linalg.eigh(deviations.T @ deviations / len(rows))
    variances = variances.clip(min=0)
    shrunk = (1 - DEFAULT_SHRINKAGE) * variances + DEFAULT_SHRINKAGE * variances.mean()
    matrix = (axes / np.sqrt(shrunk)) @ axes.T
    return Whitening(matrix.astype(np.float32), (-matrix @ mean).astype(np.float32), False)


def _to_nearest(rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Squared distance of each row to the nearest mean of a class, without itself, float64 (n,)."""
    means = ClassMeans.of(rows, codes, int(codes.max()) + 1)
    found = np.zeros(len(rows))
    size = max(1, _NUMBERS // len(means.counts))
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        distances = means.distances(rows[part])
        known = np.flatnonzero(codes[part] >= 0)
        own = codes[part][known]
        count = means.counts[own]
        # Without itself, the mean of the others is farther by n / (n - 1); of one alone there is none.
        distances[known, own] *= (count / np.maximum(count - 1, 1)) ** 2
        distances[known[count < 2], own[count < 2]] = np.inf
        found[part] = distances.min(axis=1)
    return np.where(np.isfinite(found), found, np.nanmax(np.where(np.isfinite(found), found, 0)))
