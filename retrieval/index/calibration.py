"""How far an index looks by default: as far as its own rows need, measured when it is built."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..vectors import faiss_metric, import_faiss, unit_length
from .factories import candidates, preset_of
from .parameters import innermost, run_search

NUM_QUERIES = 256
K = 10
# Share of the K nearest rows that should be found.
TARGET = 0.95
# Two doublings that each find less than this share of what is missing: codes, not effort, are the limit.
LEAST_GAIN = 0.01
MAX_QUEUE = 2048
_FIRST_QUEUE = 16


class Effort(NamedTuple):
    """What an index looks at for each query.

    Attributes:
        name: ``'nprobe'``, inverted lists, or ``'efSearch'``, rows that a graph keeps in its queue.
        value: How many.
        most: The largest value that changes anything.
        recall: Share of the nearest rows that it found, 0 to 1.
        queries: How many were searched for.
    """

    name: str
    value: int
    most: int
    recall: float
    queries: int

    def __str__(self) -> str:
        return (
            f'{self.name} {self.value} (of {self.most}) finds {100 * self.recall:.1f} % of the {K} nearest rows of '
            f'{self.queries} queries drawn near the rows.'
        )


def calibrate(index: Any, rows: np.ndarray, metric: str, preset: str, seed: int = 0) -> Effort | None:
    """Set the smallest ``nprobe`` or ``efSearch``, a power of two, that finds 95 % of the 10 nearest rows.

    256 queries like the rows are searched for, see :func:`draw_queries`, with as many candidates as searches take that
    re-score them. Where product-quantised codes keep an index below 95 %, it is the smallest value that finds nearly as
    many as larger ones. The cost is that of 512 exact queries and 256 approximate ones at each step: little beside the
    assignment of every row to a list. Queries unlike the rows may find less: raise the parameter for those searches.

    Args:
        index: Trained and filled; the parameter is set in it, so that its file carries it.
        rows: float32, (n, d), that it was filled with; may be memory-mapped.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        preset: A key of ``PRESETS`` or a factory string.
        seed: Of the rows drawn.

    Returns:
        Effort: None for an index that has neither parameter, or has less than two rows.
    """
    effort = _parameter(index)
    if effort is None or len(rows) < 2:
        return None
    name, values, most, apply = effort
    queries = draw_queries(rows, metric, NUM_QUERIES, seed)
    k = min(K, len(rows))
    truth = import_faiss().knn(queries, rows, k, index.metric_type)[1]
    depth = min(candidates(preset_of(preset), k), len(rows))
    tried: list[tuple[int, float]] = []
    for value in values:
        apply(max(value, depth) if name == 'efSearch' else value)
        found = run_search(index, queries, depth)[1]
        tried.append((value, float((found[:, :, None] == truth[:, None, :]).any(1).mean())))
        if tried[-1][1] >= TARGET or _is_level([recall for _, recall in tried]):
            break
    best = max(recall for _, recall in tried)
    enough = min(TARGET, best - LEAST_GAIN * (1 - best))
    value, found_share = next((value, recall) for value, recall in tried if recall >= enough)
    apply(value)
    return Effort(name, value, most, found_share, len(queries))


def draw_queries(rows: np.ndarray, metric: str, count: int, seed: int = 0) -> np.ndarray:
    """Queries that lie among the rows without being one of them.

    A row itself would be too easy: a graph links it with its neighbours. So each row drawn is moved by the difference
    of two of its neighbours: about as far as neighbours lie from each other, in a direction in which rows do lie.

    Args:
        rows: float32, (n, d), n >= 2; may be memory-mapped.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        count: How many at most.
        seed: Of the draws.

    Returns:
        float32, (min(n, count), d), unit length for ``'cosine'``.
    """
    generator = np.random.default_rng(seed)
    drawn = np.sort(generator.permutation(len(rows))[:count])
    queries = np.ascontiguousarray(rows[drawn])
    near = import_faiss().knn(queries, rows, min(K + 1, len(rows)), faiss_metric('l2'))[1]
    near = near[:, 1:] if near.shape[1] > 2 else near  # the first is the row itself
    first, second = np.take_along_axis(near, generator.permuted(np.indices(near.shape)[1], axis=1)[:, :2], axis=1).T
    moved = queries + (rows[first] - rows[second])
    return unit_length(moved) if metric == 'cosine' else moved


def _parameter(index: Any) -> tuple[str, Iterator[int], int, Callable[[int], None]] | None:
    """Name, values to try, largest value, and how to set it."""
    faiss = import_faiss()
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVF):
        return 'nprobe', _doublings(1, inner.nlist), inner.nlist, lambda value: setattr(inner, 'nprobe', value)
    if isinstance(inner, faiss.IndexHNSW):
        most = max(_FIRST_QUEUE, min(MAX_QUEUE, inner.ntotal))
        return 'efSearch', _doublings(_FIRST_QUEUE, most), most, lambda value: setattr(inner.hnsw, 'efSearch', value)
    return None


def _doublings(first: int, most: int) -> Iterator[int]:
    value = first
    while value < most:
        yield value
        value *= 2
    yield most


def _is_level(recalls: list[float]) -> bool:
    least = LEAST_GAIN * (1 - recalls[-1])
    return len(recalls) > 2 and all(after - before < least for before, after in zip(recalls[-3:], recalls[-2:]))
