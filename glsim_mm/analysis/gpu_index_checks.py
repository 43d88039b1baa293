"""Checks of FAISS on a GPU, and the tests of the project that need one; none of them loads the model stack."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.index import make_part
from retrieval.index.gpu import Device, GpuSearcher, count_gpus, has_cuvs, read_device, to_gpu
from retrieval.index.part import Part
from retrieval.index.part_search import search_part
from retrieval.vectors import import_faiss, unit_length

from .gpu_outcome import FAILED, CheckFailedError, NotHereError, Outcome, Scope, last_lines
from .index_benchmark import METRIC, K, clustered_embeddings, recall
from .measuring import spread, time_in_turns, times_as_fast

PRESETS = ('flat', 'fp16', 'ivf-flat', 'ivf-pq', 'opq')
QUICK_PRESETS = ('flat', 'ivf-flat')
# Shares of the ids that CPU and GPU must have in common, row by row: rounding may swap rows that are as near as each
# other, and decide which of two inverted lists is looked at.
SAME_IDS = {'flat': 0.995}
SAME_IDS_OTHERS = 0.95
_DIFFERENCE = 1e-3  # of cosines


def check_parity(scope: Scope) -> Outcome:
    """Whether a GPU finds the ids of the CPU, with scores within 0.001, with and without filters, and how often."""
    rows, queries = _vectors(scope, 40_000, 64 if scope.on_gpu else 16, 64)  # half of them are not gathered
    table, figures = [['preset', 'device', 'search', 'same ids', 'difference', 'filter']], {}
    wrong = []
    for preset, device, part, searcher in _copies(scope, rows):
        for name, (same, difference) in _compare(part, queries, searcher).items():
            figures[f'{preset} {device} {name}'] = dict(same_ids=same, largest_difference=difference)
            inside = 'inside' if searcher.takes_filters else 'not inside'
            filtering = inside if name not in ('plain', '3,000 hits') else ''
            table.append([preset, device, name, f'{100 * same:.2f} %', f'{difference:.1e}', filtering])
            if same < SAME_IDS.get(preset, SAME_IDS_OTHERS) or not difference <= _DIFFERENCE:
                wrong.append(f'{preset} ({device}, {name})')
    if wrong:
        said = f'CPU and GPU differ: {", ".join(wrong)}'
        return Outcome(status=FAILED, said=said, figures=figures, table=table)
    said = f'{len(table) - 1} searches of {len(rows):,} rows found what the CPU finds'
    if scope.on_gpu:
        said += f'; FAISS {import_faiss().__version__} {"with" if has_cuvs() else "without"} cuVS'
    return Outcome(said=said, figures=figures, table=table)


def measure_speed(scope: Scope) -> Outcome:
    """Queries per second of flat and inverted lists on the GPU and on the CPU, which take turns."""
    size = (100_000, 384) if scope.on_gpu and not scope.quick else (20_000, 128) if scope.on_gpu else (2_000, 32)
    rows, queries = _vectors(scope, *size, 1024 if scope.on_gpu else 64)
    table, figures = [['preset', 'rows', 'queries', 'CPU q/s', 'GPU q/s', 'GPU / CPU']], {}
    for preset in ('flat', 'ivf-flat'):
        part = make_part(rows, np.arange(len(rows)), METRIC, preset)
        searcher = _copy(part, read_device('gpu'), scope)
        for count in (len(queries), 1):
            contenders = {
                'cpu': partial(search_part, part, queries[:count], K, METRIC),
                'gpu': partial(search_part, part, queries[:count], K, METRIC, searcher=searcher),
            }
            times = time_in_turns(contenders, 3 if scope.quick else 7)  # answers are on the CPU when a search returns
            speeds = {name: count / spread(seconds).median for name, seconds in times.items()}
            ratio = times_as_fast(times['gpu'], times['cpu'])
            figures[f'{preset} {count}'] = dict(rows=len(rows), **speeds, gpu_over_cpu=ratio._asdict())
            cells = [f'{speeds["cpu"]:,.0f}', f'{speeds["gpu"]:,.0f}', f'{ratio:.1f}']
            table.append([preset, f'{len(rows):,}', str(count), *cells])
    threads = import_faiss().omp_get_max_threads()
    said = f'{size[1]} dimensions, made-up rows, {K} neighbours, CPU threads: {threads}; medians, tenths of rounds'
    return Outcome(said=said, figures=figures, table=table)


def run_tests(scope: Scope) -> Outcome:
    """Run those tests of the project that are marked as needing a GPU, where the checkout has them."""
    root = Path(__file__).resolve().parents[2]
    files = [
        path for path in sorted((root / 'tests').rglob('test_*.py')) if 'pytest.mark.gpu' in path.read_text('utf-8')
    ]
    if not files:
        raise NotHereError('the tests are not here: they are in the checkout of the repository, not in the package')
    if not scope.on_gpu:
        raise NotHereError(f'the tests in {", ".join(path.name for path in files)} need a GPU')
    # Of the project's own settings only the path is wanted: plugins that they name may not be there.
    options = ['-o', 'addopts=', '-p', 'no:cacheprovider', '-W', 'ignore', '-m', 'gpu', '-q', '-rs']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(root), *filter(None, sys.path)])}
    command = [sys.executable, '-m', 'pytest', *options, *map(str, files)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    end = done.stdout.strip().splitlines()[-1:] or done.stderr.strip().splitlines()[-1:]
    said = ' '.join(end).strip('= ')
    if done.returncode:
        sys.stderr.write(last_lines(done.stdout + done.stderr, 40) + '\n')
        raise CheckFailedError(f'pytest: {said}')
    if 'passed' not in said:
        raise NotHereError(f'pytest: {said}: FAISS finds no GPU that it can use')
    return Outcome(said=f'pytest: {said}')


def _vectors(scope: Scope, count: int, dimension: int, num_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and queries of the same clusters, float32 of unit length."""
    if scope.on_gpu and count_gpus() == 0:
        raise NotHereError(
            f'FAISS {import_faiss().__version__} finds no GPU that it can use: install faiss-gpu in place of faiss-cpu'
        )
    rows = np.concatenate(list(clustered_embeddings(count, dimension)))
    queries = np.concatenate(list(clustered_embeddings(num_queries, dimension, stream=1)))
    return unit_length(rows), unit_length(queries)


