"""Which kind of index fits someone's own rows: measured on them, for a recall, within a memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.index import PRESETS, VectorIndex
from retrieval.index.effort import K, draw_queries
from retrieval.index.part import make_part
from retrieval.index.presets import available_memory, index_bytes, is_flat, readable

from .measuring import markdown_table

if TYPE_CHECKING:
    from retrieval.gallery import GalleryReader, GalleryWriter

SAMPLE = 100_000
_SINGLE, _ROUNDS = 30, 3


@dataclass
class Trial:
    """What was measured of a kind of index on a gallery's rows.

    Attributes:
        ram: Bytes for all rows of the gallery.
        effort: Parameter and value that calibration chose, as ``'nprobe 32'``; empty where every row is compared.
        recall: Share of the true 10 nearest among the 10 found.
        batch_qps: Queries per second of one batch; the best of a few.
        single_ms: Median time of one query.
    """

    preset: str
    ram: int
    effort: str
    recall: float
    batch_qps: float
    single_ms: float

    @property
    def row_bytes(self) -> float:
        """Stands for memory where kinds are compared."""
        return float(self.ram)


def tune_index(
    gallery: GalleryReader,
    recall: float,
    memory: int | None = None,
    qps: float | None = None,
    presets: Sequence[str] | None = None,
    sample: int = SAMPLE,
    note: Callable[[str], object] = lambda text: None,
) -> tuple[list[Trial], Trial]:
    """Measure kinds of index on a gallery's own rows; all trials, and the one to take.

    It is the fastest in a batch that reaches the recall within the memory; with ``qps``, the smallest that also
    answers as many queries per second. Queries are drawn near the rows, see
    :func:`retrieval.index.effort.draw_queries`.

    Args:
        gallery: Of which the space that is searched by default is taken.
        recall: Wanted share of the 10 nearest rows, > 0 and <= 1.
        memory: Bytes for the index of all rows; None for half of the machine's memory.
        qps: Queries per second, one thread of FAISS where ``OMP_NUM_THREADS=1``.
        presets: Kinds to try; None for all.
        sample: Rows to measure on at most, drawn at random. Recall of all rows is a little lower.
        note: Called with the name of each kind that is measured.

    Raises:
        RetrievalError: If nothing fits, with what would.
    """
    rows, metric = _rows(gallery, sample), gallery.manifest.metric
    limit = available_memory() // 2 if memory is None else memory
    names = [name for name in presets or PRESETS if not (metric == 'ip' and name in ('hnsw-pca', 'hnsw-rabitq2'))]
    for name in names:
        if name not in PRESETS:
            raise RetrievalError(f'there is no preset {name!r}: take some of {", ".join(PRESETS)}')
    sizes = {name: index_bytes(name, len(gallery), rows.shape[1]).ram for name in names}
    fitting = [name for name in names if sizes[name] <= limit]
    if not fitting:
        least = min(sizes, key=lambda name: sizes[name])
        raise RetrievalError(
            f'no index of {len(gallery):,} x {rows.shape[1]} fits into {readable(limit)}: the smallest, {least}, takes '
            f'{readable(sizes[least])}'
        )
    queries = draw_queries(rows, metric, 256)
    exact = VectorIndex.build(rows, metric=metric, preset='flat', device='cpu')
    truth = exact.search(queries, K).ids
    trials = []
    for name in fitting:
        note(name)
        trials.append(_measure(name, sizes[name], rows, metric, queries, truth, recall))
    return trials, choose_trial(trials, recall, qps)


def choose_trial(trials: Sequence[Trial], recall: float, qps: float | None = None) -> Trial:
    """The fastest trial with a recall, or the smallest that is fast enough too; RetrievalError says what is reached."""
    exact_enough = [one for one in trials if one.recall >= recall]
    if not exact_enough:
        best = max(trials, key=lambda one: one.recall)
        raise RetrievalError(
            f'no kind that fits reaches recall {recall:g}: {best.preset} comes to {best.recall:.3f}; take --recall '
            f'{int(best.recall * 1000) / 1000:g}, or more --memory'
        )
    if qps is None:
        return max(exact_enough, key=lambda one: one.batch_qps)
    fast = [one for one in exact_enough if one.batch_qps >= qps]
    if not fast:
        best = max(exact_enough, key=lambda one: one.batch_qps)
        raise RetrievalError(
            f'no kind that fits answers {qps:g} queries a second at recall {recall:g}: {best.preset} answers '
            f'{best.batch_qps:.0f}; take --qps {int(best.batch_qps)}, a lower --recall, or more threads'
        )
    return min(fast, key=lambda one: one.ram)


def apply_choice(gallery: GalleryWriter, trial: Trial, recall: float) -> str:
    """Build the index that was chosen, calibrated for the recall; a sentence that says so."""
    gallery.compact(trial.preset, recall=None if is_flat(trial.preset) else recall)
    return f'{gallery.location} is searched by {gallery.manifest.preset_reason}'


def format_trials(trials: Sequence[Trial]) -> str:
    """Trials as a Markdown table, the smallest first."""
    rows = [
        (
            f'`{one.preset}`', readable(one.ram), one.effort or 'all rows', f'{one.recall:.3f}',
            f'{one.batch_qps:,.0f}', f'{one.single_ms:.2f}',
        )
        for one in sorted(trials, key=lambda one: one.ram)
    ]  # fmt: skip
    return markdown_table(('preset', 'memory', 'looks at', 'recall@10', 'batch queries/s', '1 query ms'), rows)


def _rows(gallery: GalleryReader, sample: int) -> np.ndarray:
    ids = gallery.ids()
    if len(ids) < 2 * K:
        raise RetrievalError(f'{gallery.location} has {len(ids)} rows: tuning needs {2 * K}; flat is exact for so few')
    if len(ids) > sample:
        ids = ids[np.sort(np.random.default_rng(0).choice(len(ids), sample, replace=False))]
    return np.ascontiguousarray(gallery.vectors(ids), np.float32)


def _measure(
    preset: str, ram: int, rows: np.ndarray, metric: str, queries: np.ndarray, truth: np.ndarray, recall: float
) -> Trial:
    index = VectorIndex(rows.shape[1], metric, device='cpu')
    index.parts = (make_part(rows, np.arange(len(rows)), metric, preset, recall),)
    effort = index.parts[0].effort
    found = index.search(queries, K).ids
    batch = min(_seconds(index, queries) for _ in range(_ROUNDS))
    single = [_seconds(index, queries[row % len(queries)][None]) for row in range(_SINGLE)]
    share = float((found[:, :, None] == truth[:, None, :]).any(1).mean())
    looks = '' if effort is None else f'{effort.name} {effort.value}'
    return Trial(preset, ram, looks, share, len(queries) / batch, 1e3 * float(np.median(single)))


def _seconds(index: VectorIndex, queries: np.ndarray) -> float:
    start = time.perf_counter()
    index.search(queries, K)
    return time.perf_counter() - start
