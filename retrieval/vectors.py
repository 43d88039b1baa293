"""Embeddings on their way to FAISS: checks, unit length, and the plain exact search."""

import os
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from .errors import RetrievalError
from .records import check_count

METRICS = ('cosine', 'ip', 'l2')


def as_array(array: Any, name: str) -> np.ndarray:
    """What callers pass as an array of NumPy; RetrievalError for what NumPy cannot read, as bfloat16 of PyTorch."""
    try:
        return np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RetrievalError(
            f'{name} cannot be read as an array ({error}): give float32, of PyTorch x.detach().float().cpu().numpy()'
        ) from error


def check_embeddings(array: np.ndarray, name: str = 'embeddings', dimension: int | None = None) -> np.ndarray:
    """Embeddings in the form that FAISS needs: float32, (n, d), contiguous; the array itself where it is that already.

    RetrievalError if it is not a matrix of finite floating point numbers of that width, or is empty.
    """
    array = as_array(array, name)
    if array.dtype.kind != 'f':
        raise RetrievalError(f'{name} must be floating point, got {array.dtype}: convert them with .astype("float32")')
    if array.ndim != 2 or 0 in array.shape:
        raise RetrievalError(f'{name} must be (n, d) with at least one row, got shape {array.shape}')
    if dimension is not None and array.shape[1] != dimension:
        raise RetrievalError(
            f'{name} have {array.shape[1]} columns, the index {dimension}: use the model that made the index'
        )
    array = np.ascontiguousarray(array, dtype=np.float32)
    # A sum of squares is finite only if all of its numbers are: one pass, where looking at each number takes two.
    if not np.isfinite(np.einsum('ij,ij->i', array, array)).all():
        finite = np.isfinite(array).all(axis=1)
        if finite.all():
            return array  # large numbers
        raise RetrievalError(f'{name}: row {int(finite.argmin())} has NaN or infinity, which no metric can rank')
    return array


def unit_length(array: np.ndarray, name: str = 'embeddings') -> np.ndarray:
    """Rows float32 (n, d) scaled to length 1, so that inner products are cosines; RetrievalError for a row of zeros."""
    norms = np.sqrt(np.einsum('ij,ij->i', array, array))[:, None]
    if not np.isfinite(norms).all() or norms.min() < 1e-15:  # squares that are too large or small for float32
        norms = np.linalg.norm(array.astype(np.float64), axis=1, keepdims=True)
    if not norms.all():
        raise RetrievalError(f'{name}: row {int(norms.argmin())} is all zeros, which has no cosine similarity')
    return (array / norms).astype(np.float32, copy=False)


def import_faiss() -> ModuleType:
    """The module ``faiss``, which takes a third of a second to import and is not always needed."""
    try:
        import faiss
    except ModuleNotFoundError:
        raise ImportError('Image search needs FAISS: pip install faiss-cpu (or faiss-gpu on Linux x86_64).') from None
    _survive_forks()
    return faiss


@cache
def _survive_forks() -> None:
    """Let forked processes search with one thread: they would wait for ever for the OpenMP threads of the parent.

    See https://github.com/facebookresearch/faiss/issues/5206.
    """
    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=lambda: import_faiss().omp_set_num_threads(1))


def faiss_metric(metric: str) -> int:
    """FAISS's number for a metric: that of the inner product for ``'cosine'`` (of unit vectors) and ``'ip'``."""
    faiss = import_faiss()
    if not isinstance(metric, str) or metric not in METRICS:
        raise RetrievalError(f'metric must be one of {", ".join(METRICS)}, got {metric!r}')
    return faiss.METRIC_L2 if metric == 'l2' else faiss.METRIC_INNER_PRODUCT


def exact_index(gallery: np.ndarray, queries: np.ndarray, metric: str) -> tuple[Any, np.ndarray]:
    """A ``faiss.IndexFlat`` of gallery rows (n, d), and queries (m, d) as it compares them; both are checked."""
    number = faiss_metric(metric)
    rows = check_embeddings(gallery, 'gallery')
    vectors = rows if queries is gallery else check_embeddings(queries, 'queries')
    if rows.shape[1] != vectors.shape[1]:
        raise RetrievalError(
            f'gallery has {rows.shape[1]} columns and queries {vectors.shape[1]}: use one model for both'
        )
    if metric == 'cosine':
        same = vectors is rows
        rows = unit_length(rows, 'gallery')
        vectors = rows if same else unit_length(vectors, 'queries')
    index = import_faiss().IndexFlat(rows.shape[1], number)
    index.add(rows)
    return index, vectors


def exact_search(
    gallery: np.ndarray, queries: np.ndarray, k: int, metric: str = 'cosine', batch_size: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """Best k gallery rows of every query, by comparing with all of them; RetrievalError if arguments do not fit.

    Args:
        gallery: float32, (n, d).
        queries: float32, (m, d).
        k: Neighbours per query, >= 1. More than the gallery has returns the whole gallery.
        metric: ``'cosine'``, ``'ip'`` (inner product) or ``'l2'``.
        batch_size: Queries compared at a time, >= 1; bounds memory.

    Returns:
        Scores float32 (see :class:`retrieval.hits.Hits`) and gallery rows int64, (m, min(k, n)), best first.
    """
    check_count(k, 'k')
    check_count(batch_size, 'batch_size')
    index, queries = exact_index(gallery, queries, metric)
    k = min(k, index.ntotal)
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), batch_size):
        batch = slice(start, start + batch_size)
        scores[batch], rows[batch] = index.search(queries[batch], k)
    return scores, rows
