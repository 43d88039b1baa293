"""Search of one part: exact or approximate, with filters and tombstones inside the search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..hits import best_first
from ..vectors import import_faiss
from .effort import plan_effort
from .exact import nearest_of, score_candidates
from .faiss_calls import bitmap_selector, run_search, search_parameters
from .gpu import MAX_K
from .part import Part
from .presets import PRESETS, candidates, preset_of

# So many tombstones are searched along and dropped: the result is exact, and FAISS keeps its fast path.
OVERFETCH = 64
_SAFETY = 2.0

Found = tuple[np.ndarray, np.ndarray]


def search_part(
    part: Part,
    queries: np.ndarray,
    k: int,
    metric: str,
    allowed: np.ndarray | None = None,
    rescore: int | None = None,
    parameters: Mapping[str, int] | None = None,
    searcher: Any = None,
) -> Found:
    """Best rows of a part for queries float32 (m, d), of unit length for ``'cosine'``.

    Only ``allowed`` rows, bool (n,) without tombstones, are returned. A copy on the GPU (``searcher``) is used where
    its result is the same. Returns scores float32 and row numbers int64, (m, min(k, allowed rows)), best first; -1 only
    where an approximate index without a filter found fewer.
    """
    count = len(part) if allowed is None else int(allowed.sum())
    k = min(k, count)
    if k == 0:
        return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    if part.approximate is None:
        found = _search_copy(part, queries, k, metric, allowed, searcher)
        return _search_flat(part, queries, k, metric, allowed) if found is None else found
    depth = min(candidates(preset_of(part.preset), k, rescore), count)
    effort = plan_effort(part.approximate, depth, count, parameters, len(queries), searcher is not None)
    if effort is None:
        return _search_flat(part, queries, k, metric, allowed)
    scores, rows = _search_approximate(part, queries, depth, metric, allowed, effort, searcher)
    if allowed is not None and not (allowed[rows] | (rows < 0)).all():  # a kind of index that ignored the filter
        return _search_flat(part, queries, k, metric, allowed)
    if depth > k or rescore:
        scores, rows = _rescore(part, queries, rows, k, metric)
    incomplete = np.flatnonzero(rows[:, -1] < 0)  # inverted lists and graphs that a query reached held too few rows
    if len(incomplete):
        scores[incomplete], rows[incomplete] = _search_flat(part, queries[incomplete], k, metric, allowed)
    return scores, rows


def search_overfetch(
    search: Callable[[np.ndarray, int], Found], queries: np.ndarray, k: int, allowed: np.ndarray, limit: int
) -> Found | None:
    """Best k allowed rows of every query, (m, k), from a search that knows no filter; None where it cannot be certain.

    What a search of depth r returns are its r best rows in order; if k of them are allowed, these are the k best
    allowed ones. So the result is as exact as the search, or it is not given. ``limit`` is the largest depth of the
    search, such as the 2048 of FAISS on GPUs.
    """
    total, count = len(allowed), int(allowed.sum())
    if not 1 <= k <= count:
        raise ValueError(f'k must be from 1 to the {count} allowed rows, got {k}')
    # Among allowed rows like the others, twice the expected depth; all that are not allowed at most.
    depth = min(k + total - count, math.ceil(_SAFETY * k * total / count) + 16, limit)
    if depth < k or limit * count < k * total:  # so deep a search would hardly meet k allowed rows
        return None
    scores, rows = search(queries, depth)
    is_allowed = allowed[np.maximum(rows, 0)] & (rows >= 0)
    if (is_allowed.sum(axis=1) < k).any():
        return None
    order = np.argsort(~is_allowed, axis=1, kind='stable')[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _search_flat(part: Part, queries: np.ndarray, k: int, metric: str, allowed: np.ndarray | None) -> Found:
    if allowed is None:
        return run_search(part.vectors, queries, k)
    if len(part) - int(allowed.sum()) <= OVERFETCH:
        found = search_overfetch(partial(run_search, part.vectors), queries, k, allowed, k + OVERFETCH)
        if found is not None:
            return found
    return nearest_of(part.vectors, np.flatnonzero(allowed), queries, k, metric)


def _search_copy(
    part: Part, queries: np.ndarray, k: int, metric: str, allowed: np.ndarray | None, searcher: Any
) -> Found | None:
    """Exact search on the GPU; where its rows are 16-bit numbers, whole vectors score the best candidates again."""
    if searcher is None:
        return None
    count = len(part) if allowed is None else int(allowed.sum())
    depth = k if searcher.is_exact else min(candidates(PRESETS['fp16'], k), count)
    found = _search_gpu(searcher, queries, depth, allowed)
    if found is None or (found[1] < 0).any():
        return None
    return found if searcher.is_exact else _rescore(part, queries, found[1], k, metric)


def _search_gpu(
    searcher: Any, queries: np.ndarray, k: int, allowed: np.ndarray | None, effort: Mapping[str, int] | None = None
) -> Found | None:
    """Search on the GPU; None where it cannot, or where a filter leaves it uncertain: what GPUs do is decided here.

    Copies that filter inside their search get the filter, and what they return is checked. The others are searched
    deeper, and the result is given where it is certain.
    """
    if searcher is None or k > MAX_K or (effort and (set(effort) != {'nprobe'} or effort['nprobe'] > MAX_K)):
        return None
    if allowed is not None and searcher.takes_filters:
        scores, rows = searcher.search(queries, k, allowed, effort)
        return (scores, rows) if (allowed[rows] | (rows < 0)).all() else None
    if effort:
        return None
    if allowed is None:
        return searcher.search(queries, k)
    return search_overfetch(searcher.search, queries, k, allowed, MAX_K)


def _search_approximate(
    part: Part,
    queries: np.ndarray,
    depth: int,
    metric: str,
    allowed: np.ndarray | None,
    effort: Mapping[str, int],
    searcher: Any,
) -> Found:
    found = _search_gpu(searcher, queries, depth, allowed, effort)
    if found is None:
        selector = None if allowed is None else bitmap_selector(allowed)
        settings = search_parameters(part.approximate, selector, effort)
        found = run_search(part.approximate, queries, depth, settings)
    scores, rows = found
    if metric == 'cosine' and part.approximate.metric_type == import_faiss().METRIC_L2:
        scores = 1 - scores / 2  # rows and queries are of unit length: |q - x|^2 = 2 - 2 <q, x>
    return scores, rows


def _rescore(part: Part, queries: np.ndarray, rows: np.ndarray, k: int, metric: str) -> Found:
    """The best k of each query's candidates by exact scores."""
    return best_first(score_candidates(part.vectors, queries, rows, metric), rows, k, metric)
