"""Everything that needs CUDA: copies of the parts of an index on the GPUs, made when they are first searched.

The CPU index stays the one that is saved and changed: GPU indexes can neither be saved nor remove rows. Kinds that GPUs
do not have stay on the CPU, and a log line says so once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from ..errors import RetrievalError
from ..vectors import import_faiss
from .faiss_calls import array_selector, innermost, run_search, search_parameters
from .part import Part

MAX_K = 2048  # rows per query and inverted lists per query; faiss issues 1032 and 4008
LEAST_ROWS = 10_000  # smaller parts answer faster on the CPU than a copy takes to launch
SHARED_MEMORY = 48 << 10  # bytes of a block of threads that CUDA gives on any GPU
PROBE_ROWS = 32  # let through by the filter that tries whether a copy filters

_logger = logging.getLogger(__name__)
_LOCK = threading.Lock()  # FAISS's GPU resources, which all copies share, do not bear two threads


class Device(NamedTuple):
    """Where to search, as :func:`read_device` reads it.

    Attributes:
        name: ``'auto'``, ``'cpu'`` or ``'gpu'``.
        shard: Several GPUs share the rows; else each has them all and answers a share of the queries.
        half: Rows of the exact search are 16-bit numbers on the GPUs, and the best candidates are scored exactly.
    """

    name: str
    shard: bool = False
    half: bool = False


def read_device(text: str) -> Device:
    """Where to search: ``'auto'``, ``'cpu'``, or ``'gpu'``, which may be followed by ``':shard'`` and ``':fp16'``.

    Raises:
        RetrievalError: If it is something else.
    """
    name, *options = text.split(':')
    if name not in ('auto', 'cpu', 'gpu') or not set(options) <= {'shard', 'fp16'} or options and name != 'gpu':
        raise RetrievalError(
            'device must be auto, cpu or gpu, or gpu with options, as gpu:shard, gpu:fp16 or gpu:shard:fp16, got '
            f'{text!r}'
        )
    return Device(name, 'shard' in options, 'fp16' in options)


def count_gpus() -> int:
    """GPUs that FAISS finds: 0 for builds without GPU support too."""
    faiss = import_faiss()
    return faiss.get_num_gpus() if hasattr(faiss, 'StandardGpuResources') else 0


def has_cuvs() -> bool:
    """Whether FAISS is built with cuVS, which its options use by default then."""
    faiss = import_faiss()
    return hasattr(faiss, 'GpuClonerOptions') and bool(getattr(faiss.GpuClonerOptions(), 'use_cuvs', False))


class GpuCopies:
    """Finds the copies of an index's parts on the GPUs; ``device`` as in :class:`retrieval.index.VectorIndex`."""

    def __init__(self, device: str) -> None:
        self._device = read_device(device)
        self._copies: dict[object, GpuSearcher | None] = {}
        self._lock = threading.Lock()

    def find(self, part: Part, parts: Sequence[Part]) -> GpuSearcher | None:
        """The copy of one of the parts, None where the CPU searches; copies of parts that are gone are given up."""
        name = self._device.name
        if name == 'cpu' or len(part) < LEAST_ROWS or (name == 'auto' and count_gpus() == 0):
            return None
        with self._lock:
            if part.token not in self._copies:
                present = {one.token for one in parts}
                self._copies = {token: copy for token, copy in self._copies.items() if token in present}
                self._copies[part.token] = to_gpu(part, self._device)
            return self._copies[part.token]


