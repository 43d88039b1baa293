"""Time and memory of a training step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...models.classifiers import GLSimClassifier
from ..peak_memory import MeasuringProcesses, peak_bytes, reset_peak
from .contenders import NUM_CLASSES, PLAIN, STRAIGHTFORWARD, Workload, build_glsim, build_plain, make_images
from .straightforward import StraightforwardGLSim
from .timing import Spread, spread, time_in_turns, times_as_fast

GLSIM = 'glsim'
OPTIONS = ('checkpointing', 'bf16', 'frozen')
NAMES = (PLAIN, STRAIGHTFORWARD, GLSIM, *OPTIONS)


@dataclass(frozen=True)
class TrainingRow:
    """One way of doing a training step.

    Attributes:
        name: ``'plain'``, ``'straightforward'``, ``'glsim'``, or GLSim with ``'checkpointing'``, in ``'bf16'``, or with
            all but the last layer ``'frozen'``.
        model: Size of the ViT.
        image_size: Side of the images in pixels.
        batch_size: Images at a time.
        seconds: Of a step: forward, backward, AdamW.
        vs_plain: Times as fast as ``'plain'``, round by round.
        memory_mib: Growth in the first step, gradients and the optimiser's state among it; None if not measured.
    """

    name: str
    model: str
    image_size: int
    batch_size: int
    seconds: Spread
    vs_plain: Spread
    vs_straightforward: Spread
    memory_mib: float | None


def measure_training(works: Sequence[Workload], rounds: int = 5, memory: bool = True) -> Iterator[list[TrainingRow]]:
    """Measure training steps of all names in turns.

    Args:
        works: What to compute.
        rounds: Rounds of timing.
        memory: Measure peak memory too.

    Yields:
        Of each workload.
    """
    if works[0].threads is not None:
        torch.set_num_threads(works[0].threads)
    with MeasuringProcesses() as processes:
        for work in works:
            used = {name: _memory(name, work, processes) for name in NAMES} if memory else {}
            times = time_in_turns({name: make_step(name, work) for name in NAMES}, rounds, work.device)
            yield [
                TrainingRow(
                    name,
                    work.model,
                    work.image_size,
                    work.batch_size,
                    spread(times[name]),
                    times_as_fast(times[name], times[PLAIN]),
                    times_as_fast(times[name], times[STRAIGHTFORWARD]),
                    used.get(name),
                )
                for name in NAMES
            ]


def make_step(name: str, work: Workload) -> Callable[[], None]:
    """A function that does one training step on random labels.

    Args:
        name: Of :data:`NAMES`.
        work: What to compute.

    Returns:
        Without arguments.
    """
    model: nn.Module
    if name == PLAIN:
        model = build_plain(work)
    elif name == STRAIGHTFORWARD:
        model = StraightforwardGLSim(build_glsim(work))
    else:
        model = _with_option(name, work)
    images = make_images(work)
    labels = torch.arange(work.batch_size, device=work.device) % NUM_CLASSES
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-5)
    return partial(_step, model.train(), optimizer, images, labels, name == 'bf16')


def _with_option(name: str, work: Workload) -> GLSimClassifier:
    if name == 'frozen':
        layers = len(build_glsim(replace(work, image_size=32)).backbone.layers)
        return build_glsim(work, vit=dict(frozen_stages=layers - 1))
    return build_glsim(work, vit=dict(with_cp=name == 'checkpointing'))


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, in_bf16: bool) -> None:
    precision: Any = torch.autocast(images.device.type, torch.bfloat16) if in_bf16 else nullcontext()
    with precision:
        loss = nn.functional.cross_entropy(model(images).float(), labels, label_smoothing=0.1)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _memory(name: str, work: Workload, processes: MeasuringProcesses) -> float | None:
    if not work.device.startswith('cuda'):
        return processes.call(_growth, name, work)
    step = make_step(name, work)
    step()
    torch.cuda.reset_peak_memory_stats(work.device)
    before = torch.cuda.memory_allocated(work.device)
    step()
    return (torch.cuda.max_memory_allocated(work.device) - before) / 2**20


def _growth(name: str, work: Workload) -> float:
    if work.threads is not None:
        torch.set_num_threads(work.threads)
    make_step(name, replace(work, model='vit-tiny', image_size=32, batch_size=1))()
    step = make_step(name, work)
    before = reset_peak()
    step()
    return max(peak_bytes() - before, 0) / 2**20
