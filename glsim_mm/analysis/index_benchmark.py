"""What kinds of index cost and find, on made-up or real embeddings: time, memory, queries per second, recall."""

import json
import multiprocessing
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.index import PRESETS, VectorIndex
from retrieval.index.effort import calibrate
from retrieval.index.faiss_calls import run_search
from retrieval.index.part import (
    Part,
    index_file,
    read_faiss,
    read_part,
    vectors_file,
    write_ids,
    write_index,
    write_vectors,
)
from retrieval.index.presets import is_flat
from retrieval.index.training import build_faiss_index
from retrieval.vectors import check_embeddings, import_faiss, unit_length

from ..errors import GLSimError
from ..output_files import write_json
from .index_pareto import format_pareto, plot_pareto
from .index_turns import format_turns, measure_in_turns
from .measuring import markdown_table, peak_bytes, resident_bytes, time_in_turns
from .real_vectors import read_vectors

SPACE, METRIC = 'a', 'cosine'
QUERIES_FILE, TRUTH_FILE, RESULTS_FILE, PLOT_FILE = 'queries.npy', 'truth.npy', 'results.json', 'pareto.png'
TURNS_FILE = 'turns.json'
K = 10
_SINGLE = 50
_CLUSTERS, _INTRINSIC, _SPREAD, _BLOCK = 5_000, 32, 0.8, 50_000


