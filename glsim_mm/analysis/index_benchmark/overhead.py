"""What :class:`VectorIndex` adds to calling FAISS: both in turns, in one process, on one index."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.index import VectorIndex
from retrieval.index.faiss_calls import run_search
from retrieval.index.part import read_part

from .kinds import METRIC, QUERIES_FILE, SPACE, K


@dataclass
class Overhead:
    """Medians over rounds in which FAISS and the engine take turns.

    Attributes:
        preset: Kind of index.
        batch: Queries at a time.
        faiss_ms: Of FAISS alone, on prepared queries.
        engine_ms: Of the engine: checks, unit length, search, ids.
        ratio: Median of the rounds' ratios.
    """

    preset: str
    batch: int
    faiss_ms: float
    engine_ms: float
    ratio: float


def measure_overhead(folder: Path, preset: str, batches: Sequence[int], rounds: int = 9) -> list[Overhead]:
    """Compare on an index that :func:`glsim_mm.analysis.index_benchmark.kinds.measure` has built.

    Args:
        folder: With its files.
        preset: Kind of index; one without re-scoring, which FAISS alone does not do.
        batches: Queries at a time.
        rounds: Turns.

    Returns:
        One for each batch.
    """
    part = read_part(folder, SPACE, preset, mmap=False)
    engine = VectorIndex(part.vectors.d, METRIC, [part], device='cpu')
    index = part.vectors if part.approximate is None else part.approximate
    queries = np.load(folder / QUERIES_FILE)
    results = []
    for batch in batches:
        chosen = np.resize(queries, (batch, queries.shape[1]))
        calls = partial(run_search, index, chosen, K), partial(engine.search, chosen, K, rescore=0)
        times = np.array([_take_turns(calls, turn, max(1, 64 // batch)) for turn in range(rounds + 1)])
        of_faiss, of_engine = times[1:].T  # the first turn warms up
        ratio = float(np.median(of_engine / of_faiss))
        results.append(Overhead(preset, batch, float(np.median(of_faiss)), float(np.median(of_engine)), ratio))
    return results


def _take_turns(calls: tuple[Callable[[], Any], Callable[[], Any]], turn: int, repeats: int) -> list[float]:
    """Milliseconds of both; who comes second finds warm caches, so they change places."""
    taken = [0.0, 0.0]
    for which in (0, 1) if turn % 2 else (1, 0):
        start = time.perf_counter()
        for _ in range(repeats):
            calls[which]()
        taken[which] = (time.perf_counter() - start) / repeats * 1e3
    return taken
