"""What selecting regions costs: counted by formula and measured side by side in one run."""

import csv
import io
import platform
import random
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby, product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..apis.options import load_config
from ..errors import GLSimError
from ..models.utils import check_image_size
from ..output_files import check_output_folder, write_file
from ..selectors import (
    SELECTORS,
    EncoderShape,
    encoder_flops,
    published_encoder_operations,
    published_selection_flops,
    selection_flops,
)
from .measuring import MeasuringProcesses, Spread
from .selection_cost_plot import check_matplotlib, plot_costs
from .selection_passes import PLAIN, Case, CostRow, MemoryUse, Passes, list_cases, measure_memory, vit_settings

_WAY_NAMES = {'fused': 'ours', 'published': 'published', 'whole model': '+ crop pass'}
_PLAIN_NOTE = 'no selection: a plain ViT; "published" makes the attention matrices and drops them.'
_HEAD = (
    'selector        way         time / plain pass scoring   peak  SxS         MFLOPs',
    '                            median (range)         ms    MiB alive  paper   ours',
)
_EXPLANATION = """\
ours: fused attention, queries and keys recorded where needed; published:
unfused attention, whole matrices and their products. Peak: beyond weights and
images.
SxS alive: attention matrices held at once, per image; a layer has one per head.
Paper: FLOPs as in arXiv 2407.12891; ours: FLOPs of this package's own way."""


def run_study(
    out_dir: str,
    sizes: Sequence[int] = (224, 448),
    batch_size: Sequence[int] = (1,),
    model: str = 'vit-base',
    patch_size: int = 16,
    config: str | None = None,
    selectors: Sequence[str] | None = None,
    repeats: int = 5,
    threads: int | None = None,
    device: str = 'cpu',
    no_plot: bool = False,
    on_progress: Callable[[str], Any] = lambda text: None,
) -> str:
    """Measure what selecting regions costs, write ``selection_cost.csv``, draw ``selection_cost.png``, give the table.

    Arguments are those of ``glsim selection-cost``; ``on_progress`` gets lines of text meanwhile.
    """
    on_cuda = torch.device(device).type == 'cuda'
    if on_cuda and not torch.cuda.is_available():
        raise GLSimError(f'--device {device}: torch sees no GPU; take --device cpu')
    if not no_plot:
        check_matplotlib()
    folder = Path(out_dir)
    check_output_folder(folder)
    settings = load_config(config).model.to_dict() if config else vit_settings(model, patch_size)
    rows = measure_selection_cost(settings, sizes, batch_size, selectors, repeats, device, threads, on_progress)
    name = config or f'{model}, patch {patch_size}'
    setting = dict(
        model=name,
        repeats=repeats,
        device=torch.cuda.get_device_name(device) if on_cuda else f'CPU {platform.machine()}',
        threads=threads or torch.get_num_threads(),
        torch=torch.__version__,
    )
    title = '{model}; {device}, {threads} threads, torch {torch}; {repeats} rounds'.format(**setting)
    write_file(folder / 'selection_cost.csv', _to_csv(rows, setting))
    if not no_plot:
        note = f'{title}; medians, bars from least to most'
        plot_costs(rows, Passes(settings).shape(), folder / 'selection_cost.png', note)
    return f'{title}\n\n{_format_costs(rows)}'


def measure_selection_cost(
    settings: dict,
    image_sizes: Sequence[int],
    batch_sizes: Sequence[int] = (1,),
    selectors: Sequence[str] | None = None,
    repeats: int = 5,
    device: str = 'cpu',
    threads: int | None = None,
    on_progress: Callable[[str], Any] = lambda text: None,
) -> list[CostRow]:
    """Measure time and peak memory of each way of selecting regions; by image size, batch size and case.

    The cases run in turn, in a new order in each round, each directly after a plain encoder pass whose time it is
    divided by: what else the machine does then hits both. A first round is not counted.
    """
    cases = list_cases(selectors)
    passes = Passes(settings, device)
    for size in image_sizes:
        check_image_size((size, size), passes.layout.patch_size)
    shape = passes.shape()
    before = torch.get_num_threads()
    threads = threads or before
    rows: list[CostRow] = []
    torch.set_num_threads(threads)
    try:
        with nullcontext() if passes.device.type == 'cuda' else MeasuringProcesses() as processes:
            for size, batch in product(image_sizes, batch_sizes):
                on_progress(f'{size} px, batch {batch}: {len(cases)} cases')
                memory = {case: measure_memory(case, size, batch, passes, threads, processes) for case in cases}
                feasible = [case for case in cases if memory[case] is not None]
                if PLAIN not in feasible:
                    raise GLSimError(
                        f'memory does not suffice for a plain encoder pass at {size} px and batch {batch}; take '
                        'smaller --sizes, --batch-size or --model'
                    )
                times = _measure_times(passes, feasible, passes.images(size, batch), repeats)
                rows += [_row(size, batch, case, times.get(case), memory[case], passes, shape) for case in cases]
    finally:
        torch.set_num_threads(before)
    return rows


