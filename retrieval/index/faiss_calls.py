"""Calls of FAISS that need care: filters inside a search, search parameters, rows of an index without a copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..vectors import faiss_metric, import_faiss
from .presets import PRESETS


def flat_index(dimension: int, metric: str) -> Any:
    """An empty ``faiss.IndexFlat``, which compares every row."""
    faiss = import_faiss()
    return faiss.IndexFlatL2(dimension) if faiss_metric(metric) == faiss.METRIC_L2 else faiss.IndexFlatIP(dimension)


def rows_of(vectors: Any) -> np.ndarray:
    """The rows of a ``faiss.IndexFlat``, float32 (n, d), without a copy, or the array itself.

    The index must outlive the rows. They are read-only where the index is a memory-mapped file.
    """
    if isinstance(vectors, np.ndarray):
        return vectors
    if not vectors.ntotal:
        return np.zeros((0, vectors.d), np.float32)
    numbers = import_faiss().rev_swig_ptr(vectors.get_xb(), vectors.ntotal * vectors.d)
    return numbers.reshape(vectors.ntotal, vectors.d)


def innermost(index: Any) -> Any:
    """The index behind the vector transforms (``IndexPreTransform``), as its own class."""
    faiss = import_faiss()
    index = faiss.downcast_index(index)
    while isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    return index


def run_search(index: Any, queries: np.ndarray, k: int, parameters: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """``index.search``, also where another library has replaced it by one for torch, which knows no parameters.

    Importing pytorch-metric-learning imports ``faiss.contrib.torch_utils``, which replaces the methods of all indexes.
    """
    return getattr(index, 'search_numpy', index.search)(queries, k, params=parameters)


def run_range_search(
    index: Any, queries: np.ndarray, radius: float, parameters: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``index.range_search`` with the same care as :func:`run_search`: limits, scores and row numbers."""
    return getattr(index, 'range_search_numpy', index.range_search)(queries, radius, params=parameters)


def all_scores(vectors: Any, query: np.ndarray) -> np.ndarray:
    """Scores of one query, float32 (d,), with all rows of a ``faiss.IndexFlat``, float32 (n,), at least one."""
    faiss = import_faiss()
    scores, query = np.empty(vectors.ntotal, np.float32), np.ascontiguousarray(query)
    compare = faiss.fvec_L2sqr_ny if vectors.metric_type == faiss.METRIC_L2 else faiss.fvec_inner_products_ny
    compare(faiss.swig_ptr(scores), faiss.swig_ptr(query), vectors.get_xb(), vectors.d, vectors.ntotal)
    return scores


def bitmap_selector(allowed: np.ndarray) -> Any:
    """FAISS's form of a mask, bool (n,), for a filter inside the search."""
    return import_faiss().IDSelectorBitmap(np.packbits(allowed, bitorder='little'))


def array_selector(allowed: np.ndarray) -> Any:
    """FAISS's form of a mask, bool (n,), for a filter inside a search on the GPU.

    Ids in place of bits: FAISS counts the length of a bitmap in bytes, its conversion for cuVS in bits
    (``convert_to_bitset_bitmap`` in faiss/gpu/utils/CuvsFilterConvert.cu).
    """
    return import_faiss().IDSelectorArray(np.flatnonzero(allowed))


def filters_inside(index: Any) -> bool:
    """Whether FAISS filters inside the search of an index, also behind vector transforms.

    False for kinds that know no filter, and for the inverted lists that raise an error when they are given one.
    """
    faiss = import_faiss()
    takes = (faiss.IndexIVF, faiss.IndexHNSW, *_scanned())
    refuse = (faiss.IndexIVFPQR, faiss.IndexIVFAdditiveQuantizer)
    inner = innermost(index)
    return isinstance(inner, takes) and not isinstance(inner, refuse)


def _scanned() -> tuple[type, ...]:
    """Kinds that compare every row with a query and take a filter, as far as this FAISS has them."""
    faiss = import_faiss()
    names = ('IndexFlat', 'IndexScalarQuantizer', 'IndexRaBitQ')
    return tuple(getattr(faiss, name) for name in names if hasattr(faiss, name))


def search_parameters(index: Any, selector: Any = None, overrides: Mapping[str, int] | None = None) -> Any:
    """``faiss.SearchParameters`` with a filter that is applied INSIDE the search; None where nothing asks for any.

    The selector must outlive the parameters. RetrievalError if the index has no such parameter or cannot filter.
    """
    overrides = dict(overrides or {})
    if selector is None and not overrides:
        return None
    faiss = import_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=search_parameters(index.index, selector, overrides))
    options: dict[str, Any] = {} if selector is None else {'sel': selector}
    known: dict[str, int] = {}
    if isinstance(index, faiss.IndexIVF):
        # The class's own default is nprobe=1, whatever the index says.
        kind, known = faiss.SearchParametersIVF, {'nprobe': index.nprobe, 'max_codes': index.max_codes}
    elif isinstance(index, faiss.IndexHNSW):
        kind, known = faiss.SearchParametersHNSW, {'efSearch': index.hnsw.efSearch}
    elif isinstance(index, _scanned()):
        kind = faiss.SearchParameters
    else:
        raise RetrievalError(
            f'{type(index).__name__} takes neither filters nor parameters: use a preset ({", ".join(PRESETS)})'
        )
    for name, value in overrides.items():
        if name not in known:
            raise RetrievalError(
                f'{type(index).__name__} has no parameter {name!r}; it has: {", ".join(known) or "none"}'
            )
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise RetrievalError(f'{name} must be a whole number of at least 1, got {value!r}')
        known[name] = int(value)
    return kind(**known, **options)
