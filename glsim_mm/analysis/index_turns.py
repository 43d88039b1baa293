"""Kinds of index at one recall, timed in turns: how many times as fast, and as large, each is as the first."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from retrieval.index import VectorIndex
from retrieval.index.effort import K, reach_recall
from retrieval.index.part import Part

from .measuring import Spread, markdown_table, spread, time_in_turns, times_as_fast

_SINGLE = 64


@dataclass
class TurnResult:
    """A kind of index beside the first one.

    Attributes:
        effort: What it looks at to reach the recall, as ``'nprobe 32'``; empty where every row is compared.
        recall: Share of the true 10 nearest that it finds then.
        batch_qps: Queries per second of CPU time, all in one batch.
        single_ms: CPU time of one query alone.
        batch_ratio, single_ratio: How many times as fast as the first kind, round by round.
    """

    preset: str
    effort: str
    recall: float
    batch_qps: Spread
    single_ms: Spread
    batch_ratio: Spread
    single_ratio: Spread


def measure_in_turns(
    parts: Mapping[str, Part], metric: str, queries: np.ndarray, truth: np.ndarray, recall: float, rounds: int
) -> list[TurnResult]:
    """Set each index to a recall of these queries, then time batches and single queries of all of them in turns.

    Times are those of the process, so that other work on the machine counts less.
    """
    indexes, found = {}, {}
    for name, part in parts.items():
        indexes[name] = VectorIndex(part.vectors.d, metric, [part], device='cpu')
        effort = None if part.approximate is None else reach_recall(part.approximate, queries, truth, name, recall)
        hits = indexes[name].search(queries, K).ids
        share = float((hits[:, :, None] == truth[:, None, :]).any(1).mean())
        found[name] = ('' if effort is None else f'{effort.name} {effort.value}', share)
    whole = {name: partial(one.search, queries, K) for name, one in indexes.items()}
    alone = {name: _singly(one, queries) for name, one in indexes.items()}
    batch, single = (time_in_turns(calls, rounds, clock=time.process_time) for calls in (whole, alone))
    first, count = next(iter(parts)), min(_SINGLE, len(queries))
    return [
        TurnResult(
            name,
            *found[name],
            spread([len(queries) / one for one in batch[name]]),
            spread([1e3 * one / count for one in single[name]]),
            times_as_fast(batch[name], batch[first]),
            times_as_fast(single[name], single[first]),
        )
        for name in parts
    ]


def format_turns(results: Sequence[TurnResult], row_bytes: Mapping[str, float]) -> str:
    """A Markdown table, with the bytes a row of each kind."""
    first = results[0].preset
    heads = (
        'preset', 'bytes a row', 'looks at', 'recall@10', 'batch queries/s', f'times `{first}`', '1 query ms',
        f'times `{first}`',
    )  # fmt: skip
    rows = [
        (
            f'`{one.preset}`', f'{row_bytes[one.preset]:,.0f}', one.effort or 'all rows', f'{one.recall:.3f}',
            f'{one.batch_qps.median:,.0f}', f'{one.batch_ratio:.2f}', f'{one.single_ms.median:.3f}',
            f'{one.single_ratio:.2f}',
        )
        for one in results
    ]  # fmt: skip
    return markdown_table(heads, rows)


def _singly(index: VectorIndex, queries: np.ndarray) -> Callable[[], Any]:
    """A function that searches for some queries one by one."""

    def search() -> None:
        for row in range(min(_SINGLE, len(queries))):
            index.search(queries[row : row + 1], K)

    return search
