"""How far an approximate index looks under a filter, so that a filter costs no recall."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..vectors import import_faiss
from .parameters import innermost, takes_filters

# Filters that let nearly all rows through change nothing: such are tombstones between two compactions.
NEARLY_ALL = 0.9
# Distances that a graph computes for each row that it keeps in its queue, about.
STEPS_PER_CANDIDATE = 16
PARAMETERS = ('nprobe', 'max_codes', 'efSearch')


def plan_effort(
    index: Any, depth: int, count: int, overrides: Mapping[str, int] | None = None
) -> dict[str, int] | None:
    """Search parameters with which as many ALLOWED rows are compared as rows are without filter.

    Where a tenth of the rows is allowed, ten times as many inverted lists or candidates are visited. At the same
    effort, the nearest allowed rows would mostly lie beyond them: k rows would be found, but the wrong ones.

    Args:
        index: Approximate, on the CPU.
        depth: Rows wanted per query.
        count: Rows that the filter allows, 1 to all.
        overrides: ``nprobe``, ``efSearch`` of the caller, which stay as they are.

    Returns:
        For :func:`retrieval.index.parameters.search_parameters`; None where the rows should be compared one by one,
        because FAISS cannot filter inside this kind of index, or because that costs a graph less.
    """
    planned = dict(overrides or {})
    share = count / index.ntotal
    if share < 1 and not filters_inside(index):
        return None
    faiss = import_faiss()
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVF):
        if share < NEARLY_ALL and 'nprobe' not in planned:
            planned['nprobe'] = min(inner.nlist, math.ceil(inner.nprobe / share))
    elif isinstance(inner, faiss.IndexHNSW):
        queue = int(planned.get('efSearch', inner.hnsw.efSearch))
        if share < NEARLY_ALL and 'efSearch' not in planned:
            queue = math.ceil(queue / share)
            if count <= STEPS_PER_CANDIDATE * queue:
                return None
        # A graph returns no more rows than it keeps in its queue.
        if max(queue, depth) != inner.hnsw.efSearch:
            planned['efSearch'] = max(queue, depth)
    return planned


def filters_inside(index: Any) -> bool:
    """Whether FAISS filters inside the search of an index.

    Returns:
        False also for the inverted lists that raise an error when they are given a filter.
    """
    faiss = import_faiss()
    refuse = (faiss.IndexIVFPQR, faiss.IndexIVFAdditiveQuantizer)
    return takes_filters(index) and not isinstance(innermost(index), refuse)


def parse_parameters(texts: Sequence[str]) -> dict[str, int] | None:
    """Search parameters as they are typed.

    Args:
        texts: Such as ``'nprobe=64'``.

    Returns:
        Value by name; None for none.

    Raises:
        RetrievalError: If one is no name and whole number. Which names there are depends on the gallery.
    """
    parsed = {}
    for text in texts:
        name, _, value = text.partition('=')
        if not name or not value.isdecimal():
            raise RetrievalError(f'a search parameter is written as nprobe=64, got {text!r}')
        parsed[name] = int(value)
    return parsed or None


def check_effort(parameters: Mapping[str, int] | None) -> None:
    """Refuse what no kind of index has, also where rows are compared one by one and no parameter counts.

    Args:
        parameters: Of a search.

    Raises:
        RetrievalError: If a name is unknown, or a value is no whole number from 1 on.
    """
    for name, value in (parameters or {}).items():
        if name not in PARAMETERS:
            raise RetrievalError(f'searches have no parameter {name!r}; they have: {", ".join(PARAMETERS)}')
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise RetrievalError(f'{name} must be a whole number of at least 1, got {value!r}')
