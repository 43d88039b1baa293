"""How far an approximate index looks: measured when it is built, and farther under a filter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import RetrievalError
from ..vectors import import_faiss, unit_length
from .exact import FEW_QUERIES, nearest
from .faiss_calls import filters_inside, innermost, rows_of, run_search
from .presets import candidates, preset_of

NUM_QUERIES = 256
K = 10
TARGET = 0.95  # share of the K nearest rows that should be found
# Two doublings that each find less than this share of what is missing: codes, not effort, are the limit.
LEAST_GAIN = 0.01
MAX_QUEUE = 2048
_FIRST_QUEUE = 16
# Filters that let nearly all rows through change nothing: such are tombstones between two compactions.
NEARLY_ALL = 0.9
# Distances that a graph computes for each row that it keeps in its queue, about.
STEPS_PER_CANDIDATE = 16
GPU_COMPARED = 16_384  # by the CPU, rather than inside a copy on the GPU: not measured
PARAMETERS = ('nprobe', 'max_codes', 'efSearch')


class Effort(NamedTuple):
    """How many inverted lists (``nprobe``) or queued rows of a graph (``efSearch``) an index looks at for each query.

    ``recall`` is the share of the nearest rows that this many find; more than ``most`` changes nothing.
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


def calibrate(index: Any, vectors: Any, metric: str, preset: str, target: float | None = None) -> Effort | None:
    """Set the smallest ``nprobe`` or ``efSearch``, to an eighth, that finds 95 % of the 10 nearest rows.

    256 queries like the rows are searched for (see :func:`draw_queries`), with as many candidates as searches take that
    re-score them. Where product-quantised codes keep an index below 95 %, it is the smallest value that finds nearly as
    many as larger ones. The cost is that of 512 exact queries and 256 approximate ones at each step: little beside the
    assignment of every row to a list. Queries unlike the rows may find less: raise the parameter for those searches.

    ``vectors`` are the rows, float32 (n, d), or a ``faiss.IndexFlat`` of them, which may be a file larger than memory.
    Another ``target`` than 95 % may be asked for. The parameter is set in the index, so that its file carries it. None
    for an index that has neither parameter, or has fewer than two rows.
    """
    count = len(rows_of(vectors))
    if _parameter(index) is None or count < 2:
        return None
    queries = draw_queries(vectors, metric, NUM_QUERIES)
    truth = nearest(vectors, queries, min(K, count), metric)[1]
    return reach_recall(index, queries, truth, preset, TARGET if target is None else target)


def reach_recall(index: Any, queries: np.ndarray, truth: np.ndarray, preset: str, wanted: float) -> Effort | None:
    """Set the smallest parameter of an index, to an eighth, that finds a share of known neighbours of queries.

    As :func:`calibrate`, with float32 (m, d) queries and the row numbers ``truth`` (m, k) of their nearest rows.
    """
    effort = _parameter(index)
    if effort is None:
        return None
    name, values, most, apply = effort
    depth = min(candidates(preset_of(preset), truth.shape[1]), index.ntotal)
    tried: dict[int, float] = {}

    def share(value: int) -> float:
        apply(max(value, depth) if name == 'efSearch' else value)
        found = run_search(index, queries, depth)[1]
        tried[value] = float((found[:, :, None] == truth[:, None, :]).any(1).mean())
        return tried[value]

    for value in values:
        if share(value) >= wanted or _is_level(list(tried.values())):
            break
    best = max(tried.values())
    enough = min(wanted, best - LEAST_GAIN * (1 - best))
    value = next(value for value, recall in tried.items() if recall >= enough)
    least = max((other for other in tried if other < value), default=value)
    while value - least > max(1, value // 8):  # halve the step that was too large
        middle = (least + value) // 2
        least, value = (least, middle) if share(middle) >= enough else (middle, value)
    apply(value)
    return Effort(name, value, most, tried[value], len(queries))


def draw_queries(vectors: Any, metric: str, count: int) -> np.ndarray:
    """Queries that lie among the rows without being one of them, float32 (min(n, count), d), as they are compared.

    A row itself would be too easy: a graph links it with its neighbours. So each row drawn is moved by the difference
    of two of its neighbours: about as far as neighbours lie from each other, in a direction in which rows do lie.
    """
    rows, generator = rows_of(vectors), np.random.default_rng(0)
    drawn = np.sort(generator.permutation(len(rows))[:count])
    queries = np.ascontiguousarray(rows[drawn])
    near = nearest(vectors, queries, min(K + 1, len(rows)), 'l2')[1]
    near = near[:, 1:] if near.shape[1] > 2 else near  # the first is the row itself
    first, second = np.take_along_axis(near, generator.permuted(np.indices(near.shape)[1], axis=1)[:, :2], axis=1).T
    moved = queries + (rows[first] - rows[second])
    return unit_length(moved) if metric == 'cosine' else moved


def plan_effort(
    index: Any,
    depth: int,
    count: int,
    overrides: Mapping[str, int] | None = None,
    queries: int = 1,
    on_gpu: bool = False,
) -> dict[str, int] | None:
    """Search parameters with which as many ALLOWED rows are compared as rows are without a filter.

    Where a tenth of the rows is allowed, ten times as many inverted lists or candidates are visited. At the same
    effort, the nearest allowed rows would mostly lie beyond them: k rows would be found, but the wrong ones. Parameters
    of the caller (``overrides``) stay. None where the ``count`` allowed rows should be compared one by one, because
    FAISS cannot filter inside this kind of index, or because that costs less: see :func:`most_compared`.
    """
    planned = dict(overrides or {})
    share = count / index.ntotal
    if share < 1:
        most = most_compared(index, depth, queries)
        if not filters_inside(index) or count <= (min(most, GPU_COMPARED) if on_gpu else most):
            return None
    faiss = import_faiss()
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVF):
        if share < NEARLY_ALL and 'nprobe' not in planned:
            planned['nprobe'] = min(inner.nlist, math.ceil(inner.nprobe / share))
    elif isinstance(inner, faiss.IndexHNSW):
        queue = int(planned.get('efSearch', inner.hnsw.efSearch))
        if share < NEARLY_ALL and 'efSearch' not in planned:
            # Without a filter, it holds at least the candidates, and never more than there are rows.
            queue = min(index.ntotal, math.ceil(max(queue, depth) / share))
        # A graph returns no more rows than it keeps in its queue.
        if max(queue, depth) != inner.hnsw.efSearch:
            planned['efSearch'] = max(queue, depth)
    return planned


