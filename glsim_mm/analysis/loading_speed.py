"""Whether the data pipeline keeps up with the model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, TRANSFORMS
from torch.utils.data import DataLoader, Dataset, Subset

from ..apis.config_errors import explain_config_errors
from ..apis.model import build_model
from ..errors import GLSimError
from .measuring import Spread, markdown_table, spread, time_in_turns


@dataclass(frozen=True)
class LoadingReport:
    """A training pipeline against a training step.

    Attributes:
        step_milliseconds: Per image and step of the pipeline, median over images, in one process.
        loader_speeds: Images per second of the loader alone, by number of worker processes.
        model_speed: Images per second of training steps on images in memory.
        batch_size: Images at a time.
        bottleneck: ``'loader'`` or ``'model'``: what is slower with the best number of workers.
        headroom: Speed of the best loader divided by that of the model; below 1 the model waits.
    """

    step_milliseconds: dict[str, float]
    loader_speeds: dict[int, Spread]
    model_speed: Spread
    batch_size: int
    bottleneck: str
    headroom: float


def measure_loading(
    cfg: Config,
    num_workers: Sequence[int] = (0, 1, 2),
    num_images: int = 256,
    rounds: int = 3,
    device: str = 'cpu',
    threads: int | None = None,
) -> LoadingReport:
    """Measure a config's training pipeline and its model, which keeps its random weights, each alone.

    ``num_workers`` are the numbers of processes to try, ``num_images`` are spread evenly over the data set, ``rounds``
    are counted passes over them, and ``threads`` are those of the model on the CPU.
    """
    if min(num_workers) < 0 or num_images < 1 or rounds < 1:
        raise GLSimError('num_workers must be 0 or more, images and rounds 1 or more')
    if threads is not None:
        torch.set_num_threads(threads)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')), explain_config_errors():
        dataset: Any = DATASETS.build(cfg.train_dataloader.dataset)
        steps = [TRANSFORMS.build(dict(step)) for step in _pipeline(cfg.train_dataloader.dataset)]
        model = build_model(cfg).to(device).train()
    chosen = torch.linspace(0, len(dataset) - 1, min(num_images, len(dataset))).round().long().tolist()
    batch_size = min(cfg.train_dataloader.batch_size, len(chosen))
    subset = Subset(dataset, chosen)
    speeds = {workers: _loader_speed(subset, batch_size, workers, rounds) for workers in num_workers}
    model_speed = _model_speed(model, subset, batch_size, rounds, device)
    headroom = max(speed.median for speed in speeds.values()) / model_speed.median
    bottleneck = 'loader' if headroom < 1 else 'model'
    return LoadingReport(_time_steps(dataset, chosen, steps), speeds, model_speed, batch_size, bottleneck, headroom)


def loading_table(report: LoadingReport) -> str:
    """Tables in Markdown, and the bottleneck in a sentence."""
    total = sum(report.step_milliseconds.values())
    steps = [(name, f'{ms:.2f}', f'{100 * ms / total:.0f} %') for name, ms in report.step_milliseconds.items()]
    speeds = []
    for workers, speed in report.loader_speeds.items():
        where = 'in the main process' if workers == 0 else f'{workers} worker{"s" * (workers > 1)}'
        speeds.append((f'loader, {where}', f'{speed:.1f}'))
    speeds.append((f'training step, batch {report.batch_size}', f'{report.model_speed:.1f}'))
    tables = [
        markdown_table(('step', 'ms per image', 'share'), steps),
        markdown_table(('what', 'images/s (10 % to 90 %)'), speeds),
    ]
    verdict = 'waits for the loader' if report.bottleneck == 'loader' else 'is what takes the time'
    return '\n\n'.join([*tables, f'The model {verdict}: the loader is {report.headroom:.2f} times as fast.'])


def _pipeline(dataset: Any) -> Sequence[dict]:
    """Pipeline of a data set's config, also of one inside others."""
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    if not dataset.get('pipeline'):
        raise GLSimError('train_dataloader.dataset has no pipeline to measure')
    return dataset['pipeline']


def _time_steps(dataset: Dataset, chosen: Sequence[int], steps: Sequence[Any]) -> dict[str, float]:
    times: dict[str, list[float]] = {}
    for index in chosen:
        results: Any = dataset.get_data_info(index)
        for number, step in enumerate(steps):
            start = time.perf_counter()
            results = step(results)
            times.setdefault(f'{number + 1} {type(step).__name__}', []).append(time.perf_counter() - start)
            if results is None:
                break
    return {name: 1e3 * median(values) for name, values in times.items()}


def _loader_speed(subset: Subset, batch_size: int, workers: int, rounds: int) -> Spread:
    loader = DataLoader(
        subset,
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        collate_fn=pseudo_collate,
        persistent_workers=workers > 0,
    )
    speeds = []
    for number in range(rounds + 1):
        start = time.perf_counter()
        count = sum(len(batch['inputs']) for batch in loader)
        if number:  # in the first, processes start and files come from the disk
            speeds.append(count / (time.perf_counter() - start))
    return spread(speeds)


def _model_speed(model: Any, subset: Subset, batch_size: int, rounds: int, device: str) -> Spread:
    batch = pseudo_collate([subset[index] for index in range(batch_size)])
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-5)

    def step() -> None:
        data = model.data_preprocessor(batch, training=True)
        losses = model.loss(data['inputs'], data['data_samples'])
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return spread([batch_size / seconds for seconds in time_in_turns({'step': step}, rounds, device)['step']])