@dataclass
class KindResult:
    """What was measured of a kind of index.

    Attributes:
        build_seconds: Training, filling and calibration, one thread of FAISS where ``OMP_NUM_THREADS=1``.
        recall: Share of the true 10 nearest among the 10 found, exact re-scoring as the preset has it.
        recall_raw: The same without re-scoring.
        single_ms: Median time of one query.
        batch_qps: Queries per second of one batch of all queries.
        build_mib: Peak resident memory of the process that built and searched.
        disk_mib: Index file, without the whole vectors.
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

    @property
    def row_bytes(self) -> float:
        """Of the index, without the whole vectors where it leaves them on disk."""
        return self.disk_mib * 2**20 / self.rows


@dataclass
class Overhead:
    """What :class:`VectorIndex` adds to FAISS, medians over rounds in which both take turns on one index.

    FAISS gets prepared queries, ``batch`` at a time; the engine also checks, scales and finds ids.
    """

    preset: str
    batch: int
    faiss_ms: float
    engine_ms: float
    ratio: float


def run_study(
    folder: Path,
    rows: int,
    dimension: int,
    num_queries: int,
    presets: Sequence[str] | None = None,
    batches: Sequence[int] = (1, 64, 1024),
    rounds: int = 9,
    seed: int = 0,
    source: str | None = None,
    wanted: float | None = None,
) -> Iterator[str]:
    """Measure kinds of index, save after each, and go on where an earlier call stopped; gives progress, then tables.

    Embeddings, indexes and ``results.json`` lie in the folder, one folder per size. Queries are not in the gallery;
    ``batches`` are queries at a time, for what the engine adds to FAISS in ``rounds`` turns of both. With ``source``, a
    gallery or a file of NumPy, the rows are its own, of its dimension, at most ``rows`` of them, and the queries are
    others of them, drawn at random. With ``wanted``, all kinds are timed in turns at that recall too.
    """
    vectors = None if source is None else read_vectors(source)
    if vectors is not None:
        dimension, rows = vectors.shape[1], min(rows, len(vectors) - num_queries)
        if rows < K:
            raise GLSimError(
                f'{source} has {len(vectors)} vectors, too few for {num_queries} queries among at least {K} others: '
                f'take --queries {max(1, len(vectors) // 10)}, or more vectors'
            )
    facts = dict(
        rows=str(rows), dimension=str(dimension), queries=str(num_queries), seed=str(seed),
        faiss=import_faiss().__version__, python=platform.python_version(), machine=platform.machine(),
        threads=os.environ.get('OMP_NUM_THREADS', str(os.cpu_count())),
    ) | ({} if source is None else {'vectors': str(Path(source).resolve())})  # fmt: skip
    kinds, overheads = _earlier(folder, facts)

    def save() -> None:
        content = dict(facts=facts, kinds=[asdict(one) for one in kinds], overheads=[asdict(one) for one in overheads])
        write_json(folder / RESULTS_FILE, content, indent=2)

    yield f'writing {rows:,} x {dimension} to {folder}, and searching them exactly'
    prepare(folder, rows, dimension, num_queries, seed, vectors)
    for preset in presets or PRESETS:
        if all(one.preset != preset for one in kinds):
            yield f'measuring {preset}'
            kinds.append(measure(folder, preset))
            save()
        # Kinds without re-scoring, which FAISS alone does not do.
        if preset in ('flat', 'ivf-flat', 'hnsw') and all(one.preset != preset for one in overheads):
            overheads += measure_overhead(folder, preset, batches, rounds)
            save()
    yield format_kinds(kinds)
    yield format_pareto(kinds)
    if find_spec('matplotlib') is not None:
        title = f'{rows:,} x {dimension} {"made-up" if source is None else "real"} rows'
        plot_pareto(kinds, folder / PLOT_FILE, title)
        yield f'the same as a picture: {folder / PLOT_FILE}'
    if overheads:
        yield format_overheads(overheads)
    if wanted is not None:
        yield f'timing all kinds in turns at recall {wanted:g}'
        yield compare(folder, kinds, wanted, rounds)


def compare(folder: Path, kinds: Sequence[KindResult], wanted: float, rounds: int) -> str:
    """Kinds that :func:`measure` has built, at one recall and in turns, beside the first of them, as a table."""
    queries, truth = np.load(folder / QUERIES_FILE), np.load(folder / TRUTH_FILE)
    parts = {one.preset: open_kind(folder, one.preset, mmap=False) for one in kinds}
    turns = measure_in_turns(parts, METRIC, queries, truth, wanted, rounds)
    write_json(folder / TURNS_FILE, [asdict(one) for one in turns], indent=2)
    return format_turns(turns, {one.preset: one.row_bytes for one in kinds})


def clustered_embeddings(count: int, dimension: int, seed: int = 0, stream: int = 0) -> Iterator[np.ndarray]:
    """Unit vectors as clustered as real embeddings are: uniform noise would make every kind of index look bad.

    They lie around 5,000 centres, spread in a subspace of 32 dimensions, with a little noise in all of them. Another
    ``stream`` of the same seed draws other vectors of the same mixture: queries that are not in the gallery. Blocks are
    float32 (n, d) of at most 50,000.
    """
    shape = np.random.default_rng(seed)
    basis = shape.normal(size=(min(_INTRINSIC, dimension), dimension)).astype(np.float32) / np.sqrt(dimension)
    centres = shape.normal(size=(_CLUSTERS, len(basis))).astype(np.float32)
    draw = np.random.default_rng([seed, stream])
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        places = centres[draw.integers(0, _CLUSTERS, size)]
        places = places + _SPREAD * draw.normal(size=places.shape).astype(np.float32)
        rows = places @ basis + 0.05 * draw.normal(size=(size, dimension)).astype(np.float32)
        yield (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def prepare(
    folder: Path, rows: int, dimension: int, num_queries: int, seed: int = 0, vectors: np.ndarray | None = None
) -> None:
    """Write rows, queries and their true neighbours, unless they are there; they are made up without ``vectors``."""
    if (folder / TRUTH_FILE).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_ids(folder, np.arange(rows))
    if vectors is None:
        blocks = clustered_embeddings(rows, dimension, seed)
        queries = np.concatenate(list(clustered_embeddings(num_queries, dimension, seed, stream=1)))
    else:
        drawn = np.random.default_rng(seed).permutation(len(vectors))[: rows + num_queries]
        queries, kept = _unit_rows(vectors, drawn[:num_queries]), np.sort(drawn[num_queries:])
        blocks = (_unit_rows(vectors, kept[start : start + _BLOCK]) for start in range(0, rows, _BLOCK))
    write_vectors(folder, SPACE, blocks, dimension, METRIC)
    np.save(folder / QUERIES_FILE, queries)
    truth = read_part(folder, SPACE, 'flat').vectors.search(queries, K)[1]
    np.save(folder / TRUTH_FILE, truth)


def _unit_rows(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return unit_length(check_embeddings(vectors[rows]), 'vectors')


def open_kind(folder: Path, preset: str, mmap: bool = True) -> Part:
    """The rows with an index of a kind that :func:`measure` has built."""
    vectors = read_part(folder, SPACE, 'flat', mmap).vectors
    approximate = None if is_flat(preset) else read_faiss(folder / index_file(_file_name(preset)), mmap)
    return Part(np.arange(vectors.ntotal), vectors, approximate, preset)


def _file_name(preset: str) -> str:
    """Factory strings such as ``IVF64,PQ8`` as names of files."""
    return f'{SPACE}.{re.sub("[^A-Za-z0-9_-]", "-", preset)}'


def measure(folder: Path, preset: str) -> KindResult:
    """Build and search a kind of index, then open it, each in a process of its own."""
    built = _in_process(_build_and_search, folder, preset)
    return KindResult(**built, **_in_process(_open, folder, preset))


def measure_overhead(folder: Path, preset: str, batches: Sequence[int], rounds: int = 9) -> list[Overhead]:
    """Compare FAISS and the engine on an index that :func:`measure` has built, for each number of queries at a time."""
    part = open_kind(folder, preset, mmap=False)
    engine = VectorIndex(part.vectors.d, METRIC, [part], device='cpu')
    index = part.vectors if part.approximate is None else part.approximate
    queries = np.load(folder / QUERIES_FILE)
    results = []
    for batch in batches:
        chosen, repeats = np.resize(queries, (batch, queries.shape[1])), max(1, 64 // batch)
        contenders = {
            'faiss': partial(_repeat, partial(run_search, index, chosen, K), repeats),
            'engine': partial(_repeat, partial(engine.search, chosen, K, rescore=0), repeats),
        }
        times = {name: 1e3 * np.array(seconds) / repeats for name, seconds in time_in_turns(contenders, rounds).items()}
        medians = {name: float(np.median(values)) for name, values in times.items()}
        ratio = float(np.median(times['engine'] / times['faiss']))
        results.append(Overhead(preset, batch, medians['faiss'], medians['engine'], ratio))
    return results


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of true neighbours, ids (m, k), among those found, ids (m, k)."""
    return float(np.mean([len(np.intersect1d(one, other)) / len(other) for one, other in zip(found, truth)]))


