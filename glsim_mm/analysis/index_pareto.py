"""Which kinds of index others leave behind in memory, recall and speed at once; as a table and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from ..output_files import replace_with
from .measuring import markdown_table


class Measured(Protocol):
    """What is compared of a kind of index: see :class:`~glsim_mm.analysis.index_benchmark.KindResult`."""

    @property
    def preset(self) -> str: ...
    @property
    def row_bytes(self) -> float: ...
    @property
    def recall(self) -> float: ...
    @property
    def single_ms(self) -> float: ...
    @property
    def batch_qps(self) -> float: ...


M = TypeVar('M', bound=Measured)


def dominates(one: Measured, other: Measured, leeway: float = 0.0) -> bool:
    """Whether a kind is no worse than another in bytes, recall and both speeds, and better in one of them.

    Times within ``leeway``, as 0.1 of each other, count as equal.
    """
    slower = 1 + leeway
    gains = (
        other.row_bytes - one.row_bytes,
        one.recall - other.recall,
        one.batch_qps * slower - other.batch_qps,
        other.single_ms * slower - one.single_ms,
    )
    better = (
        one.row_bytes < other.row_bytes
        or one.recall > other.recall
        or one.batch_qps > other.batch_qps * slower
        or one.single_ms * slower < other.single_ms
    )
    return min(gains) >= 0 and better


def pareto(kinds: Sequence[M], leeway: float = 0.0) -> list[M]:
    """The kinds that no other dominates, the smallest first."""
    best = [one for one in kinds if not any(dominates(other, one, leeway) for other in kinds)]
    return sorted(best, key=lambda one: one.row_bytes)


def format_pareto(kinds: Sequence[Measured]) -> str:
    """All kinds as a Markdown table, the smallest first, each with what dominates it."""
    rows = []
    for one in sorted(kinds, key=lambda one: one.row_bytes):
        worse_than = [f'`{other.preset}`' for other in kinds if dominates(other, one)]
        rows.append(
            (
                f'`{one.preset}`', f'{one.row_bytes:,.0f}', f'{one.recall:.3f}', f'{one.batch_qps:,.0f}',
                f'{one.single_ms:.2f}', ', '.join(worse_than) or 'none',
            )
        )  # fmt: skip
    return markdown_table(('preset', 'bytes a row', 'recall@10', 'batch queries/s', '1 query ms', 'dominated by'), rows)


def plot_pareto(kinds: Sequence[Measured], path: Path, title: str) -> None:
    """Draw recall and queries per second over bytes a row; hollow marks are dominated kinds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout='constrained')
    best = {one.preset for one in pareto(kinds)}
    left, right = figure.subplots(1, 2)
    for one in kinds:
        face = '#0072B2' if one.preset in best else 'none'
        for axes, place in ((left, (one.row_bytes, one.recall)), (right, (one.row_bytes, one.batch_qps))):
            axes.plot(*place, 'o', color='#0072B2', markerfacecolor=face)
            axes.annotate(one.preset, place, textcoords='offset points', xytext=(4, 4), fontsize=8)
    left.set(xscale='log', xlabel='bytes a row in memory', ylabel='recall@10')
    right.set(xscale='log', yscale='log', xlabel='bytes a row in memory', ylabel='queries per second in a batch')
    figure.suptitle(f'{title} (hollow: another kind is better in all)')
    replace_with(path, lambda partial: figure.savefig(partial, dpi=130, format='png'))