class GpuSearcher:
    """Searches a copy of a part's index, ``copy``, as :func:`copy_to_gpus` makes it.

    Attributes:
        is_exact: Whether the scores of an exact search are those of whole vectors.
    """

    def __init__(self, part: Part, copy: Any, is_exact: bool = True) -> None:
        self._part, self._copy = part, copy
        self.is_exact = is_exact

    def search(
        self,
        queries: np.ndarray,
        k: int,
        allowed: np.ndarray | None = None,
        effort: Mapping[str, int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and row numbers int64, (m, k), of the best rows for queries (m, d); k up to :data:`MAX_K`.

        With ``allowed``, bool (n,), and ``effort``, an ``nprobe``, only where :attr:`takes_filters`. -1 stands for rows
        that were not found.
        """
        index, parameters = self._copy, None
        if allowed is not None:
            parameters = search_parameters(_source(self._part), array_selector(allowed), effort)
            index = _one_of(index)
        with _LOCK:
            scores, rows = run_search(index, queries, k, parameters)
        return scores, np.where(rows < len(self._part), rows, -1)  # cuVS marks missing rows by the largest number

    @cached_property
    def takes_filters(self) -> bool:
        """Whether the copy filters inside its search, which is tried once.

        FAISS built with cuVS does from 1.15 (pull request 4858). Without it, GPU indexes accept an ``IDSelector`` and
        silently ignore it (issues 3114 and 3924), and what looks filtered is not; shards of an exact search take the
        numbers of rows for those of each shard. Where several GPUs have all rows, the first answers.
        """
        return filters_hold(self, self._part.rows)


def filters_hold(searcher: Any, rows: np.ndarray) -> bool:
    """Whether a searcher lets only those rows, float32 (n, d), through that a filter allows, and finds them all.

    Some rows, drawn at random, are allowed and searched for. Each must find itself: it lies in the inverted list that
    is looked at first.
    """
    numbers = np.random.default_rng(0).permutation(len(rows))[:PROBE_ROWS]
    allowed = np.zeros(len(rows), bool)
    allowed[numbers] = True
    try:
        found = searcher.search(np.ascontiguousarray(rows[numbers]), len(numbers), allowed)[1]
    except RuntimeError as error:  # replicas, shards and some kinds refuse search parameters
        _logger.debug('no filters on the GPU: %s', error)
        return False
    return bool((allowed[found] | (found < 0)).all() and (found == numbers[:, None]).any(axis=1).all())


@cache
def _resources(number: int) -> Any:
    """Streams and scratch memory on a GPU, up to 1.5 GiB, which the copies of all parts share."""
    return import_faiss().StandardGpuResources()


def _one_of(index: Any) -> Any:
    """The first of the copies that each have all rows; the index itself where there is one copy, or shards."""
    index = import_faiss().downcast_index(index)
    return index.at(0) if isinstance(index, import_faiss().IndexReplicas) else index


def _source(part: Part) -> Any:
    """The index of a part that is copied."""
    return part.vectors if part.approximate is None else part.approximate


def copy_to_gpus(index: Any, device: Device) -> Any:
    """A copy of an index on all GPUs that it can be on; RuntimeError if FAISS cannot copy it, or has no memory left."""
    devices = usable_devices(index, count_gpus())
    with _LOCK:
        resources = [_resources(number) for number in devices]
        return import_faiss().index_cpu_to_gpu_multiple_py(resources, index, cloner_options(index, device), devices)


def cloner_options(index: Any, device: Device) -> Any:
    """``faiss.GpuMultipleClonerOptions`` for a copy of an index.

    16-bit numbers halve the rows of an ``IndexFlat`` and the tables of product-quantised codes; inverted lists of whole
    vectors stay as they are. Kinds of 16-bit codes are not in cuVS, whose builds would refuse them (``ToGpuCloner`` in
    faiss/gpu/GpuCloner.cpp).
    """
    options = import_faiss().GpuMultipleClonerOptions()
    options.shard = device.shard
    options.useFloat16 = device.half or needs_half_tables(index)
    if getattr(options, 'use_cuvs', False) and _has_scalar_codes(index):
        options.use_cuvs = False
    return options


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


def to_gpu(part: Part, device: Device) -> GpuSearcher | None:
    """A copy of a part's index on the GPUs; None, after one log line, where the search stays on the CPU."""
    count = count_gpus()
    if count == 0:
        _logger.warning('FAISS finds no GPU: searching on the CPU')
        return None
    index = _source(part)
    reason = why_not(index)
    if not reason:
        if device.shard and len(usable_devices(index, count)) == 1:
            _logger.warning('gpu:shard: %s', 'there is one GPU' if count == 1 else '16-bit codes go to one GPU whole')
        try:
            return GpuSearcher(part, copy_to_gpus(index, device), is_exact=not device.half)
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


def _has_scalar_codes(index: Any) -> bool:
    faiss = import_faiss()
    return isinstance(innermost(index), (faiss.IndexScalarQuantizer, faiss.IndexIVFScalarQuantizer))