def _copies(scope: Scope, rows: np.ndarray) -> Iterator[tuple[str, str, Part, Any]]:
    """Presets, devices, and the parts with their copies."""
    devices = ['gpu', *(['gpu:shard'] if scope.on_gpu and count_gpus() > 1 else [])]
    for preset in QUICK_PRESETS if scope.quick else PRESETS:
        part = make_part(rows, np.arange(len(rows)), METRIC, preset)
        for device in [*devices, *(['gpu:fp16'] if preset == 'flat' and scope.on_gpu else [])]:
            if device == 'gpu:shard' and preset == 'fp16':
                continue  # goes to one GPU whole
            yield preset, device if scope.on_gpu else 'cpu', part, _copy(part, read_device(device), scope)


def _copy(part: Part, device: Device, scope: Scope) -> Any:
    """A copy on the GPU; without one the index itself, searched as a copy is."""
    if not scope.on_gpu:
        return GpuSearcher(part, part.vectors if part.approximate is None else part.approximate)
    copy = to_gpu(part, device)
    if copy is None:
        raise CheckFailedError(f'FAISS did not copy {part.preset} to the GPU; its log says why')
    return copy


def _compare(part: Part, queries: np.ndarray, searcher: Any) -> dict[str, tuple[float, float]]:
    """Shares of the same ids and largest differences of scores, by kind of search."""
    numbers = np.arange(len(part))
    searches = {'plain': (K, None), 'removed rows': (K, numbers >= 10), 'filter 1/2': (K, numbers % 2 == 0)}
    if part.approximate is None:
        searches['3,000 hits'] = (3000, None)  # more than a GPU returns
    found = {}
    for name, (k, allowed) in searches.items():
        cpu = search_part(part, queries, k, METRIC, allowed)
        gpu = search_part(part, queries, k, METRIC, allowed, searcher=searcher)
        if allowed is not None and not allowed[gpu[1]].all():
            return {name: (0.0, 1e9)}  # what the filter removes was found
        found[name] = recall(gpu[1], cpu[1]), float(np.abs(cpu[0] - gpu[0]).max())
    return found
