"""Quality of embeddings, by comparing all of them exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import RetrievalError
from ..vectors import METRICS, check_embeddings, import_faiss, unit_length
from .labels import Labels, encode_labels
from .query_scores import DEFAULT_KS, DEFAULT_MEMORY, Search, evaluate, without_own
from .report import RetrievalReport


def evaluate_embeddings(
    gallery: np.ndarray,
    gallery_labels: Labels,
    queries: np.ndarray | None = None,
    query_labels: Labels | None = None,
    *,
    own_rows: np.ndarray | None = None,
    metric: str = 'cosine',
    ks: Sequence[int] = DEFAULT_KS,
    whole_ranking: bool = True,
    memory_limit: int = DEFAULT_MEMORY,
    class_names: Sequence[str] | None = None,
) -> RetrievalReport:
    """How well images find those of their class, by exact search in blocks; there is never a matrix of all pairs.

    The numbers are those of pytorch-metric-learning's ``AccuracyCalculator``: Recall@1 its ``precision_at_1``,
    R-Precision its ``r_precision``, MAP@R its ``mean_average_precision_at_r`` and mAP its ``mean_average_precision``
    with ``k=None``; means over classes are its ``avg_of_avgs=True``.

    Args:
        gallery: Floating point, (n, d).
        gallery_labels: Integers or strings, (n,); None for no label.
        queries: Floating point, (m, d). Defaults to the gallery: each image is searched among all others.
        query_labels: As ``gallery_labels``, (m,); needed with ``queries``.
        own_rows: Integers, (m,), the gallery row that is the query itself, which is left out of its neighbours; -1 for
            none. Only with ``queries``. Defaults to none at all.
        metric: ``'cosine'``, ``'ip'`` (inner product) or ``'l2'``.
        ks: Values of k of Recall@k, >= 1. Defaults to (1, 2, 4, 8).
        whole_ranking: Report mAP too, which sorts the whole gallery for every query.
        memory_limit: Bytes that a block of rankings may take, about; embeddings come on top. Defaults to 256 MiB.
        class_names: Names by label, of labels that are integers from 0.

    Returns:
        Metrics over queries, over classes, and of each class.

    Raises:
        RetrievalError: If arrays do not belong together, an embedding is not finite, or no query has a relevant image.
        ImportError: If FAISS is not installed.
    """
    if (queries is None) != (query_labels is None) or (queries is None and own_rows is not None):
        raise RetrievalError('queries and query_labels belong together, and own_rows to them: give both or neither')
    if queries is None or query_labels is None:
        queries, query_labels, own_rows = gallery, gallery_labels, np.arange(len(gallery_labels))
    codes = encode_labels(query_labels, gallery_labels, own_rows, class_names)
    for name, array, labels in (('gallery', gallery, codes.gallery), ('queries', queries, codes.queries)):
        if len(array) != len(labels):
            raise RetrievalError(f'{name}: there are {len(array)} embeddings but {len(labels)} labels')
    search = exact_searcher(gallery, queries, metric, codes.own_rows)
    return evaluate(search, codes, ks, whole_ranking, memory_limit)


def exact_searcher(gallery: np.ndarray, queries: np.ndarray, metric: str, own_rows: np.ndarray) -> Search:
    """A search that compares with the whole gallery.

    Args:
        gallery: Floating point, (n, d).
        queries: Floating point, (m, d).
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        own_rows: int64, (m,), the gallery row that is the query itself, -1 for none.

    Returns:
        Callable: As :func:`.query_scores.evaluate` needs it.

    Raises:
        RetrievalError: If the metric is unknown or embeddings cannot be used.
    """
    if metric not in METRICS:
        raise RetrievalError(f'metric must be one of {", ".join(METRICS)}, got {metric!r}')
    of_gallery = check_embeddings(gallery, 'gallery')
    of_queries = of_gallery if queries is gallery else check_embeddings(queries, 'queries')
    if of_gallery.shape[1] != of_queries.shape[1]:
        raise RetrievalError(
            f'gallery has {of_gallery.shape[1]} columns and queries {of_queries.shape[1]}: use one model for both'
        )
    if metric == 'cosine':
        same = of_queries is of_gallery
        of_gallery = unit_length(of_gallery, 'gallery')
        of_queries = of_gallery if same else unit_length(of_queries, 'queries')
    faiss = import_faiss()
    index = (faiss.IndexFlatL2 if metric == 'l2' else faiss.IndexFlatIP)(of_gallery.shape[1])
    index.add(of_gallery)
    if not (own_rows >= 0).any():
        return lambda places, k: index.search(of_queries[places], min(k, index.ntotal))[1]

    def search(places: np.ndarray, k: int) -> np.ndarray:
        rows = index.search(of_queries[places], min(k + 1, index.ntotal))[1]
        return without_own(rows, own_rows[places])

    return search
