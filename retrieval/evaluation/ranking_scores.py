"""Scores of rankings: those of someone else, of an exact search among embeddings, or of any function that searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import RetrievalError
from ..hits import without_own
from ..metrics import metrics_of
from ..vectors import exact_index
from .evaluation_report import RetrievalReport, summarize
from .labels import LabelCodes, Labels, encode_labels

DEFAULT_KS = (1, 2, 4, 8)
DEFAULT_MEMORY = 256 << 20
BYTES_PER_NEIGHBOR = 40  # of FAISS and of what is computed from a ranking; 16 to 27 are measured
MAX_BLOCK = 1024

# Gallery rows (b, k), best first, the query itself left out and -1 for none, of the queries at b places.
Search = Callable[[np.ndarray, int], np.ndarray]


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
        queries: Floating point, (m, d); None to search each image of the gallery among all others.
        query_labels: As ``gallery_labels``, (m,); needed with ``queries``.
        own_rows: Integers, (m,), the gallery row that is the query itself, which is left out of its neighbours; -1 for
            none. Only with ``queries``; None for none at all.
        metric: ``'cosine'``, ``'ip'`` (inner product) or ``'l2'``.
        ks: Values of k of Recall@k, >= 1.
        whole_ranking: Whether to report mAP too, which sorts the whole gallery for every query.
        memory_limit: Bytes that a block of rankings may take, about; embeddings come on top.
        class_names: Names by label, for labels that are integers from 0.

    Raises:
        RetrievalError: If arrays do not belong together, an embedding is not finite, or no query has a relevant image.
    """
    if (queries is None) != (query_labels is None) or (queries is None and own_rows is not None):
        raise RetrievalError('queries and query_labels belong together, and own_rows to them: give both or neither')
    if queries is None or query_labels is None:
        queries, query_labels, own_rows = gallery, gallery_labels, np.arange(len(gallery_labels))
    codes = encode_labels(query_labels, gallery_labels, own_rows, class_names)
    for name, array, labels in (('gallery', gallery, codes.gallery), ('queries', queries, codes.queries)):
        if len(array) != len(labels):
            raise RetrievalError(f'{name}: there are {len(array)} embeddings but {len(labels)} labels')
    index, vectors = exact_index(gallery, queries, metric)
    has_own = bool((codes.own_rows >= 0).any())

    def search(places: np.ndarray, k: int) -> np.ndarray:
        rows = index.search(vectors[places], min(k + has_own, index.ntotal))[1]
        return without_own(rows, codes.own_rows[places]) if has_own else rows

    return evaluate(search, codes, ks, whole_ranking, memory_limit)


def evaluate_ranking(
    neighbors: np.ndarray,
    query_labels: Labels,
    gallery_labels: Labels,
    *,
    own_rows: np.ndarray | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    whole_ranking: bool | None = None,
    class_names: Sequence[str] | None = None,
) -> RetrievalReport:
    """How good rankings are that someone else has made.

    Args:
        neighbors: Integers, (m, r), gallery rows of each query, best first; -1 for none.
        query_labels: Integers or strings, (m,); None for no label.
        gallery_labels: The same of the gallery, (n,).
        own_rows: See :func:`evaluate_embeddings`, also for ``ks`` and ``class_names``.
        whole_ranking: Whether to report mAP; None to do so if the rankings are as long as the gallery.

    Raises:
        RetrievalError: If shapes do not belong together, rankings are too short, or no query has a relevant image.
    """
    neighbors = np.asarray(neighbors)
    codes = encode_labels(query_labels, gallery_labels, own_rows, class_names)
    if neighbors.ndim != 2 or len(neighbors) != len(codes.queries):
        raise RetrievalError(f'neighbors must be (m, r) for {len(codes.queries)} queries, got shape {neighbors.shape}')
    if neighbors.dtype.kind not in 'iu' or (neighbors.size and not -1 <= neighbors.min()):
        raise RetrievalError('neighbors must be rows of the gallery, or -1 for none')
    if neighbors.size and neighbors.max() >= len(codes.gallery):
        raise RetrievalError(f'neighbors has row {neighbors.max()}, but the gallery ends at {len(codes.gallery) - 1}')
    found_own = ((neighbors == codes.own_rows[:, None]) & (neighbors >= 0)).any(axis=1)
    width = neighbors.shape[1] - bool(found_own.any())
    available = len(codes.gallery) - bool((codes.own_rows >= 0).any())
    if whole_ranking is None:
        whole_ranking = width >= available
    most = int(codes.num_relevant().max())
    needed = min(available, max(one.depth(most, available) for one in metrics_of(ks, whole_ranking).values()))
    if width < needed:
        raise RetrievalError(
            f'rankings have {width} neighbors besides the query, but {needed} are needed: search with a larger k'
        )
    others = without_own(neighbors, codes.own_rows)
    return evaluate(lambda places, k: others[places, :k], codes, ks, whole_ranking)


def evaluate(
    search: Search,
    codes: LabelCodes,
    ks: Sequence[int] = DEFAULT_KS,
    whole_ranking: bool = True,
    memory_limit: int = DEFAULT_MEMORY,
    exact: bool = True,
) -> RetrievalReport:
    """Search with every query that has a relevant image, and score the rankings.

    Queries are searched in blocks of similar R, so that only queries of large classes need long rankings. ``exact``
    says that a short search gives the start of a long one, so that one search will do. An approximate index finds more
    the more it is asked for: Recall@k must then not come from a long search.
    """
    if not ks or min(ks) < 1 or memory_limit < 1:
        raise RetrievalError(f'every k of Recall@k, and memory_limit, must be at least 1, got {tuple(ks)}')
    num_relevant = codes.num_relevant()
    counted = np.flatnonzero(num_relevant)
    counted = counted[np.argsort(num_relevant[counted], kind='stable')[::-1]]
    metrics = metrics_of(ks, whole_ranking)
    values = {name: np.full(len(num_relevant), np.nan) for name in metrics}
    labels = np.append(codes.gallery, -1)  # of row -1, which stands for no neighbour
    size = len(codes.gallery)
    start = 0
    while start < len(counted):
        most = int(num_relevant[counted[start]])
        depths = {name: min(metric.depth(most, size), size) for name, metric in metrics.items()}
        recalls = [f'Recall@{k}' for k in ks]
        for names in (list(metrics),) if exact else (recalls,):
            depths.update(dict.fromkeys(names, max(depths[name] for name in names)))
        count = memory_limit // (BYTES_PER_NEIGHBOR * max(depths.values()))
        places = counted[start : start + int(np.clip(count, 1, MAX_BLOCK))]
        found = {
            depth: labels[search(places, depth)] == codes.queries[places, None]
            for depth in sorted(set(depths.values()))
        }
        for name, metric in metrics.items():
            values[name][places] = metric.scores(found[depths[name]], num_relevant[places])
        start += len(places)
    return summarize(values, codes)
