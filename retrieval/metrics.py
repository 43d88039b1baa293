"""Quality of rankings, of which one table has every metric by its name, and of probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class RankingMetric(NamedTuple):
    """A score of each query's ranking.

    Example:
        >>> METRICS['MAP@R'].scores(np.array([[True, False]]), np.array([1]))
        array([1.])

    Attributes:
        scores: From relevance bool (n, r), best first, and the number of relevant images (n,) to float64 (n,), 0 to 1;
            NaN where nothing is relevant.
        depth: How many neighbours it looks at, given R, the number of relevant images, and the size of the gallery.
    """

    scores: Callable[[np.ndarray, np.ndarray], np.ndarray]
    depth: Callable[[int, int], int]


def precisions_at_r(relevant: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """R-Precision, float64 (n,): share of relevant images among the first R neighbours, R being how many are relevant.

    Relevance is bool (n, r >= R), best first. Source: Musgrave et al., A Metric Learning Reality Check, section 3.2,
    arXiv 2003.08505.
    """
    counted = relevant & (np.arange(relevant.shape[1]) < num_relevant[:, None])
    return _divide(counted.sum(axis=1), num_relevant)


def average_precisions_at_r(relevant: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """MAP@R of each query: average precision over the first R neighbours, see :func:`precisions_at_r`."""
    first = relevant[:, : max(num_relevant.max(), 1)]
    return average_precisions(first & (np.arange(first.shape[1]) < num_relevant[:, None]), num_relevant)


def average_precisions(relevant: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """Average precision of each query over all neighbours that are given, float64 (n,).

    Relevant images that are not among them count as never found. Over the whole ranking it is mAP as
    pytorch-metric-learning computes it with ``k=None``.
    """
    queries, columns = np.nonzero(relevant)  # only few neighbours are relevant: no matrix of precisions
    counts = relevant.sum(axis=1)
    found = np.arange(1, len(queries) + 1) - (np.cumsum(counts) - counts)[queries]
    return _divide(np.bincount(queries, found / (columns + 1), minlength=len(relevant)), num_relevant)


METRICS = {
    'R-Precision': RankingMetric(precisions_at_r, lambda r, size: r),
    'MAP@R': RankingMetric(average_precisions_at_r, lambda r, size: r),
    'mAP': RankingMetric(average_precisions, lambda r, size: size),
}


def metrics_of(ks: Sequence[int], whole_ranking: bool = True) -> dict[str, RankingMetric]:
    """The metrics of a report: Recall@k for each k, then :data:`METRICS`, those of whole rankings if wanted."""
    chosen = {f'Recall@{k}': _recall(k) for k in ks}
    return chosen | {name: one for name, one in METRICS.items() if whole_ranking or one.depth(1, 2) < 2}


def _recall(k: int) -> RankingMetric:
    def scores(relevant: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
        return np.where(num_relevant > 0, relevant[:, :k].any(axis=1), np.nan)

    return RankingMetric(scores, lambda r, size: k)


def _divide(sums: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    quotients = np.full(len(sums), np.nan)
    return np.divide(sums, num_relevant, out=quotients, where=num_relevant > 0)


def calibration_error(confidences: Sequence[float], correct: Sequence[bool], num_bins: int = 15) -> tuple[float, float]:
    """Expected and maximum calibration error in percentage points (Guo et al., ICML 2017, equations 3 and 5).

    Images are sorted into bins of equal width by the probability of the predicted class; a value on an edge belongs to
    the lower bin. Each bin's error is the distance between its mean confidence and its accuracy. The first result is
    their mean weighted by the bins' images, the second the largest.

    Args:
        confidences: Probability of the predicted class of each image, shape (n,), 0 to 1.
        correct: Whether the prediction is right, shape (n,).
        num_bins: Number of bins.

    Raises:
        ValueError: If there are no images, the two differ in length, a confidence is not between 0 and 1, or
            ``num_bins`` is not positive.
    """
    confidence, right = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if confidence.shape != right.shape or confidence.ndim != 1 or not confidence.size:
        raise ValueError(f'confidences {confidence.shape} and correct {right.shape} must be equally long, not empty')
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError('confidences must be probabilities, from 0 to 1')
    if num_bins < 1:
        raise ValueError(f'num_bins must be positive, got {num_bins}')
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    totals = np.bincount(bins, minlength=num_bins)
    gaps = np.abs(np.bincount(bins, confidence - right, num_bins))[totals > 0]  # sum of a bin: its images times its gap
    return float(100 * gaps.sum() / confidence.size), float(100 * (gaps / totals[totals > 0]).max())
