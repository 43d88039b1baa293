"""A progress line for people at a terminal, who do not want to read a log."""

import sys
import time
from typing import TextIO

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

_BAR_WIDTH = 20


@HOOKS.register_module()
class ProgressHook(Hook):
    """Writes progress of training to stderr: bar, percentage, epoch, loss, last top-1 accuracy, time left.

    On a terminal one line is rewritten; in a file or pipe a line is added at every tenth of the way. Meant for runs
    whose log goes elsewhere, as in ``tools/quickstart.sh``: switch it on with
    ``--cfg-options default_hooks.progress.type=ProgressHook``.

    Args:
        interval: Seconds between updates on a terminal. Reading the loss waits for the device, so not in every
            iteration.
        metric: Name of the validation metric to show.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: float = 0.5, metric: str = 'accuracy/top1') -> None:
        self.interval = interval
        self.metric = metric
        self._stream: TextIO | None = None
        self._accuracy: float | None = None
        self._start_iter, self._start_time, self._last_update = 0, 0.0, 0.0

    def before_train(self, runner: Runner) -> None:
        """Take the time; a resumed run starts where it was."""
        self._stream = sys.stderr if is_main_process() else None
        self._reset(runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        """Update the line where it is due."""
        if self._stream is None:
            return
        done, total = runner.iter + 1, runner.max_iters
        if self._stream.isatty():
            due = done == total or time.monotonic() - self._last_update >= self.interval
        else:
            due = done * 10 // total > (done - 1) * 10 // total
        if due:
            self._last_update = time.monotonic()
            loss = (outputs or {}).get('loss')
            loss = float(loss.detach() if isinstance(loss, Tensor) else loss) if loss is not None else None
            self._write(
                format_progress(done, total, runner.epoch + 1, loss, self._accuracy, self._time_left(done, total))
            )

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Remember the accuracy."""
        self._accuracy = (metrics or {}).get(self.metric)

    def after_train(self, runner: Runner) -> None:
        """Leave the line."""
        if self._stream is not None and self._stream.isatty():
            self._stream.write('\n')
            self._stream.flush()

    def _reset(self, start: int) -> None:
        self._start_iter = start
        self._start_time = self._last_update = time.monotonic()
        self._accuracy = None

    def _time_left(self, done: int, total: int) -> float:
        return (time.monotonic() - self._start_time) / (done - self._start_iter) * (total - done)

    def _write(self, line: str) -> None:
        if self._stream is not None:
            # Erase what a longer line left behind.
            self._stream.write(f'\r\033[K{line}' if self._stream.isatty() else f'{line}\n')
            self._stream.flush()


def format_progress(
    done: int, total: int, epoch: int, loss: float | None, accuracy: float | None, seconds_left: float
) -> str:
    """One line of at most 80 characters.

    Args:
        done: Iterations done, 1 to ``total``.
        total: All iterations.
        epoch: Epoch under way, counted from 1.
        loss: Loss of the last iteration.
        accuracy: Last accuracy on the validation set, per cent.
        seconds_left: Estimated time left, seconds.

    Returns:
        For example ``'[#########-----------]  45%  epoch 4  loss 1.21  top-1 63.5  1:12 left'``.
    """
    filled = _BAR_WIDTH * done // total
    parts = [f'[{"#" * filled}{"-" * (_BAR_WIDTH - filled)}] {100 * done // total:3d}%', f'epoch {epoch}']
    if loss is not None:
        parts.append(f'loss {loss:.2f}')
    if accuracy is not None:
        parts.append(f'top-1 {accuracy:.1f}')
    minutes, seconds = divmod(round(seconds_left), 60)
    parts.append(f'{minutes}:{seconds:02d} left')
    return '  '.join(parts)[:80]
