"""What selecting regions costs: counted by formula and measured side by side in one run."""

import random
from collections.abc import Callable, Sequence
from itertools import product
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import GLSimError
from ..models.utils import check_image_size
from ..ops.cost import (
    PUBLISHED_SELECTORS,
    SELECTORS,
    EncoderShape,
    encoder_flops,
    published_encoder_operations,
    published_selection_flops,
    selection_flops,
)
from .selection_cases import PLAIN, Case, Passes, list_cases
from .selection_memory import MemoryMeter, MemoryUse


class Spread(NamedTuple):
    """Median, smallest and largest of a few measurements."""

    median: float
    low: float
    high: float


class CostRow(NamedTuple):
    """Cost of one pass at one image and batch size.

    Attributes:
        image_size: Side in pixels.
        batch_size: Images.
        num_tokens: Tokens S per image.
        case: What ran.
        seconds: Wall time of the pass. None where memory did not suffice.
        ratio: The same over the plain encoder pass that ran directly before it.
        scoring_ms: Time of scoring the patches alone, in milliseconds; None without a selector and for the whole model.
        memory: Peak memory. None where it did not suffice.
        published_mflops: The paper's count, per image. None where it has none.
        published_percent: That, in percent of its count of the encoder.
        needed_mflops: This package's count for its own way, per image; None where there is none.
        needed_percent: That, in percent of the encoder's FLOPs.
    """

    image_size: int
    batch_size: int
    num_tokens: int
    case: Case
    seconds: Spread | None
    ratio: Spread | None
    scoring_ms: Spread | None
    memory: MemoryUse | None
    published_mflops: float | None
    published_percent: float | None
    needed_mflops: float | None
    needed_percent: float | None


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
    """Measure time and peak memory of each way of selecting regions.

    The cases run in turn, in a new order in each round, each directly after a plain encoder pass whose time it is
    divided by: what else the machine does then hits both. A first round is not counted.

    Args:
        settings: Settings of a GLSimClassifier; see :func:`glsim_mm.analysis.selection_cases.vit_settings`.
        image_sizes: Sides of square images in pixels.
        batch_sizes: Images per pass. Defaults to one.
        selectors: Names; see :func:`glsim_mm.analysis.selection_cases.list_cases`. Defaults to all.
        repeats: Counted rounds, at least 1.
        device: ``'cpu'`` or a CUDA device.
        threads: Threads on CPU. Defaults to None, torch's number.
        on_progress: Called with a line of text before each image and batch size.

    Returns:
        By image size, batch size and case.

    Raises:
        GLSimError: If a selector is unknown or an image is smaller than one patch.
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
        with MemoryMeter(settings, device, threads) as meter:
            for size, batch in product(image_sizes, batch_sizes):
                on_progress(f'{size} px, batch {batch}: {len(cases)} cases')
                memory = {case: meter.measure(case, size, batch) for case in cases}
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


class _Times(NamedTuple):
    seconds: list[float]
    ratios: list[float]
    scoring: list[float]


def _measure_times(passes: Passes, cases: Sequence[Case], images: Tensor, repeats: int) -> dict[Case, _Times]:
    times = {case: _Times([], [], []) for case in cases}
    order = list(cases)
    shuffle = random.Random(0).shuffle
    for number in range(repeats + 1):
        for case in order:
            plain = passes.run(PLAIN, images).total
            result = passes.run(case, images)
            if number > 0:
                times[case].seconds.append(result.total)
                times[case].ratios.append(result.total / plain)
                times[case].scoring.append(1000 * result.scoring)
        shuffle(order)
    return times


def _row(
    size: int,
    batch: int,
    case: Case,
    times: _Times | None,
    memory: MemoryUse | None,
    passes: Passes,
    shape: EncoderShape,
) -> CostRow:
    rows, cols = (-(-size // patch) for patch in passes.layout.patch_size)
    tokens = passes.layout.num_extra_tokens + rows * cols
    is_scored = case.selector != 'none' and case.way != 'whole model'
    published = needed = None
    if case.selector in PUBLISHED_SELECTORS:
        published = published_selection_flops(case.selector, size, shape)
    if case.selector in SELECTORS and case.way == 'fused':
        needed = selection_flops(case.selector, tokens, shape)
    return CostRow(
        size,
        batch,
        tokens,
        case,
        _spread(times.seconds) if times else None,
        _spread(times.ratios) if times else None,
        _spread(times.scoring) if times and is_scored else None,
        memory,
        None if published is None else published / 1e6,
        None if published is None else 100 * published / published_encoder_operations(size, shape),
        None if needed is None else needed / 1e6,
        None if needed is None else 100 * needed / encoder_flops(tokens, shape),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))
