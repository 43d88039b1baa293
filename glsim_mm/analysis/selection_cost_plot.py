"""Selection cost over image size as a picture (``selection_cost.png``)."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import GLSimError
from ..output_files import replace_with
from ..selectors import SELECTORS, EncoderShape, published_encoder_operations, published_selection_flops
from .selection_passes import PLAIN, Case, CostRow

# Okabe and Ito's palette, which people with any colour vision can tell apart; black is the plain encoder.
_COLOURS = {
    'gls': '#D55E00',
    'maws': '#0072B2',
    'class-attention': '#56B4E9',
    'sacm': '#CC79A7',
    'rollout': '#009E73',
    'psm': '#E69F00',
    'none': '#000000',
}
_MARKERS = {'gls': 'o', 'maws': 's', 'class-attention': 'v', 'sacm': 'P', 'rollout': '^', 'psm': 'D', 'none': 'X'}
_PUBLISHED = tuple(name for name, row in SELECTORS.items() if row.published_flops is not None)
_PUBLISHED_SIZES = (224, 448, 768, 1024)


def check_matplotlib() -> None:
    """Raise ``GLSimError`` unless matplotlib is installed."""
    if find_spec('matplotlib') is None:
        raise GLSimError('the plot needs matplotlib: pip install matplotlib, or give --no-plot')


class _Curve(NamedTuple):
    """Points (size, median, least, most) of a case; a way of ``'counted'`` stands for numbers by formula."""

    case: Case
    points: Sequence[tuple[float, ...]]

    @property
    def name(self) -> str:
        selector, way = self.case
        if way == 'whole model':
            return f'{selector}, crop pass and head'
        name = 'no selection' if selector == PLAIN.selector else selector
        return f'{name}, {"unfused" if selector == PLAIN.selector else way}' if way == 'published' else name


def plot_costs(rows: Sequence[CostRow], shape: EncoderShape, path: Path, title: str) -> None:
    """Draw cost of scoring, time and peak memory over image size; of several batch sizes, the first."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row.batch_size == rows[0].batch_size and row.case.selector in _COLOURS]
    sizes = sorted({row.image_size for row in rows})
    figure = Figure(figsize=(13, 10), layout='constrained')
    counted, scoring, total, memory = figure.subplots(2, 2).flat
    percent = '% of a plain encoder pass'
    _draw(counted, 'Scoring the patches, counted as in the paper', percent, _counted(_formula_sizes(sizes), shape))
    _draw(scoring, 'Scoring the patches, time measured', percent, _scoring(rows))
    _draw(total, 'Time of the whole pass', 'multiple of a plain encoder pass', _total(rows), is_log=False)
    total.axhline(1, color=_COLOURS['none'], linewidth=1)
    _draw(memory, 'Peak memory of the whole pass', 'MiB beyond weights and images', _memory(rows))
    notes = 'filled marks: ours, with fused attention; hollow ones: as published, unfused'
    figure.suptitle(f'{title}\n{notes}', fontsize=11)
    replace_with(path, lambda partial: figure.savefig(partial, dpi=130, format='png'))


def _formula_sizes(sizes: Sequence[int]) -> list[int]:
    """The paper's sizes beside the measured ones."""
    return sorted({*sizes, *(size for size in _PUBLISHED_SIZES if size >= min(sizes))})


def _counted(sizes: Sequence[int], shape: EncoderShape) -> list[_Curve]:
    curves = []
    for name in _PUBLISHED:
        flops = [published_selection_flops(name, size, shape) or 0 for size in sizes]
        percent = [100 * count / published_encoder_operations(size, shape) for count, size in zip(flops, sizes)]
        curves.append(
            _Curve(Case(name, 'counted'), [(size, share, share, share) for size, share in zip(sizes, percent)])
        )
    return curves


def _scoring(rows: Sequence[CostRow]) -> list[_Curve]:
    found: dict[Case, list[tuple[float, ...]]] = {}
    for row in rows:
        if row.scoring_ms is not None and row.seconds is not None and row.ratio is not None:
            plain_ms = 1000 * row.seconds.median / row.ratio.median
            point = row.image_size, *(100 * value / plain_ms for value in row.scoring_ms)
            found.setdefault(row.case, []).append(point)
    return [_Curve(*item) for item in found.items()]


