"""Exact nearest neighbours with FAISS."""

import numpy as np

from .vectors import METRICS, check_embeddings, import_faiss, unit_length


def exact_search(
    gallery: np.ndarray, queries: np.ndarray, k: int, metric: str = 'cosine', batch_size: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """Best k gallery rows of every query, by comparing with all of them.

    Args:
        gallery: float32, (n, d).
        queries: float32, (m, d).
        k: Neighbours per query, >= 1. More than the gallery has returns the whole gallery.
        metric: ``'cosine'``, ``'ip'`` (inner product) or ``'l2'``.
        batch_size: Queries compared at a time, >= 1; bounds memory.

    Returns:
        Scores float32, (m, min(k, n)): cosine similarity -1 to 1, inner product, or SQUARED Euclidean distance; and
        gallery rows int64, (m, min(k, n)). Best first: the largest similarity or the smallest distance.

    Raises:
        ValueError: If shapes or arguments are out of range, an embedding is not finite, or cosine meets a zero vector.
        ImportError: If FAISS is not installed.
    """
    if metric not in METRICS:
        raise ValueError(f'metric must be one of {METRICS}, got {metric!r}')
    if k < 1 or batch_size < 1:
        raise ValueError(f'k and batch_size must be at least 1, got {k} and {batch_size}')
    gallery, queries = check_embeddings(gallery, 'gallery'), check_embeddings(queries, 'queries')
    if gallery.shape[1] != queries.shape[1]:
        raise ValueError(
            f'gallery has {gallery.shape[1]} columns and queries {queries.shape[1]}: use one model for both'
        )
    if metric == 'cosine':
        gallery, queries = unit_length(gallery, 'gallery'), unit_length(queries, 'queries')
    faiss = import_faiss()
    index = (faiss.IndexFlatIP if metric != 'l2' else faiss.IndexFlatL2)(gallery.shape[1])
    index.add(gallery)
    k = min(k, len(gallery))
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), batch_size):
        batch = slice(start, start + batch_size)
        scores[batch], rows[batch] = index.search(queries[batch], k)
    return scores, rows
