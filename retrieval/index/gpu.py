"""Everything that needs CUDA: copies of the parts of an index on the GPUs, made when they are first searched.

The CPU index stays the one that is saved, filtered and changed: GPU indexes can neither be saved nor remove rows, and
ignore filters. Kinds that GPUs do not have stay on the CPU, and a log line says so once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..vectors import import_faiss
from .faiss_calls import innermost, run_search
from .part import Part

MAX_K = 2048  # rows per query and inverted lists per query; faiss issues 1032 and 4008
LEAST_ROWS = 10_000  # smaller parts answer faster on the CPU than a copy takes to launch
SHARED_MEMORY = 48 << 10  # bytes of a block of threads that CUDA gives on any GPU

_logger = logging.getLogger(__name__)


def count_gpus() -> int:
    """GPUs that FAISS finds: 0 for builds without GPU support too."""
    faiss = import_faiss()
    return faiss.get_num_gpus() if hasattr(faiss, 'StandardGpuResources') else 0


class GpuCopies:
    """Finds the copies of an index's parts on the GPUs; ``device`` as in :class:`retrieval.index.VectorIndex`."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._copies: dict[object, GpuSearcher | None] = {}
        self._lock = threading.Lock()

    def find(self, part: Part, parts: Sequence[Part]) -> GpuSearcher | None:
        """The copy of one of the parts, None where the CPU searches; copies of parts that are gone are given up."""
        if self._device == 'cpu' or len(part) < LEAST_ROWS or (self._device == 'auto' and count_gpus() == 0):
            return None
        with self._lock:
            if part.token not in self._copies:
                present = {one.token for one in parts}
                self._copies = {token: copy for token, copy in self._copies.items() if token in present}
                self._copies[part.token] = to_gpu(part.vectors if part.approximate is None else part.approximate)
            return self._copies[part.token]


class GpuSearcher:
    """A copy of an index on every GPU, for searches without a filter; each GPU answers a share of the queries.

    RuntimeError if FAISS cannot copy the index: an unknown kind, or too little memory.
    """

    def __init__(self, index: Any) -> None:
        faiss = import_faiss()
        devices = usable_devices(index, count_gpus())
        self._resources = [faiss.StandardGpuResources() for _ in devices]
        options = faiss.GpuMultipleClonerOptions()
        options.useFloat16 = needs_half_tables(index)
        self._index = faiss.index_cpu_to_gpu_multiple_py(self._resources, index, options, devices)
        self._lock = threading.Lock()  # FAISS's GPU resources do not bear two threads

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and row numbers int64, (m, k), of the best rows for queries (m, d); k up to :data:`MAX_K`."""
        with self._lock:
            return run_search(self._index, queries, k)


def usable_devices(index: Any, count: int) -> list[int]:
    """GPUs that a copy of an index goes to: all of ``count``.

    Only the first one for 16-bit codes, which FAISS copies to one GPU, but for several silently leaves on the CPU
    (``ToGpuClonerMultiple`` in faiss/gpu/GpuCloner.cpp).
    """
    alone = isinstance(innermost(index), import_faiss().IndexScalarQuantizer)
    return list(range(min(count, 1) if alone else count))


def needs_half_tables(index: Any) -> bool:
    """Whether the distance tables of product-quantised codes fit into a GPU's shared memory only as float16.

    They do above 48 bytes a row, as at 768 dimensions; FAISS refuses such codes otherwise (``verifyPQSettings_`` in
    faiss/gpu/GpuIndexIVFPQ.cu). The best candidates are scored exactly all the same.
    """
    inner = innermost(index)
    return isinstance(inner, import_faiss().IndexIVFPQ) and inner.pq.M * inner.pq.ksub * 4 > SHARED_MEMORY


def to_gpu(index: Any) -> GpuSearcher | None:
    """A copy of an index on the GPUs; None, after one log line, where the search stays on the CPU."""
    if count_gpus() == 0:
        _logger.warning('FAISS finds no GPU: searching on the CPU')
        return None
    reason = why_not(index)
    if not reason:
        try:
            return GpuSearcher(index)
        except RuntimeError as error:
            reason = ' '.join(str(error).split())[:200]
    _logger.warning('searching %s on the CPU: %s', type(innermost(index)).__name__, reason)
    return None


def why_not(index: Any) -> str:
    """Why an index must stay on the CPU; empty if it may be copied."""
    faiss = import_faiss()
    inner = innermost(index)
    if isinstance(inner, faiss.IndexHNSW):
        return 'GPUs have no graphs'
    if isinstance(inner, faiss.IndexIVF):
        if isinstance(faiss.downcast_index(inner.quantizer), faiss.IndexHNSW):
            return 'GPUs have no graphs to find inverted lists'
        if inner.nprobe > MAX_K:
            return f'GPUs visit at most {MAX_K} inverted lists'
        kinds = (faiss.IndexIVFFlat, faiss.IndexIVFPQ, faiss.IndexIVFScalarQuantizer)
        return '' if isinstance(inner, kinds) else 'no such kind'
    if isinstance(inner, faiss.IndexScalarQuantizer):
        return '' if inner.sq.qtype == faiss.ScalarQuantizer.QT_fp16 else 'GPUs have 16-bit codes only'
    return '' if isinstance(inner, faiss.IndexFlat) else 'GPUs have no such kind'
