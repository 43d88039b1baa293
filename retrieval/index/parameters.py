"""Search parameters of FAISS: a filter inside the search, and how far it looks."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..vectors import import_faiss
from .factories import PRESETS


def innermost(index: Any) -> Any:
    """The index behind the vector transforms, as its own class.

    Returns:
        faiss.Index: Downcast, without ``IndexPreTransform``.
    """
    faiss = import_faiss()
    index = faiss.downcast_index(index)
    while isinstance(index, faiss.IndexPreTransform):
        index = faiss.downcast_index(index.index)
    return index


def run_search(index: Any, queries: np.ndarray, k: int, parameters: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """``index.search``, also where another library has put one for torch in its place, which knows no parameters.

    Importing pytorch-metric-learning imports ``faiss.contrib.torch_utils``, which replaces the methods of all indexes.

    Args:
        queries: float32, (m, d).
        k: Rows per query.
        parameters: See :func:`search_parameters`.

    Returns:
        Scores float32 and row numbers int64, (m, k).
    """
    return getattr(index, 'search_numpy', index.search)(queries, k, params=parameters)


def run_range_search(
    index: Any, queries: np.ndarray, radius: float, parameters: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``index.range_search``, likewise.

    Args:
        queries: float32, (m, d).
        radius: See FAISS.
        parameters: See :func:`search_parameters`.

    Returns:
        Limits, scores and row numbers.
    """
    return getattr(index, 'range_search_numpy', index.range_search)(queries, radius, params=parameters)


def takes_filters(index: Any) -> bool:
    """Whether FAISS can filter inside the search of an index.

    Returns:
        True for flat, scalar-quantised, inverted-list and graph indexes, also behind vector transforms.
    """
    faiss = import_faiss()
    kinds = (faiss.IndexIVF, faiss.IndexHNSW, faiss.IndexFlat, faiss.IndexScalarQuantizer)
    return isinstance(innermost(index), kinds)


def search_parameters(index: Any, selector: Any = None, overrides: Mapping[str, int] | None = None) -> Any:
    """Search parameters of FAISS with a filter that is applied INSIDE the search.

    Args:
        index: On the CPU.
        selector: Rows allowed. It must outlive the parameters.
        overrides: ``nprobe`` and ``max_codes`` of inverted lists, ``efSearch`` of graphs.

    Returns:
        faiss.SearchParameters: None where neither a filter nor an override asks for any.

    Raises:
        RetrievalError: If the index has no such parameter, its value is out of range, or it cannot filter.
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
    elif isinstance(index, (faiss.IndexFlat, faiss.IndexScalarQuantizer)):
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
