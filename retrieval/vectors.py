"""What every embedding goes through before FAISS sees it, and the import of FAISS itself."""

from types import ModuleType

import numpy as np

from .errors import RetrievalError

METRICS = ('cosine', 'ip', 'l2')


def check_embeddings(array: np.ndarray, name: str = 'embeddings', dimension: int | None = None) -> np.ndarray:
    """Embeddings in the form that FAISS needs.

    Args:
        array: Floating point, (n, d).
        name: What messages call it.
        dimension: d that is expected. Defaults to any.

    Returns:
        float32, (n, d), contiguous; the array itself where it is that already.

    Raises:
        RetrievalError: If it is not a matrix of finite floating point numbers of that width, or is empty.
    """
    array = np.asarray(array)
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
    """Rows scaled to length 1, which makes their inner product the cosine similarity.

    Args:
        array: float32, (n, d).
        name: What messages call it.

    Returns:
        float32, (n, d).

    Raises:
        RetrievalError: If a row is all zeros.
    """
    norms = np.sqrt(np.einsum('ij,ij->i', array, array))[:, None]
    if not np.isfinite(norms).all():  # of numbers whose squares are too large for float32
        norms = np.linalg.norm(array.astype(np.float64), axis=1, keepdims=True)
    if not norms.all():
        raise RetrievalError(f'{name}: row {int(norms.argmin())} is all zeros, which has no cosine similarity')
    return (array / norms).astype(np.float32, copy=False)


def import_faiss() -> ModuleType:
    """The module ``faiss``.

    Returns:
        FAISS.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError('Image search needs FAISS: pip install faiss-cpu (or faiss-gpu on Linux x86_64).') from error
    return faiss


def faiss_metric(metric: str) -> int:
    """FAISS's number of a metric.

    Args:
        metric: ``'cosine'`` (rows must be unit length), ``'ip'`` or ``'l2'``.

    Returns:
        ``METRIC_INNER_PRODUCT`` or ``METRIC_L2``.

    Raises:
        RetrievalError: If the metric is unknown.
    """
    faiss = import_faiss()
    if metric not in METRICS:
        raise RetrievalError(f'metric must be one of {METRICS}, got {metric!r}')
    return faiss.METRIC_L2 if metric == 'l2' else faiss.METRIC_INNER_PRODUCT
