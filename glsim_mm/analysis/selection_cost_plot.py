"""Selection cost over image size as a picture (``selection_cost.png``)."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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


def plot_costs(rows: Sequence[CostRow], shape: EncoderShape, path: Path, title: str) -> None:
    """Draw scoring cost and peak memory over image size, log-log; of several batch sizes, the first."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row.batch_size == rows[0].batch_size and row.case.selector in _COLOURS]
    sizes = sorted({row.image_size for row in rows})
    figure = Figure(figsize=(15, 5.6), layout='constrained')
    scoring, total, memory = figure.subplots(1, 3)
    _draw_formulas(scoring, _formula_sizes(sizes), shape)
    _draw_scoring(scoring, rows)
    _draw_total(total, rows)
    _draw_memory(memory, rows)
    _label(scoring, 'Scoring the patches', '% of a plain encoder pass', _formula_sizes(sizes))
    _label(total, 'Time of the whole pass', 'multiple of a plain encoder pass', sizes)
    _label(memory, 'Peak memory of the whole pass', 'MiB beyond weights and images', sizes)
    figure.suptitle(title, fontsize=11)
    figure.legend(handles=_legend(rows), loc='outside lower center', ncols=6, fontsize=9, frameon=False)
    replace_with(path, lambda partial: figure.savefig(partial, dpi=130, format='png'))


def _formula_sizes(sizes: Sequence[int]) -> list[int]:
    """The paper's sizes beside the measured ones."""
    return sorted({*sizes, *(size for size in _PUBLISHED_SIZES if size >= min(sizes))})


def _draw_formulas(axes: Any, sizes: Sequence[int], shape: EncoderShape) -> None:
    for name in _PUBLISHED:
        flops = [published_selection_flops(name, size, shape) or 0 for size in sizes]
        percent = [100 * count / published_encoder_operations(size, shape) for count, size in zip(flops, sizes)]
        axes.plot(sizes, percent, color=_COLOURS[name], linewidth=1.2, linestyle='--')


def _draw_scoring(axes: Any, rows: Sequence[CostRow]) -> None:
    for row in rows:
        if row.scoring_ms is not None and row.seconds is not None and row.ratio is not None:
            plain_ms = 1000 * row.seconds.median / row.ratio.median
            _draw(axes, row.case, [(row.image_size, *(100 * value / plain_ms for value in row.scoring_ms))])


def _draw_total(axes: Any, rows: Sequence[CostRow]) -> None:
    for case in dict.fromkeys(row.case for row in rows if row.case != PLAIN):
        _draw(axes, case, [(row.image_size, *row.ratio) for row in rows if row.case == case and row.ratio is not None])
    axes.axhline(1, color=_COLOURS['none'], linewidth=1)


def _draw_memory(axes: Any, rows: Sequence[CostRow]) -> None:
    for case in dict.fromkeys(row.case for row in rows):
        uses = [(row.image_size, row.memory.peak_bytes / 2**20) for row in rows if row.case == case and row.memory]
        _draw(axes, case, [(size, peak, peak, peak) for size, peak in uses])


def _draw(axes: Any, case: Case, points: Sequence[tuple[float, ...]]) -> None:
    """Points (size, median, low, high) of one case with their ranges, joined by a line."""
    if points:
        sizes, medians, lows, highs = zip(*points)
        below = [median - low for median, low in zip(medians, lows)]
        above = [high - median for median, high in zip(medians, highs)]
        axes.errorbar(sizes, medians, yerr=[below, above], **_style(case), linewidth=1, elinewidth=1)


def _style(case: Case) -> dict[str, Any]:
    colour = _COLOURS[case.selector]
    is_whole = case.way == 'whole model'
    return dict(
        color=colour,
        marker='*' if is_whole else _MARKERS[case.selector],
        markersize=11 if is_whole else 7,
        markerfacecolor='white' if case.way == 'published' else colour,
        markeredgecolor=colour,
        linestyle={'fused': '-', 'published': ':', 'whole model': '-.'}[case.way],
    )


def _label(axes: Any, title: str, unit: str, sizes: Sequence[int]) -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xscale('log')
    axes.set_yscale('log')
    axes.set_ylabel(unit, fontsize=10)
    axes.set_xlabel('side of the image in pixels', fontsize=10)
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    axes.yaxis.set_major_formatter(lambda value, position: f'{value:g}')
    axes.minorticks_off()
    axes.grid(color='0.9')
    axes.set_axisbelow(True)


def _legend(rows: Sequence[CostRow]) -> list[Any]:
    from matplotlib.lines import Line2D

    names = dict.fromkeys([*(row.case.selector for row in rows), *_PUBLISHED])
    labels = {'none': 'no selection'}
    handles = [
        Line2D([], [], **{**_style(Case(name, 'fused')), 'linestyle': 'none'}, label=labels.get(name, name))
        for name in names
    ]
    grey: dict[str, Any] = dict(color='0.3', markeredgecolor='0.3', marker='o', markersize=7)
    handles += [
        Line2D([], [], color='0.3', linestyle='--', label='counted as in the paper'),
        Line2D([], [], **grey, linestyle='-', label='ours, measured (fused)'),
        Line2D([], [], **grey, linestyle=':', markerfacecolor='white', label='as published, measured (unfused)'),
    ]
    whole = [row.case for row in rows if row.case.way == 'whole model'][:1]
    return handles + [Line2D([], [], **_style(case), label='gls, crop pass and head') for case in whole]
