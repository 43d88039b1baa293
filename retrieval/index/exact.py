"""Exact comparison with whole vectors, which may be a file larger than memory: all of them, chosen ones, candidates."""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import Any

import numpy as np

from ..hits import best_first, worst_score
from ..vectors import faiss_metric, import_faiss
from .faiss_calls import rows_of
from .presets import available_memory

BLOCK_ROWS = 16_384
FEW_QUERIES = 4
# Of a file larger than this share of memory, what searches have touched is let go again; others may be mapped whole.
MAPPED_SHARE = 0.25
TOUCHED_BYTES = 256 << 20
_AROUND = 64 << 10  # Linux maps so many bytes around each that is touched
_COPIED_ROWS = 4096

_touched: dict[int, int] = {}

Found = tuple[np.ndarray, np.ndarray]


def nearest(vectors: Any, queries: np.ndarray, k: int, metric: str) -> Found:
    """Best k of all rows of a ``faiss.IndexFlat`` or array for queries float32 (m, d): scores and row numbers (m, k).

    It is the search of building, where one look at each row is enough: a file is let go again block by block.
    """
    if not _is_mapped(vectors):
        return import_faiss().knn(queries, rows_of(vectors), k, faiss_metric(metric))
    found = _in_blocks(vectors, np.arange(vectors.ntotal), queries, k, metric)
    release(vectors)
    return found


def nearest_of(vectors: Any, numbers: np.ndarray, queries: np.ndarray, k: int, metric: str) -> Found:
    """Best k of the rows of a ``faiss.IndexFlat`` whose numbers are given, ascending int64 (r,), r >= k.

    For many queries they are copied together and compared by matrix products; for few, copying them would take longer
    than comparing. FAISS itself would test every row of the index.
    """
    if len(queries) > FEW_QUERIES:
        return _in_blocks(vectors, numbers, queries, k, metric)
    rows = np.broadcast_to(numbers, (len(queries), len(numbers)))
    scores = score_candidates(vectors, queries, rows, metric)
    if k < len(numbers):
        best = np.argpartition(scores if metric == 'l2' else -scores, k - 1, axis=1)[:, :k]
        best.sort(axis=1)  # so that equal scores keep their order
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return best_first(scores, rows, k, metric)


def copy_rows(vectors: Any, numbers: np.ndarray) -> np.ndarray:
    """Chosen rows of a ``faiss.IndexFlat`` or array, float32 (r, d); a large file is let go again meanwhile."""
    rows = rows_of(vectors)
    copied = np.empty((len(numbers), rows.shape[1]), np.float32)
    for start in range(0, len(numbers), _COPIED_ROWS):
        chosen = numbers[start : start + _COPIED_ROWS]
        copied[start : start + len(chosen)] = rows[chosen]  # np.take would first align the whole file in memory
        touch(vectors, len(chosen))
    return copied


def _in_blocks(vectors: Any, numbers: np.ndarray, queries: np.ndarray, k: int, metric: str) -> Found:
    scores = np.empty((len(queries), 0), np.float32)
    chosen = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(numbers), BLOCK_ROWS):
        block = numbers[start : start + BLOCK_ROWS]
        first, last = int(block[0]), int(block[-1]) + 1
        rows = read_block(vectors, first, last) if last - first == len(block) else copy_rows(vectors, block)
        found, places = import_faiss().knn(queries, rows, min(k, len(block)), faiss_metric(metric))
        if len(numbers) <= BLOCK_ROWS:
            return found, block[places]
        merged = np.concatenate([scores, found], axis=1), np.concatenate([chosen, block[places]], axis=1)
        scores, chosen = best_first(*merged, k, metric)
    return scores, chosen


def score_candidates(vectors: Any, queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """Exact scores of queries float32 (m, d) with candidates of their own, row numbers int64 (m, r): float32 (m, r).

    A row number of -1 has the worst score.
    """
    faiss = import_faiss()
    queries, rows = np.ascontiguousarray(queries), np.ascontiguousarray(rows)
    scores = np.empty(rows.shape, np.float32)
    compare = faiss.fvec_L2sqr_by_idx if metric == 'l2' else faiss.fvec_inner_products_by_idx
    step = max(1, _COPIED_ROWS // rows.shape[1]) if _is_large(vectors) else len(rows)
    for start in range(0, len(rows), step):
        parts = (array[start : start + step] for array in (scores, queries, rows))
        few, asked, chosen = (faiss.swig_ptr(part) for part in parts)
        count = min(step, len(rows) - start)
        compare(few, asked, vectors.get_xb(), chosen, vectors.d, count, rows.shape[1])
        touch(vectors, count * rows.shape[1])
    scores[rows < 0] = worst_score(metric)
    return scores


def touch(vectors: Any, count: int) -> None:
    """Note that so many rows were read; where a large file may by now fill :data:`TOUCHED_BYTES`, let it go again.

    Its pages stay in the cache of the system, but count no longer as memory of this process.
    """
    if not _is_large(vectors):
        return
    address = rows_of(vectors).ctypes.data
    _touched[address] = _touched.get(address, 0) + count * _AROUND
    if _touched[address] > TOUCHED_BYTES:
        release(vectors)


def release(vectors: Any) -> None:
    """Let the pages of a memory-mapped ``faiss.IndexFlat`` go from this process; nothing for one in memory.

    Other systems than Linux keep them until they need the memory.
    """
    if _is_mapped(vectors):
        rows = rows_of(vectors)
        _advise(rows, 'MADV_DONTNEED')
        _advise(rows, 'MADV_RANDOM')
        _touched.pop(rows.ctypes.data, None)


def read_block(vectors: Any, first: int, last: int) -> np.ndarray:
    """Rows of a ``faiss.IndexFlat`` or array without a copy, for one who reads all of them, block by block."""
    release(vectors)  # what was read before
    read_ahead(vectors)
    return rows_of(vectors)[first:last]


def read_ahead(vectors: Any) -> None:
    """Let the system read a memory-mapped ``faiss.IndexFlat`` ahead, until :func:`release`.

    FAISS maps files for access at random: read from front to back, every page of 4 KiB would wait for the disk.
    """
    if _is_mapped(vectors):
        _advise(rows_of(vectors), 'MADV_SEQUENTIAL')


def _advise(rows: np.ndarray, advice: str) -> None:
    """Tell the system what will be done with rows of a memory-mapped file, where it can be told."""
    if not hasattr(mmap, advice):
        return
    first = -(-rows.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (rows.ctypes.data + rows.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        length, number = ctypes.c_size_t(last - first), ctypes.c_int(getattr(mmap, advice))
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), length, number)


def _is_large(vectors: Any) -> bool:
    """Whether vectors are a file that could fill the memory."""
    return _is_mapped(vectors) and rows_of(vectors).nbytes > MAPPED_SHARE * _memory()


@cache
def _memory() -> int:
    return available_memory()


def _is_mapped(vectors: Any) -> bool:
    """Whether vectors are an index whose numbers are a file; pages of memory would be lost if they were let go."""
    return not isinstance(vectors, np.ndarray) and vectors.ntotal > 0 and not vectors.codes.is_owned
