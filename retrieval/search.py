"""Exact nearest neighbours with FAISS."""

from types import ModuleType

import numpy as np

METRICS = ('cosine', 'l2')


def exact_search(
    gallery: np.ndarray, queries: np.ndarray, k: int, metric: str = 'cosine', batch_size: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """Best k gallery rows of every query, by comparing with all of them.

    Args:
        gallery (np.ndarray): float32, (n, d).
        queries (np.ndarray): float32, (m, d).
        k (int): Neighbours per query, >= 1. More than the gallery has returns the whole gallery.
        metric (str): ``'cosine'`` or ``'l2'``. Defaults to ``'cosine'``.
        batch_size (int): Queries compared at a time, >= 1; bounds memory. Defaults to 1024.

    Returns:
        tuple[np.ndarray, np.ndarray]: Scores float32, (m, min(k, n)): cosine similarity -1 to 1, or SQUARED Euclidean
        distance; and gallery rows int64, (m, min(k, n)). Best first: largest similarity, smallest distance.

    Raises:
        ValueError: If shapes or arguments are out of range, an embedding is not finite, or cosine meets a zero vector.
        ImportError: If FAISS is not installed.
    """
    if metric not in METRICS:
        raise ValueError(f'metric must be one of {METRICS}, got {metric!r}')
    if k < 1 or batch_size < 1:
        raise ValueError(f'k and batch_size must be at least 1, got {k} and {batch_size}')
    gallery, queries = _embeddings(gallery, 'gallery'), _embeddings(queries, 'queries')
    if gallery.shape[1] != queries.shape[1]:
        raise ValueError(
            f'gallery has {gallery.shape[1]} columns and queries {queries.shape[1]}: use one model for both'
        )
    if metric == 'cosine':
        gallery, queries = _unit_length(gallery, 'gallery'), _unit_length(queries, 'queries')
    faiss = _import_faiss()
    index = (faiss.IndexFlatIP if metric == 'cosine' else faiss.IndexFlatL2)(gallery.shape[1])
    index.add(gallery)
    k = min(k, len(gallery))
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), batch_size):
        batch = slice(start, start + batch_size)
        scores[batch], rows[batch] = index.search(queries[batch], k)
    return scores, rows


def _embeddings(array: np.ndarray, name: str) -> np.ndarray:
    """The array as contiguous float32, after checking it."""
    array = np.ascontiguousarray(array, dtype=np.float32)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f'{name} must be (n, d) with at least one row, got shape {array.shape}')
    if not np.isfinite(array).all():
        raise ValueError(f'{name} has a row with NaN or infinity, which no metric can rank')
    return array


def _unit_length(array: np.ndarray, name: str) -> np.ndarray:
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError(f'{name} has a row of zeros, which has no cosine similarity')
    return array / norms


def _import_faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise ImportError('Image search needs FAISS: pip install faiss-cpu (or faiss-gpu on Linux x86_64).') from error
    return faiss
