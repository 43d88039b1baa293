"""What a person reads of a run: what is trained on which data, a line per epoch, and where the best weights are."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from numbers import Number
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor

from .training_progress import learning_rate
from .wrappers import unwrap_model

_WIDTH = 80  # columns of a terminal


class RunReportHook(Hook):
    """Says what a run does in a few lines, in place of the log.

    It is not for configs: ``glsim train`` and ``glsim test`` add it. What goes on within an epoch is shown by
    :class:`ProgressHook`.

    Args:
        say: Takes a line of text.
    """

    priority = 'HIGHEST'  # says what is trained before the other hooks warn about it

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say if is_main_process() else lambda line: None
        self._forget()
        self._best: object = None

    def _forget(self) -> None:
        self._loss: Any = 0.0
        self._losses = 0
        self._metrics: dict[str, Any] = {}
        self._waiting = ''
        self._began = time.monotonic()

    def before_train(self, runner: Runner) -> None:
        """Say what is trained, with what, on what, and where the log is."""
        self._best = _best_checkpoints(runner)
        photos = _count(runner.train_dataloader.dataset)
        if runner.val_loop is not None:
            photos += f', {_count(runner.val_dataloader.dataset, with_classes=False)} to validate'
        model = type(unwrap_model(runner.model)).__name__
        self._say(f'training {_name(runner)} ({model}) on {_device(runner)}: {photos}')
        length = f'{runner.max_iters:,} iterations'
        if not _in_iterations(runner):
            epochs = 'one epoch' if runner.max_epochs == 1 else f'{runner.max_epochs} epochs'
            length = f'{epochs} of {len(runner.train_dataloader):,} iterations'
        if runner.iter:
            length += f', {runner.iter if _in_iterations(runner) else runner.epoch} of them done before'
        self._say(f'{length}; log: {short_path(runner.logger.log_file or runner.work_dir)}')
        self._forget()

    def before_train_epoch(self, runner: Runner) -> None:
        self._tell(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        loss = (outputs or {}).get('loss')
        if loss is not None:
            self._loss = self._loss + (loss.detach() if isinstance(loss, Tensor) else loss)
            self._losses += 1

    def after_train_epoch(self, runner: Runner) -> None:
        if not _in_iterations(runner):
            self._waiting = f'epoch {runner.epoch + 1}/{runner.max_epochs}'

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        self._metrics = metrics or {}
        if is_training_loop(runner) and _in_iterations(runner):
            self._waiting = f'iteration {runner.iter}/{runner.max_iters}'

    def after_val(self, runner: Runner) -> None:
        self._tell(runner)

    def after_train(self, runner: Runner) -> None:
        """Say where the weights are."""
        self._tell(runner)
        best = _best_checkpoints(runner)
        for name, (path, score) in best.items():
            self._say(f'best checkpoint{f" of {name}" if name else ""}: {short_path(path)} ({_figure(score)})')
        last = runner.message_hub.runtime_info.get('last_ckpt')
        if last:
            self._say(f'last checkpoint: {short_path(last)}')

    def before_test(self, runner: Runner) -> None:
        """Say what is tested."""
        model = type(unwrap_model(runner.model)).__name__
        photos = _count(runner.test_dataloader.dataset)
        self._say(f'testing {_name(runner)} ({model}) on {_device(runner)}: {photos}')
        self._say(f'log: {short_path(runner.logger.log_file or runner.work_dir)}')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        self._metrics = metrics or {}

    def after_test(self, runner: Runner) -> None:
        """Say all metrics."""
        for name, value in self._metrics.items():
            self._say(f'{name}: {_figure(value)}')

    def _tell(self, runner: Runner) -> None:
        """The line of an epoch that has ended, after its validation if there is one."""
        if not self._waiting:
            return
        parts = []
        if self._losses:
            parts.append(f'loss {float(self._loss) / self._losses:.4f}')
        rate = learning_rate(runner)
        if rate is not None:
            parts.append(f'lr {rate:.2g}')
        figures = [f'{name} {_figure(value)}' for name, value in self._metrics.items() if isinstance(value, Number)]
        best = _best_checkpoints(runner)
        if figures and best != self._best:
            figures[0] += ' (best)'
        self._best = best
        parts.append(str(timedelta(seconds=round(time.monotonic() - self._began))))
        for number, figure in enumerate(figures):  # as many as fit; the log has all
            more = [*parts[:-1], figure, parts[-1]]
            if number == 0 or len(f'{self._waiting}: {", ".join(more)}') <= _WIDTH:
                parts = more
        self._say(f'{self._waiting}: {", ".join(parts)}')
        self._forget()


def is_training_loop(runner: Runner) -> bool:
    """Whether a validation is part of a training."""
    return not isinstance(runner._train_loop, dict | None)


def written_config(runner: Runner) -> Path:
    """The config with all that the command line changed, as mmengine has written it to the work directory."""
    name = Path(runner.cfg.filename).name if runner.cfg.filename else f'{runner.timestamp}.py'
    return Path(runner.work_dir, name)


def short_path(path: object) -> str:
    """A path from the current folder, if it is below that."""
    relative = os.path.relpath(str(path))
    return str(path) if relative.startswith('..') else relative


def _best_checkpoints(runner: Runner) -> dict[str, tuple[str, Any]]:
    """Path and score of the best checkpoint, or of the best by each of several metrics, which it is named after."""
    info = runner.message_hub.runtime_info
    paths = {
        key.removeprefix('best_ckpt').lstrip('_'): path for key, path in info.items() if key.startswith('best_ckpt')
    }
    return {name: (path, info.get(f'best_score_{name}'.rstrip('_'))) for name, path in paths.items() if path}


def _in_iterations(runner: Runner) -> bool:
    return isinstance(runner.train_loop, IterBasedTrainLoop)


def _name(runner: Runner) -> str:
    return Path(runner.cfg.filename).stem if runner.cfg.filename else runner.experiment_name


def _count(dataset: Any, with_classes: bool = True) -> str:
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if not with_classes:
        return f'{len(dataset):,}'
    return f'{len(dataset):,} photos' + (f' of {len(classes):,} classes' if classes else '')


def _device(runner: Runner) -> str:
    device = next((weight.device for weight in runner.model.parameters()), torch.device('cpu'))
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type
    return name if get_world_size() == 1 else f'{get_world_size()} x {name}'


def _figure(value: Any) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)
