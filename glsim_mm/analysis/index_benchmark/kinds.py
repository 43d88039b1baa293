"""Each kind of index on the same rows, in a process of its own: time to build, memory, queries per second, recall."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.index import VectorIndex
from retrieval.index.effort import calibrate
from retrieval.index.faiss_calls import rows_of
from retrieval.index.part import read_faiss, read_part, vectors_file, write_ids, write_index, write_vectors
from retrieval.index.presets import is_flat
from retrieval.index.training import build_faiss_index
from retrieval.vectors import import_faiss

from .memory import peak_mib, resident_mib
from .synthetic import clustered_embeddings

SPACE, METRIC = 'a', 'cosine'
QUERIES_FILE, TRUTH_FILE = 'queries.npy', 'truth.npy'
K = 10
_SINGLE = 50


@dataclass
class KindResult:
    """What was measured of a kind of index.

    Attributes:
        preset: Its name.
        rows: Of the index.
        dimension: Of the embeddings.
        build_seconds: Training, filling and calibration, one thread of FAISS where ``OMP_NUM_THREADS=1``.
        recall: Share of the true 10 nearest among the 10 found, exact re-scoring as the preset has it.
        recall_raw: Without re-scoring.
        single_ms: Median time of one query.
        batch_qps: Queries per second of one batch of all queries.
        build_mib: Peak resident memory of the process that built and searched.
        disk_mib: Index file; whole vectors come to it.
        open_ms: Memory-mapped opening.
        open_mib: Resident memory that opening added.
        effort: Parameter that was calibrated and its value, as ``'nprobe 32'``.
    """

    preset: str
    rows: int
    dimension: int
    build_seconds: float
    recall: float
    recall_raw: float
    single_ms: float
    batch_qps: float
    build_mib: float
    disk_mib: float
    open_ms: float
    open_mib: float
    effort: str = ''


def prepare(folder: Path, rows: int, dimension: int, num_queries: int, seed: int = 0) -> None:
    """Write rows, queries and their true neighbours, unless they are there.

    Args:
        folder: Where.
        rows: Of the gallery.
        dimension: Of the embeddings.
        num_queries: Not in the gallery.
        seed: See :func:`clustered_embeddings`.
    """
    if (folder / TRUTH_FILE).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_ids(folder, np.arange(rows))
    write_vectors(folder, SPACE, clustered_embeddings(rows, dimension, seed), dimension, METRIC)
    queries = np.concatenate(list(clustered_embeddings(num_queries, dimension, seed, stream=1)))
    np.save(folder / QUERIES_FILE, queries)
    truth = read_part(folder, SPACE, 'flat').vectors.search(queries, K)[1]
    np.save(folder / TRUTH_FILE, truth)


def measure(folder: Path, preset: str) -> KindResult:
    """Build and search a kind of index, in a process of its own.

    Args:
        folder: Of :func:`prepare`.
        preset: See :data:`retrieval.index.PRESETS`.

    Returns:
        What was measured.

    Raises:
        RetrievalError: If the process fails, as for want of memory.
    """
    built = _in_process(_build_and_search, folder, preset)
    return KindResult(**built, **_in_process(_open, folder, preset))


def _in_process(function: Callable[[Path, str], dict[str, Any]], folder: Path, preset: str) -> dict[str, Any]:
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context('spawn')) as pool:
        try:
            return pool.submit(function, folder, preset).result()
        except BrokenProcessPool as error:
            raise RetrievalError(f'measuring {preset} was killed: take fewer --rows, or give it more memory') from error


def _build_and_search(folder: Path, preset: str) -> dict[str, Any]:
    vectors = read_faiss(folder / vectors_file(SPACE))
    queries, truth = np.load(folder / QUERIES_FILE), np.load(folder / TRUTH_FILE)
    start = time.perf_counter()
    index = vectors if is_flat(preset) else build_faiss_index(preset, vectors, METRIC)
    effort = None if is_flat(preset) else calibrate(index, rows_of(vectors), METRIC, preset)
    seconds = time.perf_counter() - start
    size = (folder / vectors_file(SPACE)).stat().st_size
    if not is_flat(preset):
        size = (folder / write_index(folder, SPACE, index)).stat().st_size
    del index
    searched = VectorIndex(vectors.d, METRIC, [read_part(folder, SPACE, preset, mmap=False)], device='cpu')
    found = searched.search(queries, K)
    start = time.perf_counter()
    searched.search(queries, K)
    batch = time.perf_counter() - start
    single = [_seconds(searched, queries[row % len(queries)][None]) for row in range(_SINGLE)]
    return dict(
        preset=preset,
        rows=vectors.ntotal,
        dimension=vectors.d,
        build_seconds=0.0 if is_flat(preset) else seconds,
        effort='' if effort is None else f'{effort.name} {effort.value}',
        recall=recall(found.ids, truth),
        recall_raw=recall(searched.search(queries, K, rescore=0).ids, truth),
        single_ms=float(np.median(single) * 1e3),
        batch_qps=len(queries) / batch,
        build_mib=peak_mib(),
        disk_mib=size / 2**20,
    )


def _open(folder: Path, preset: str) -> dict[str, Any]:
    import_faiss()  # its import is not part of opening
    before, start = resident_mib(), time.perf_counter()
    part = read_part(folder, SPACE, preset)
    index = VectorIndex(part.vectors.d, METRIC, [part], device='cpu')
    seconds = time.perf_counter() - start
    added = resident_mib() - before
    index.search(part.rows[:1], 1)
    return dict(open_ms=seconds * 1e3, open_mib=added)


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of true neighbours that were found.

    Args:
        found: Ids, (m, k).
        truth: Ids, (m, k).

    Returns:
        0 to 1.
    """
    return float(np.mean([len(np.intersect1d(one, other)) / len(other) for one, other in zip(found, truth)]))


def _seconds(index: VectorIndex, queries: np.ndarray) -> float:
    start = time.perf_counter()
    index.search(queries, K)
    return time.perf_counter() - start
