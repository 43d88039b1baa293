"""All measurements of one size, one after another; what was measured is not measured again."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from retrieval.errors import RetrievalError
from retrieval.index import PRESETS
from retrieval.vectors import import_faiss

from .kinds import KindResult, measure, prepare
from .overhead import Overhead, measure_overhead
from .report import format_kinds, format_overheads, save

RESULTS_FILE = 'results.json'


def run_study(
    folder: Path,
    rows: int,
    dimension: int,
    num_queries: int,
    presets: Sequence[str] | None = None,
    batches: Sequence[int] = (1, 64, 1024),
    rounds: int = 9,
    seed: int = 0,
) -> Iterator[str]:
    """Measure kinds of index, save after each, and go on where an earlier call stopped.

    Args:
        folder: For embeddings, indexes and ``results.json``; one folder per size.
        rows: Of the gallery.
        dimension: Of the embeddings.
        num_queries: See :func:`prepare`.
        presets: Kinds. Defaults to all.
        batches: See :func:`measure_overhead`. Defaults to 1, 64 and 1,024.
        seed: Of the embeddings.

    Yields:
        Progress, then two Markdown tables.

    Raises:
        RetrievalError: If the folder holds measurements of another size, or one fails.
    """
    facts = dict(
        rows=str(rows), dimension=str(dimension), queries=str(num_queries), seed=str(seed),
        faiss=import_faiss().__version__, python=platform.python_version(), machine=platform.machine(),
        threads=os.environ.get('OMP_NUM_THREADS', str(os.cpu_count())),
    )  # fmt: skip
    kinds, overheads = _earlier(folder, facts)
    yield f'writing {rows:,} x {dimension} to {folder}, and searching them exactly'
    prepare(folder, rows, dimension, num_queries, seed)
    for preset in presets or PRESETS:
        if all(one.preset != preset for one in kinds):
            yield f'measuring {preset}'
            kinds.append(measure(folder, preset))
            save(folder / RESULTS_FILE, kinds, overheads, facts)
        if preset in ('flat', 'ivf-flat', 'hnsw') and all(one.preset != preset for one in overheads):
            overheads += measure_overhead(folder, preset, batches, rounds)
            save(folder / RESULTS_FILE, kinds, overheads, facts)
    yield format_kinds(kinds)
    if overheads:
        yield format_overheads(overheads)


def _earlier(folder: Path, facts: dict[str, str]) -> tuple[list[KindResult], list[Overhead]]:
    path = folder / RESULTS_FILE
    if not path.is_file():
        return [], []
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        same = content['facts'] == facts
        found = [KindResult(**one) for one in content['kinds']], [Overhead(**one) for one in content['overheads']]
    except (ValueError, KeyError, TypeError) as error:
        raise RetrievalError(f'{path} is damaged: remove it') from error
    if not same:
        raise RetrievalError(f'{folder} holds measurements of another size, seed or version: choose another --out')
    return found
