"""Images per second, latency and memory of predictions, every way of computing them in turns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ...errors import GLSimError
from ..peak_memory import MeasuringProcesses, peak_bytes, reset_peak
from .contenders import EAGER, MODES, PLAIN, SIZES, STRAIGHTFORWARD, Workload, build_glsim, make_contender, make_images
from .flops import count_flops
from .timing import Spread, measure_matmul_peak, spread, time_in_turns, times_as_fast

# What they compute on top of eager mode is another program of the same numbers.
_SAME_FLOPS = ('torch-linear', 'compiled', 'onnxruntime', 'openvino', 'int8', 'bf16')


@dataclass(frozen=True)
class InferenceRow:
    """One way of computing one workload.

    Attributes:
        mode: ``'plain'`` is one pass of timm's ViT, ``'straightforward'`` the paper's two, the others GLSim here.
        model: Size of the ViT.
        image_size: Side of the images in pixels.
        batch_size: Images at a time.
        seconds: Of a batch.
        p50: Median latency of a batch in milliseconds.
        p99: 99th percentile of it; of few rounds nearly the longest.
        images_per_second: Of the median.
        vs_plain: Times as fast as ``'plain'``, round by round.
        gflops: Per image, 10^9 FLOPs.
        peak_share: Achieved FLOP/s as a share of what float32 matrix products reach here.
        memory_mib: Peak memory of a batch beyond weights and images; None if not measured.
    """

    mode: str
    model: str
    image_size: int
    batch_size: int
    seconds: Spread
    p50: float
    p99: float
    images_per_second: float
    vs_plain: Spread
    vs_straightforward: Spread
    vs_eager: Spread
    gflops: float
    peak_share: float
    memory_mib: float | None


def measure_inference(
    works: Sequence[Workload], modes: Sequence[str], rounds: int = 7, memory: bool = True
) -> Iterator[list[InferenceRow]]:
    """Measure workloads one after the other.

    Args:
        works: What to compute; all on the same device.
        modes: Of :data:`MODES`; ``'plain'``, ``'straightforward'`` and ``'eager'`` always take part.
        rounds: Rounds of timing, all contenders in turns.
        memory: Measure peak memory too, in a process per contender.

    Yields:
        Of each workload.

    Raises:
        GLSimError: If a name is unknown, or a package is missing.
    """
    check_names(works, modes)
    names = [PLAIN, STRAIGHTFORWARD, EAGER, *(mode for mode in modes if mode != EAGER)]
    device = works[0].device
    if works[0].threads is not None:
        torch.set_num_threads(works[0].threads)
    peak = measure_matmul_peak(device=device)
    with TemporaryDirectory() as folder, MeasuringProcesses() as processes:
        for work in works:
            used = {}
            if memory:
                used = {name: measure_memory(name, work, Path(folder), processes) for name in names}
            contenders = {name: make_contender(name, work, Path(folder)) for name in names}
            times = time_in_turns(contenders, rounds, device)
            counted = {name: count_flops(contenders[name]) for name in names if name not in _SAME_FLOPS}
            flops = {name: counted.get(name, counted[EAGER]) / work.batch_size for name in names}
            yield [_row(name, work, times, flops[name], peak, used.get(name)) for name in names]
            torch._dynamo.reset()  # each workload is compiled for its own shapes


def measure_memory(mode: str, work: Workload, folder: Path, processes: MeasuringProcesses) -> float | None:
    """Peak memory of one batch beyond weights and images, in MiB.

    Args:
        mode: See :func:`make_contender`.
        work: What to compute.
        folder: For exported files.
        processes: Where to measure on the CPU.

    Returns:
        None if memory did not suffice.
    """
    if work.device.startswith('cuda'):
        run = make_contender(mode, work, folder)
        run()
        torch.cuda.reset_peak_memory_stats(work.device)
        before = torch.cuda.memory_allocated(work.device)
        run()
        return (torch.cuda.max_memory_allocated(work.device) - before) / 2**20
    return processes.call(_growth, mode, work, folder)


def selection_share(work: Workload, rounds: int = 7) -> Spread:
    """Share of the forward pass that selecting and cropping takes.

    Args:
        work: What to compute.
        rounds: Rounds of timing.

    Returns:
        0 to 1, round by round.
    """
    model, images = build_glsim(work), make_images(work)
    with torch.no_grad():
        tokens = model.backbone(images)[-1]
        parts = {
            'selection': lambda: model.neck(tokens, images, model.layout),
            'forward': lambda: model(images, mode='tensor'),
        }
        times = time_in_turns(parts, rounds, work.device)
    return spread([part / whole for part, whole in zip(times['selection'], times['forward'])])


def check_names(works: Sequence[Workload], modes: Sequence[str]) -> None:
    """Raise :class:`GLSimError` unless all models and modes are known, and sizes are of whole patches."""
    for mode in modes:
        if mode not in MODES:
            raise GLSimError(f'there is no mode {mode!r}; choose from {", ".join(MODES)}')
    for work in works:
        if work.model not in SIZES:
            raise GLSimError(f'there is no model {work.model!r}; choose from {", ".join(SIZES)}')
        if work.image_size % 32 or work.image_size < 32:
            raise GLSimError(f'image sizes are multiples of 32 pixels here, got {work.image_size}')


def _growth(mode: str, work: Workload, folder: Path) -> float:
    if work.threads is not None:
        torch.set_num_threads(work.threads)
    # Thread pools and kernels' caches are made by a first pass and belong to no contender.
    make_contender(EAGER, Workload('vit-tiny', 32, 1), folder)()
    run = make_contender(mode, work, folder)
    if mode not in (PLAIN, STRAIGHTFORWARD, EAGER):
        run()  # compiles, or lets a session find its buffers, which it keeps
    before = reset_peak()
    run()
    return max(peak_bytes() - before, 0) / 2**20


def _row(
    name: str, work: Workload, times: dict[str, list[float]], flops: float, peak: float, memory: float | None
) -> InferenceRow:
    seconds = spread(times[name])
    speed = work.batch_size / seconds.median
    return InferenceRow(
        name,
        work.model,
        work.image_size,
        work.batch_size,
        seconds,
        1e3 * seconds.median,
        1e3 * float(np.quantile(times[name], 0.99)),
        speed,
        times_as_fast(times[name], times[PLAIN]),
        times_as_fast(times[name], times[STRAIGHTFORWARD]),
        times_as_fast(times[name], times[EAGER]),
        flops / 1e9,
        flops * speed / peak,
        memory,
    )
