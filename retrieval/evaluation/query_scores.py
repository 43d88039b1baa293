"""Scores of every query from its ranking, a block of queries at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import RetrievalError
from ..metrics import average_precisions, average_precisions_at_r, precisions_at_r
from .labels import LabelCodes, Labels, encode_labels
from .report import RetrievalReport, summarize

DEFAULT_KS = (1, 2, 4, 8)
DEFAULT_MEMORY = 256 << 20
# Of FAISS and of what is computed from a ranking; 16 to 27 are measured.
BYTES_PER_NEIGHBOR = 40
MAX_BLOCK = 1024

# Gallery rows (b, k), best first, the query itself left out and -1 for none, of the queries at b places.
Search = Callable[[np.ndarray, int], np.ndarray]


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
        gallery_labels: Likewise, (n,).
        own_rows: Integers, (m,), the gallery row that is the query itself, which is left out of its neighbours; -1 for
            none. Defaults to none at all.
        ks: Values of k of Recall@k, >= 1. Defaults to (1, 2, 4, 8).
        whole_ranking: Report mAP. Defaults to whether the rankings are as long as the gallery.
        class_names: Names by label, of labels that are integers from 0.

    Returns:
        Metrics over queries, over classes, and of each class.

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
    needed = _depth(codes.num_relevant(), ks, whole_ranking, available)
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

    Queries are searched in blocks of similar R, so that only queries of large classes need long rankings.

    Args:
        search: From places of queries, int64 (b,), and k to gallery rows, int64 (b, k or more, fewer if there are no
            more), best first, the query itself left out; -1 for none.
        codes: Classes of queries and gallery.
        ks: Values of k of Recall@k, >= 1. Defaults to (1, 2, 4, 8).
        whole_ranking: Rank the whole gallery for every query, which mAP needs.
        memory_limit: Bytes that the rankings of a block may take, about. Defaults to 256 MiB.
        exact: A short search gives the start of a long one, so that one search will do. An approximate index finds more
            the more it is asked for: Recall@k must then not come from a long search.

    Returns:
        Metrics over queries, over classes, and of each class.

    Raises:
        RetrievalError: If an argument is out of range, or no query has a relevant image.
    """
    if not ks or min(ks) < 1 or memory_limit < 1:
        raise RetrievalError(f'every k of Recall@k, and memory_limit, must be at least 1, got {tuple(ks)}')
    num_relevant = codes.num_relevant()
    counted = np.flatnonzero(num_relevant)
    counted = counted[np.argsort(num_relevant[counted], kind='stable')[::-1]]
    names = [f'Recall@{k}' for k in ks] + ['R-Precision', 'MAP@R'] + ['mAP'] * whole_ranking
    values = {name: np.full(len(num_relevant), np.nan) for name in names}
    labels = np.append(codes.gallery, -1)  # of row -1, which stands for no neighbour
    start = 0
    while start < len(counted):
        depths = [max(ks), int(num_relevant[counted[start]]), *[len(codes.gallery)] * whole_ranking]
        depths = [min(max(depths) if exact else depth, len(codes.gallery)) for depth in depths]
        size = memory_limit // (BYTES_PER_NEIGHBOR * max(depths))
        places = counted[start : start + int(np.clip(size, 1, MAX_BLOCK))]
        found = {depth: labels[search(places, depth)] == codes.queries[places, None] for depth in sorted(set(depths))}
        for name, scores in zip(names, _score([found[depth] for depth in depths], num_relevant[places], ks)):
            values[name][places] = scores
        start += len(places)
    return summarize(values, codes)


def without_own(ids: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Neighbours of queries that were searched among themselves.

    Args:
        ids: Integers, (m, k), best first.
        own: Integers, (m,), what stands for each query itself; -1 for nothing.

    Returns:
        (m, k); -1 at the end of a query that was among its neighbours. That need not be the first of them: equal
        embeddings come in any order.
    """
    return np.pad(ids, ((0, 0), (0, 1)), constant_values=-1)[keeps_others(ids, own)].reshape(ids.shape)


def keeps_others(ids: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Which neighbours are not the query itself, of k and one more at the end.

    Args:
        ids: Integers, (m, k), best first.
        own: Integers, (m,), what stands for each query itself; -1 for nothing.

    Returns:
        bool, (m, k + 1), k true in each row.
    """
    kept = np.ones((len(ids), ids.shape[1] + 1), bool)
    kept[:, :-1] = (ids != own[:, None]) | (own < 0)[:, None]
    kept[:, -1] = ~kept.all(axis=1)
    return kept


def _depth(num_relevant: np.ndarray, ks: Sequence[int], whole_ranking: bool, num_gallery: int) -> int:
    """Neighbours that a query needs, itself left out."""
    return num_gallery if whole_ranking else min(num_gallery, max(int(num_relevant.max()), *ks))


def _score(relevant: Sequence[np.ndarray], num_relevant: np.ndarray, ks: Sequence[int]) -> list[np.ndarray]:
    """Scores from rankings that are deep enough for recall, for R, and maybe for the whole gallery."""
    of_recall, of_r, *whole = relevant
    scores = [of_recall[:, :k].any(axis=1) for k in ks]
    scores += [precisions_at_r(of_r, num_relevant), average_precisions_at_r(of_r, num_relevant)]
    return scores + [average_precisions(ranking, num_relevant) for ranking in whole]
