"""Everything that needs CUDA: copies of indexes on one GPU or several.

The CPU index stays the one that is saved, filtered and changed: GPU indexes can neither be saved, nor remove rows, and
ignore filters. Kinds that GPUs do not have stay on the CPU, and a log line says so once.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ..vectors import import_faiss
from .parameters import innermost, run_search

MAX_K = 2048  # rows per query and inverted lists per query; faiss issues 1032 and 4008
LEAST_ROWS = 10_000  # smaller parts answer faster on the CPU than a copy takes to launch
SHARED_MEMORY = 48 << 10  # bytes of a block of threads that CUDA gives on any GPU
PLACEMENTS = ('auto', 'replicate', 'shard')

_logger = logging.getLogger(__name__)


def count_gpus() -> int:
    """GPUs that FAISS finds: 0 for builds without GPU support too.

    Returns:
        Number of devices.
    """
    faiss = import_faiss()
    return faiss.get_num_gpus() if hasattr(faiss, 'StandardGpuResources') else 0


class GpuSearcher:
    """A copy of an index on GPUs, for searches without filter.

    Args:
        index: CPU ``faiss.Index``: Flat, SQfp16, IVF-Flat, IVF-PQ, IVF-SQ, or one of these behind OPQ.
        placement: ``'replicate'``: every GPU holds all rows and answers a share of the queries; ``'shard'``: every GPU
            holds a share of the rows; ``'auto'``: replicate where the rows fit into half of each GPU's memory.
        half: float16 on the GPU, half of the memory; scores to about 3 digits.

    Raises:
        RuntimeError: If FAISS cannot copy the index: an unknown kind, or too little memory.
    """

    def __init__(self, index: Any, placement: str = 'auto', half: bool = False) -> None:
        faiss = import_faiss()
        devices = usable_devices(index, count_gpus())
        self._resources = [faiss.StandardGpuResources() for _ in devices]
        options = faiss.GpuMultipleClonerOptions()
        options.useFloat16 = half or needs_half_tables(index)
        options.shard = len(devices) > 1 and (
            placement == 'shard' or (placement == 'auto' and not self._fits(index, half))
        )
        self.is_sharded = bool(options.shard)
        self.count = index.ntotal
        self._index = faiss.index_cpu_to_gpu_multiple_py(self._resources, index, options, devices)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Best rows of every query.

        Args:
            queries: float32, (m, d).
            k: 1 to :data:`MAX_K`.

        Returns:
            Scores float32 and row numbers int64, (m, k).
        """
        return run_search(self._index, queries, k)

    def _fits(self, index: Any, half: bool) -> bool:
        """Whether whole vectors would fit into half of the free memory of each GPU; codes are smaller."""
        size = index.ntotal * index.d * (2 if half else 4)
        free = [_free_memory(device) for device in range(len(self._resources))]
        return all(memory is None or 2 * size <= memory for memory in free)


def usable_devices(index: Any, count: int) -> list[int]:
    """GPUs that a copy goes to.

    Args:
        index: CPU ``faiss.Index``.
        count: GPUs that there are.

    Returns:
        All; the first alone for 16-bit codes, which FAISS copies to one GPU, but for several silently leaves on the CPU
        (``ToGpuClonerMultiple`` in faiss/gpu/GpuCloner.cpp).
    """
    alone = isinstance(innermost(index), import_faiss().IndexScalarQuantizer)
    return list(range(min(count, 1) if alone else count))


def needs_half_tables(index: Any) -> bool:
    """Whether the distance tables of product-quantised codes fit into a GPU's shared memory only as float16.

    Args:
        index: CPU ``faiss.Index``.

    Returns:
        True above 48 bytes a row, as at 768 dimensions; FAISS refuses such codes otherwise (``verifyPQSettings_`` in
        faiss/gpu/GpuIndexIVFPQ.cu). The best candidates are scored exactly all the same.
    """
    inner = innermost(index)
    return isinstance(inner, import_faiss().IndexIVFPQ) and inner.pq.M * inner.pq.ksub * 4 > SHARED_MEMORY


def to_gpu(index: Any, placement: str = 'auto', half: bool = False) -> GpuSearcher | None:
    """A copy of an index on the GPUs, where there are any and they have this kind.

    Args:
        index: CPU ``faiss.Index``.
        placement: See :class:`GpuSearcher`.
        half: See :class:`GpuSearcher`.

    Returns:
        None, after one log line, where the search stays on the CPU.
    """
    if count_gpus() == 0:
        _logger.warning('FAISS finds no GPU: searching on the CPU')
        return None
    reason = why_not(index)
    if not reason:
        try:
            return GpuSearcher(index, placement, half)
        except RuntimeError as error:
            reason = ' '.join(str(error).split())[:200]
    _logger.warning('searching %s on the CPU: %s', type(innermost(index)).__name__, reason)
    return None


def why_not(index: Any) -> str:
    """Why an index must stay on the CPU.

    Args:
        index: CPU ``faiss.Index``.

    Returns:
        The reason; empty if it may be copied.
    """
    faiss = import_faiss()
    inner = innermost(index)
    if isinstance(inner, faiss.IndexHNSW):
        return 'GPUs have no graphs'
    if isinstance(inner, faiss.IndexIVF):
        if isinstance(faiss.downcast_index(inner.quantizer), faiss.IndexHNSW):
            return 'GPUs have no graphs to find inverted lists'
        if inner.nprobe > MAX_K:
            return f'GPUs visit at most {MAX_K} inverted lists'
        return (
            ''
            if isinstance(inner, (faiss.IndexIVFFlat, faiss.IndexIVFPQ, faiss.IndexIVFScalarQuantizer))
            else 'no such kind'
        )
    if isinstance(inner, faiss.IndexScalarQuantizer):
        return '' if inner.sq.qtype == faiss.ScalarQuantizer.QT_fp16 else 'GPUs have 16-bit codes only'
    return '' if isinstance(inner, faiss.IndexFlat) else 'GPUs have no such kind'


def _free_memory(device: int) -> int | None:
    """Free bytes of a GPU, which FAISS does not tell; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.mem_get_info(device)[0] if torch.cuda.is_available() else None
