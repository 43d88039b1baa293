"""Scores of the rankings that retrievers leave on their results."""

from collections.abc import Sequence

import numpy as np
import torch
from mmpretrain.registry import DATASETS

from retrieval.metrics import metrics_of

from ..errors import GLSimError
from .single_label import read_label

METRIC = 'RetrievalMetrics'


def gallery_labels(config: dict) -> np.ndarray:
    """Class of each image of a gallery.

    Args:
        config: Config of its data set; images are not read.

    Returns:
        int64, (n,), in the order of the data set.

    Raises:
        GLSimError: If an image has not one label.
    """
    dataset = DATASETS.build({**config, 'pipeline': []})
    labels = [np.atleast_1d(dataset.get_data_info(row).get('gt_label', ())) for row in range(len(dataset))]
    if not labels or any(label.size != 1 for label in labels):
        raise GLSimError(f'{METRIC}: each image of the gallery must have one label; name another data set as gallery')
    return np.concatenate(labels).astype(np.int64)


def read_relevant(sample: dict, labels: np.ndarray | None) -> np.ndarray:
    """Gallery rows that are relevant to a query.

    Args:
        sample: Model output with ``gt_label``: the class of the query, or, without ``labels``, the rows.
        labels: int64, (n,), class of each gallery row.

    Returns:
        int64, distinct, in order.

    Raises:
        GLSimError: If the query has no label.
    """
    if labels is not None:
        return np.flatnonzero(labels == read_label(sample, METRIC))
    if 'gt_label' not in sample:
        raise GLSimError(f'{METRIC} needs the relevant gallery rows as gt_label of each query, as in InShop')
    return np.unique(sample['gt_label'].cpu().numpy())


def score_ranking(sample: dict, relevant: np.ndarray, ks: Sequence[int], whole_ranking: bool) -> np.ndarray:
    """Recall at each k, R-Precision, MAP@R and, of a whole ranking, average precision of a query.

    A ranking may end once all relevant rows are found: the rest changes none of these.

    Args:
        sample: Model output with ``pred_label``: gallery rows, best first; -1 for none.
        relevant: int64, rows that are relevant.
        ks: Values of k.
        whole_ranking: Score the average precision of the whole ranking too.

    Returns:
        float64, 0 to 1; all NaN if nothing is relevant.

    Raises:
        GLSimError: If there is no ranking, or one too short to know the scores.
    """
    metrics = metrics_of(ks, whole_ranking)
    if 'pred_label' not in sample:
        raise GLSimError(f"{METRIC}: results have no ranking (pred_label); use mode='embedding' with a classifier")
    if len(relevant) == 0:
        return np.full(len(metrics), np.nan)
    ranking = torch.as_tensor(sample['pred_label']).cpu().numpy().reshape(-1)
    found = np.isin(ranking, relevant)[None]
    _check_length(found, len(relevant), ks, whole_ranking)
    num_relevant = np.array([len(relevant)])
    return np.concatenate([metric.scores(found, num_relevant) for metric in metrics.values()])


def average_scores(scores: Sequence[np.ndarray], ks: Sequence[int], whole_ranking: bool) -> dict[str, float]:
    """Means over the queries that have a relevant image.

    Args:
        scores: See :func:`score_ranking`.
        ks: Values of k.
        whole_ranking: Whether the average precision of the whole ranking is among the scores.

    Returns:
        0 to 1, by name.

    Raises:
        GLSimError: If no query has a relevant image.
    """
    table = np.stack(scores)
    counted = table[~np.isnan(table).any(axis=1)]
    if len(counted) == 0:
        raise GLSimError(f'{METRIC}: no query has a relevant image in the gallery; check the labels of both data sets')
    return dict(zip(metrics_of(ks, whole_ranking), counted.mean(axis=0).tolist()))


def _check_length(found: np.ndarray, num_relevant: int, ks: Sequence[int], whole_ranking: bool) -> None:
    length, num_found = found.shape[1], int(found.sum())
    if num_found == num_relevant:
        return
    needed = max(num_relevant, max(ks) if num_found == 0 else 1)
    if whole_ranking:
        raise GLSimError(
            f'{METRIC}: mAP needs every relevant image in the ranking, but of {num_relevant} there are {num_found} '
            f'among {length}: set topk=-1 of the retriever, or whole_ranking=False'
        )
    if length < needed:
        raise GLSimError(f'{METRIC}: rankings have {length} images, but {needed} are needed: set topk of the retriever')