def _measure_times(passes: Passes, cases: Sequence[Case], images: Tensor, repeats: int) -> dict[Case, list[Spread]]:
    """Seconds, ratios to the plain pass, and milliseconds of scoring of each case: median, least and most."""
    times: dict[Case, list[tuple[float, float, float]]] = {case: [] for case in cases}
    order = list(cases)
    shuffle = random.Random(0).shuffle
    for number in range(repeats + 1):
        for case in order:
            plain = passes.run(PLAIN, images).total
            result = passes.run(case, images)
            if number > 0:
                times[case].append((result.total, result.total / plain, 1000 * result.scoring))
        shuffle(order)
    return {
        case: [Spread(median(values), min(values), max(values)) for values in zip(*measured)]
        for case, measured in times.items()
    }


def _row(
    size: int,
    batch: int,
    case: Case,
    times: list[Spread] | None,
    memory: MemoryUse | None,
    passes: Passes,
    shape: EncoderShape,
) -> CostRow:
    rows, cols = (-(-size // patch) for patch in passes.layout.patch_size)
    tokens = passes.layout.num_extra_tokens + rows * cols
    seconds, ratio, scoring = times or (None, None, None)
    is_scored = case.selector != 'none' and case.way != 'whole model'
    published = needed = None
    if case.selector in SELECTORS:
        published = published_selection_flops(case.selector, size, shape)
        needed = selection_flops(case.selector, tokens, shape) if case.way == 'fused' else None
    counts = _count(published, published_encoder_operations(size, shape)) + _count(needed, encoder_flops(tokens, shape))
    return CostRow(size, batch, tokens, case, seconds, ratio, scoring if is_scored else None, memory, *counts)


def _count(flops: int | None, of_encoder: int) -> tuple[float | None, float | None]:
    """MFLOPs, and per cent of the encoder's FLOPs."""
    return (None, None) if flops is None else (flops / 1e6, 100 * flops / of_encoder)


def _format_costs(rows: Sequence[CostRow]) -> str:
    """Lay rows out in 80 columns, one block per image and batch size, with what the counts leave out below."""
    blocks = []
    for (size, batch, tokens), group in groupby(rows, key=lambda row: row[:3]):
        block = list(group)
        seconds = block[0].seconds
        title = f'{size} px, batch {batch}, S = {tokens} tokens'
        if seconds:
            title += f': plain pass {seconds:.3g} s'
        blocks.append('\n'.join([title, *_HEAD, *map(_line, block)]))
    selectors = dict.fromkeys(row.case.selector for row in rows)
    notes = {name: SELECTORS[name].note if name in SELECTORS else _PLAIN_NOTE for name in selectors}
    folded = [
        textwrap.wrap(f'{name}: {note}', 80, initial_indent='  ', subsequent_indent='    ')
        for name, note in notes.items()
        if note
    ]
    return '\n\n'.join([*blocks, '\n'.join([_EXPLANATION, *sum(folded, [])])])


def _to_csv(rows: Sequence[CostRow], setting: Mapping[str, object]) -> str:
    """One line per row; ``setting`` are columns that are equal in all lines, such as model, device and versions."""
    records = [{**_record(row), **setting} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(records[0]))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _line(row: CostRow) -> str:
    memory = row.memory
    cells = [
        f'{row.case.selector:<15}',
        f'{_WAY_NAMES[row.case.way]:<11}',
        f'{_range(row.ratio):<17}',
        f'{_number(row.scoring_ms.median if row.scoring_ms else None):>7}',
        f'{"-" if memory is None else round(memory.peak_bytes / 2**20):>6}',
        f'{"-" if memory is None else memory.num_matrices:>4}',
        f'{_number(row.published_mflops):>7}',
        f'{_number(row.needed_mflops):>6}',
    ]
    return ' '.join(cells)


def _range(spread: Spread | None) -> str:
    if spread is None:
        return 'too little memory'
    return f'{spread:.2f}' if spread.high < 10 else f'{spread:.1f}'


def _number(value: float | None) -> str:
    """Two digits, as the paper prints them: 0.45, 14, 8.2e3."""
    if value is None:
        return '-'
    return f'{value:.2g}'.replace('e+0', 'e').replace('e+', 'e')


def _record(row: CostRow) -> dict[str, object]:
    record: dict[str, object] = {
        'image_size': row.image_size,
        'batch_size': row.batch_size,
        'num_tokens': row.num_tokens,
        'selector': row.case.selector,
        'way': row.case.way,
    }
    for name, spread in (('seconds', row.seconds), ('ratio', row.ratio), ('scoring_ms', row.scoring_ms)):
        for statistic in Spread._fields:
            record[f'{name}_{statistic}'] = f'{getattr(spread, statistic):.6g}' if spread else ''
    record['peak_mib'] = '' if row.memory is None else f'{row.memory.peak_bytes / 2**20:.2f}'
    record['matrices_alive'] = '' if row.memory is None else row.memory.num_matrices
    for name in ('published_mflops', 'published_percent', 'needed_mflops', 'needed_percent'):
        value = getattr(row, name)
        record[name] = '' if value is None else f'{value:.6g}'
    return record
