"""Quality of a ranking, computed from the labels of ranked neighbours."""

from collections.abc import Sequence

import numpy as np


def recall_at_k(neighbor_labels: np.ndarray, query_labels: np.ndarray, ks: Sequence[int] = (1,)) -> dict[int, float]:
    """Share of queries that have a relevant neighbour among their first k (Recall@k of metric learning).

    Args:
        neighbor_labels (np.ndarray): Integers, (n, r), labels of each query's neighbours, best first, the query itself
            left out.
        query_labels (np.ndarray): Integers, (n,).
        ks (Sequence[int]): Values of k, 1 <= k <= r. Defaults to (1,).

    Returns:
        dict[int, float]: Recall for each k, 0 to 1.

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
        neighbor_labels (np.ndarray): Integers, (n, r), labels of each query's neighbours, best first, the query itself
            left out.
        query_labels (np.ndarray): Integers, (n,).
        num_relevant (np.ndarray): Integers, (n,), R of each query, the query itself left out. Queries with R = 0 have
            no answer and do not count.

    Returns:
        float: Mean over queries, 0 to 1.

    Raises:
        ValueError: If shapes do not belong together, no query has an answer, or r is smaller than the largest R.
    """
    relevant = _relevant(neighbor_labels, query_labels)
    num_relevant = np.asarray(num_relevant)
    if num_relevant.shape != (len(relevant),):
        raise ValueError(f'num_relevant must have shape ({len(relevant)},), got {num_relevant.shape}')
    if num_relevant.max() > relevant.shape[1]:
        raise ValueError(
            f'MAP@R needs {num_relevant.max()} neighbors per query, but {relevant.shape[1]} were given: search with a '
            'larger k'
        )
    answerable = num_relevant > 0
    if not answerable.any():
        raise ValueError('no query has a relevant image')
    ranks = np.arange(1, relevant.shape[1] + 1)
    precisions = np.cumsum(relevant, axis=1) / ranks
    counted = relevant & (ranks <= num_relevant[:, None])
    sums = np.where(counted, precisions, 0.0).sum(axis=1)
    return float((sums[answerable] / num_relevant[answerable]).mean())


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