def _total(rows: Sequence[CostRow]) -> list[_Curve]:
    found: dict[Case, list[tuple[float, ...]]] = {}
    for row in rows:
        if row.case != PLAIN and row.ratio is not None:
            found.setdefault(row.case, []).append((row.image_size, *row.ratio))
    return [_Curve(*item) for item in found.items()]


def _memory(rows: Sequence[CostRow]) -> list[_Curve]:
    found: dict[Case, list[tuple[float, ...]]] = {}
    for row in rows:
        if row.memory:
            peak = row.memory.peak_bytes / 2**20
            found.setdefault(row.case, []).append((row.image_size, peak, peak, peak))
    return [_Curve(*item) for item in found.items()]


def _draw(axes: Any, title: str, unit: str, curves: Sequence[_Curve], is_log: bool = True) -> None:
    """Curves with their ranges, each with its name beside its end."""
    for curve in curves:
        sizes, medians, lows, highs = np.transpose(curve.points)
        ranges = [medians - lows, highs - medians]
        axes.errorbar(sizes, medians, yerr=ranges, **_style(curve.case), linewidth=1.2, elinewidth=1)
    axes.set_title(title, fontsize=12)
    axes.set_ylabel(unit, fontsize=11)
    axes.set_xlabel('side of the image in pixels', fontsize=11)
    sizes = sorted({int(point[0]) for curve in curves for point in curve.points})
    axes.set_xscale('log')
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    if is_log:
        _set_log_ticks(axes)
    axes.minorticks_off()
    axes.grid(color='0.9')
    axes.set_axisbelow(True)
    _name_ends(axes, curves)


def _set_log_ticks(axes: Any) -> None:
    """Numbers at powers of ten, and at twice and five times these where fewer than four of them would be seen."""
    from matplotlib.ticker import LogLocator

    axes.set_yscale('log')
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1e4 * low else (1,), numticks=20))
    axes.yaxis.set_major_formatter(lambda value, position: f'{value:,.10g}')


def _name_ends(axes: Any, curves: Sequence[_Curve]) -> None:
    """Write names to the right of the axes, at the heights of the ends where there is room."""
    ends = [curve.points[-1][:2] for curve in curves]
    to_share = axes.transData + axes.transAxes.inverted()
    heights = spread_apart([to_share.transform(end)[1] for end in ends], 0.05)
    for curve, end, height in zip(curves, ends, heights):
        line = dict(arrowstyle='-', color=_COLOURS[curve.case.selector], linewidth=0.8, relpos=(0, 0.5), shrinkB=4)
        axes.annotate(
            curve.name, end, (1.07, height), textcoords='axes fraction', va='center', fontsize=10, arrowprops=line
        )


def spread_apart(places: Sequence[float], gap: float) -> list[float]:
    """Places between 0 and 1 for labels, in the order of those that they would like, ``gap`` apart at least.

    Labels that would overlap move up and down alike. ``gap`` becomes smaller where there are too many.
    """
    order = np.argsort(places, kind='stable')
    wanted = np.asarray(places, np.float64)[order]
    steps = min(gap, 1 / max(len(wanted) - 1, 1)) * np.arange(len(wanted))
    # The least places that keep the gap upwards, and the largest that keep it downwards; between them lies the middle.
    upwards = np.maximum.accumulate(wanted - steps) + steps
    downwards = np.minimum.accumulate((wanted - steps)[::-1])[::-1] + steps
    middle = np.clip((upwards + downwards) / 2, steps, 1 - steps[::-1])
    found = np.empty_like(middle)
    found[order] = middle
    return found.tolist()


def _style(case: Case) -> dict[str, Any]:
    colour = _COLOURS[case.selector]
    is_whole = case.way == 'whole model'
    return dict(
        color=colour,
        marker='*' if is_whole else '' if case.way == 'counted' else _MARKERS[case.selector],
        markersize=11 if is_whole else 7,
        markerfacecolor='white' if case.way == 'published' else colour,
        markeredgecolor=colour,
        linestyle={'fused': '-', 'published': ':', 'whole model': '-.', 'counted': '--'}[case.way],
    )
