"""Quality of a ranking, computed from the labels of ranked neighbours."""

from collections.abc import Sequence

import numpy as np


def recall_at_k(neighbor_labels: np.ndarray, query_labels: np.ndarray, ks: Sequence[int] = (1,)) -> dict[int, float]:
    """Share of queries that have a relevant neighbour among their first k (Recall@k of metric learning).

    Args:
        neighbor_labels: Integers, (n, r), labels of each query's neighbours, best first, the query itself left out.
        query_labels: Integers, (n,).
        ks: Values of k, 1 <= k <= r.

    Returns:
        Recall for each k, 0 to 1.

    Raises:
        ValueError: If there are no queries, shapes do not belong together, or a k is out of range.
    """
    relevant = _relevant(neighbor_labels, query_labels)
    if any(not 1 <= k <= relevant.shape[1] for k in ks):
        raise ValueError(
            f'every k must be from 1 to the {relevant.shape[1]} neighbors that were given, got {tuple(ks)}'
        )
    return {k: float(relevant[:, :k].any(axis=1).mean()) for k in ks}


def mean_average_precision_at_r(
    neighbor_labels: np.ndarray, query_labels: np.ndarray, num_relevant: np.ndarray
) -> float:
    """MAP@R: average precision over the first R neighbours, R being the number of images relevant to the query.

    Source: Musgrave et al., A Metric Learning Reality Check, section 3.2, arXiv 2003.08505.

    Args:
        neighbor_labels: Integers, (n, r), labels of each query's neighbours, best first, the query itself left out.
        query_labels: Integers, (n,).
        num_relevant: Integers, (n,), R of each query, the query itself left out. Queries with R = 0 have no answer and
            do not count.

    Returns:
        Mean over queries, 0 to 1.

    Raises:
        ValueError: If shapes do not belong together, no query has an answer, or r is smaller than the largest R.
    """
    relevant = _relevant(neighbor_labels, query_labels)
    num_relevant = _check_num_relevant(num_relevant, relevant)
    _check_depth('MAP@R', num_relevant, relevant)
    return _mean(average_precisions_at_r(relevant, num_relevant))


def r_precision(neighbor_labels: np.ndarray, query_labels: np.ndarray, num_relevant: np.ndarray) -> float:
    """R-Precision: share of relevant images among the first R neighbours, R being how many are relevant to the query.

    Source: Musgrave et al., A Metric Learning Reality Check, section 3.2, arXiv 2003.08505.

    Args:
        neighbor_labels: Integers, (n, r), labels of each query's neighbours, best first, the query itself left out.
        query_labels: Integers, (n,).
        num_relevant: Integers, (n,), R of each query, the query itself left out. Queries with R = 0 have no answer and
            do not count.

    Returns:
        Mean over queries, 0 to 1.

    Raises:
        ValueError: If shapes do not belong together, no query has an answer, or r is smaller than the largest R.
    """
    relevant = _relevant(neighbor_labels, query_labels)
    num_relevant = _check_num_relevant(num_relevant, relevant)
    _check_depth('R-Precision', num_relevant, relevant)
    return _mean(precisions_at_r(relevant, num_relevant))


def mean_average_precision(neighbor_labels: np.ndarray, query_labels: np.ndarray, num_relevant: np.ndarray) -> float:
    """mAP: average precision over the whole ranking, as pytorch-metric-learning computes it with ``k=None``.

    Args:
        neighbor_labels: Integers, (n, r), labels of each query's neighbours, best first, the query itself left out. A
            relevant image that is not among them counts as never found, so give the whole ranking.
        query_labels: Integers, (n,).
        num_relevant: Integers, (n,), how many images are relevant to each query, itself left out. Queries with none
            have no answer and do not count.

    Returns:
        Mean over queries, 0 to 1.

    Raises:
        ValueError: If shapes do not belong together, or no query has an answer.
    """
    relevant = _relevant(neighbor_labels, query_labels)
    return _mean(average_precisions(relevant, _check_num_relevant(num_relevant, relevant)))


def precisions_at_r(relevant: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """R-Precision of each query; see :func:`r_precision`.

    Args:
        relevant: bool, (n, r), whether each neighbour is relevant, best first, r >= R.
        num_relevant: Integers, (n,), R of each query.

    Returns:
        float64, (n,), 0 to 1; NaN where R is 0.
    """
    counted = relevant & (np.arange(relevant.shape[1]) < num_relevant[:, None])
    return _divide(counted.sum(axis=1), num_relevant)


def average_precisions_at_r(relevant: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """Average precision at R of each query; see :func:`mean_average_precision_at_r`.

    Args:
        relevant: bool, (n, r), whether each neighbour is relevant, best first, r >= R.
        num_relevant: Integers, (n,), R of each query.

    Returns:
        float64, (n,), 0 to 1; NaN where R is 0.
    """
    first = relevant[:, : max(num_relevant.max(), 1)]
    return average_precisions(first & (np.arange(first.shape[1]) < num_relevant[:, None]), num_relevant)


def average_precisions(relevant: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    """Average precision of each query over all neighbours that are given; see :func:`mean_average_precision`.

    Args:
        relevant: bool, (n, r), whether each neighbour is relevant, best first.
        num_relevant: Integers, (n,), how many images are relevant to each query.

    Returns:
        float64, (n,), 0 to 1; NaN where nothing is relevant.
    """
    queries, columns = np.nonzero(relevant)  # only few neighbours are relevant: no matrix of precisions
    counts = relevant.sum(axis=1)
    found = np.arange(1, len(queries) + 1) - (np.cumsum(counts) - counts)[queries]
    return _divide(np.bincount(queries, found / (columns + 1), minlength=len(relevant)), num_relevant)


def _divide(sums: np.ndarray, num_relevant: np.ndarray) -> np.ndarray:
    quotients = np.full(len(sums), np.nan)
    return np.divide(sums, num_relevant, out=quotients, where=num_relevant > 0)


def _mean(values: np.ndarray) -> float:
    """Mean over the queries that have an answer, whose value is no NaN."""
    return float(values[~np.isnan(values)].mean())


def _check_num_relevant(num_relevant: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    num_relevant = np.asarray(num_relevant)
    if num_relevant.shape != (len(relevant),):
        raise ValueError(f'num_relevant must have shape ({len(relevant)},), got {num_relevant.shape}')
    if not (num_relevant > 0).any():
        raise ValueError('no query has a relevant image')
    return num_relevant


def _check_depth(metric: str, num_relevant: np.ndarray, relevant: np.ndarray) -> None:
    if num_relevant.max() > relevant.shape[1]:
        raise ValueError(
            f'{metric} needs {num_relevant.max()} neighbors per query, but {relevant.shape[1]} were given: search with '
            'a larger k'
        )


def _relevant(neighbor_labels: np.ndarray, query_labels: np.ndarray) -> np.ndarray:
    """Whether each neighbour has its query's label, bool (n, r)."""
    neighbor_labels, query_labels = np.asarray(neighbor_labels), np.asarray(query_labels)
    if neighbor_labels.ndim != 2 or query_labels.shape != neighbor_labels.shape[:1]:
        raise ValueError(
            f'neighbor_labels must be (n, r) and query_labels (n,), got {neighbor_labels.shape} and '
            f'{query_labels.shape}'
        )
    if 0 in neighbor_labels.shape:
        raise ValueError('at least one query and one neighbor are needed')
    return neighbor_labels == query_labels[:, None]