def most_compared(index: Any, depth: int, queries: int) -> int:
    """Up to how many allowed rows are found faster by comparing them one by one than inside an index.

    A share s of the rows costs s n comparisons one by one. Inside inverted lists, n nprobe / (nlist s) rows are tested
    for it, and inside a graph about 16 queues of efSearch / s, so that both are as fast at a share that grows with the
    square root of what calibration found necessary for the gallery. The factors were measured with 40,000 and 490,000
    real rows: see docs/reference/index_sizes.md. Few queries cannot share a copy of the rows, and a scan tests each row
    anyway.
    """
    faiss, inner, rows = import_faiss(), innermost(index), index.ntotal
    slower = 5 if queries <= FEW_QUERIES else 1
    if isinstance(inner, faiss.IndexIVF):
        share = inner.nprobe / inner.nlist / (3 * slower)
    elif isinstance(inner, faiss.IndexHNSW):
        share = STEPS_PER_CANDIDATE * max(inner.hnsw.efSearch, depth) / rows / slower
    else:
        return rows // (2 * slower)
    return int(math.sqrt(share) * rows)


def parse_parameters(texts: Sequence[str]) -> dict[str, int] | None:
    """Search parameters as people type them, such as ``'nprobe=64'``; None for none."""
    parsed = {}
    for text in texts:
        name, _, value = text.partition('=')
        if not name or not value.isdecimal():
            raise RetrievalError(f'a search parameter is written as nprobe=64, got {text!r}')
        parsed[name] = int(value)
    return parsed or None


def check_effort(parameters: Mapping[str, int] | None, indexes: Sequence[Any]) -> None:
    """Refuse parameters that an index does not have, also where a search compares rows one by one.

    ``indexes`` are those of the parts, None for a part of which every row is compared.
    """
    known = {name for index in indexes for name in _names(index)}
    for name, value in (parameters or {}).items():
        if name not in PARAMETERS:
            raise RetrievalError(f'searches have no parameter {name!r}; they have: {", ".join(PARAMETERS)}')
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise RetrievalError(f'{name} must be a whole number of at least 1, got {value!r}')
        if indexes and not any(index is not None for index in indexes):
            raise RetrievalError(f'the index has no parameter {name!r}: it compares every row; leave {name} out')
        if indexes and name not in known:
            raise RetrievalError(f'the index has no parameter {name!r}; it has: {", ".join(sorted(known)) or "none"}')


def _names(index: Any) -> tuple[str, ...]:
    """Parameters of searches in an index."""
    faiss = import_faiss()
    inner = None if index is None else innermost(index)
    if isinstance(inner, faiss.IndexIVF):
        return 'nprobe', 'max_codes'
    return ('efSearch',) if isinstance(inner, faiss.IndexHNSW) else ()


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