def format_kinds(results: Sequence[KindResult]) -> str:
    """Kinds of index as a Markdown table."""
    heads = (
        'preset', 'build s', 'looks at', 'recall@10', 'without re-scoring', '1 query ms', 'batch queries/s', 'peak MiB',
        'file MiB', 'open ms', 'opened MiB',
    )  # fmt: skip
    rows = [
        (
            f'`{one.preset}`', f'{one.build_seconds:.0f}', one.effort or 'all rows', f'{one.recall:.3f}',
            f'{one.recall_raw:.3f}', f'{one.single_ms:.2f}', f'{one.batch_qps:,.0f}', f'{one.build_mib:,.0f}',
            f'{one.disk_mib:,.0f}', f'{one.open_ms:.1f}', f'{one.open_mib:.1f}',
        )
        for one in results
    ]  # fmt: skip
    return markdown_table(heads, rows)


def format_overheads(results: Sequence[Overhead]) -> str:
    """What the engine adds, as a Markdown table."""
    rows = [
        (
            f'`{one.preset}`', one.batch, f'{one.faiss_ms:.2f}', f'{one.engine_ms:.2f}', f'{one.ratio:.3f}',
            f'{one.engine_ms - one.faiss_ms:.2f}',
        )
        for one in results
    ]  # fmt: skip
    return markdown_table(('preset', 'queries at a time', 'FAISS ms', 'engine ms', 'ratio', 'added ms'), rows)


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
    effort = None if is_flat(preset) else calibrate(index, vectors, METRIC, preset)
    seconds = time.perf_counter() - start
    size = (folder / vectors_file(SPACE)).stat().st_size
    if not is_flat(preset):
        size = (folder / write_index(folder, _file_name(preset), index)).stat().st_size
    del index
    searched = VectorIndex(vectors.d, METRIC, [open_kind(folder, preset, mmap=False)], device='cpu')
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
        build_mib=peak_bytes() / 2**20,
        disk_mib=size / 2**20,
    )


def _open(folder: Path, preset: str) -> dict[str, Any]:
    import_faiss()  # its import is not part of opening
    before, start = resident_bytes(), time.perf_counter()
    part = open_kind(folder, preset)
    index = VectorIndex(part.vectors.d, METRIC, [part], device='cpu')
    seconds = time.perf_counter() - start
    added = resident_bytes() - before
    index.search(part.rows[:1], 1)
    return dict(open_ms=seconds * 1e3, open_mib=added / 2**20)


def _seconds(index: VectorIndex, queries: np.ndarray) -> float:
    start = time.perf_counter()
    index.search(queries, K)
    return time.perf_counter() - start


def _repeat(function: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        function()
