"""A hook that shows the progress of training and tests to people who do not want to read a log."""

import atexit
import math
import time

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from ...progress import ProgressBar

_WARM_UP = 3  # iterations that take longer: threads and workers start, the GPU chooses its kernels
_MEMORY = 50  # iterations that the mean looks back on
_SHARE_OF_VALIDATION = 0.5  # time of a photo in validation by that in training, until one has been seen


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows on standard error how far a run is: iterations, epoch, loss, learning rate, last accuracy, time left.

    ``tools/train.py`` and ``tools/test.py`` add it in a terminal. For runs whose log goes elsewhere, as in
    ``tools/quickstart.sh``, a config can ask for it::

        default_hooks = dict(progress=dict(type='ProgressHook'))

    The time left counts the validations that are still to come, and leaves out the first, slow iterations.

    Args:
        interval: Seconds between two updates. Reading the loss waits for the device, so it is not read in every
            iteration.
        metric: Name of the validation metric to show.
        transient: Remove the bar when the run ends.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: float = 0.5, metric: str = 'accuracy/top1', transient: bool = False) -> None:
        self.interval = interval
        self.metric = metric
        self.transient = transient
        self._bar: ProgressBar | None = None
        self._accuracy: float | None = None
        self._last_update = 0.0
        self._note = ''
        self._pace = Pace()

    @property
    def live(self) -> bool:
        """Whether the bar stands in the last line of the terminal."""
        return self._bar is not None and self._bar.live

    def stop(self) -> None:
        """Take the bar away, also where a run fails; no hook is called then."""
        if self._bar is not None:
            atexit.unregister(self._bar.stop)
            self._bar.stop()

    def before_train(self, runner: Runner) -> None:
        """Show the bar; a resumed run starts where it was."""
        self._accuracy, self._last_update, self._note, self._pace = None, 0.0, '', Pace()
        self._start('training', runner.max_iters, 'iterations', runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        self._pace.pause_is_over()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        done = runner.iter + 1
        self._pace.count()
        if done == runner.max_iters or time.monotonic() - self._last_update >= self.interval:
            self._last_update = time.monotonic()
            parts = [f'epoch {runner.epoch + 1}']
            loss = (outputs or {}).get('loss')
            if loss is not None:
                parts.append(f'loss {float(loss.detach() if isinstance(loss, Tensor) else loss):.2f}')
            rate = learning_rate(runner)
            if rate is not None:
                parts.append(f'lr {rate:.2g}')
            if self._accuracy is not None:
                parts.append(f'top-1 {self._accuracy:.1f}')
            self._note = ', '.join(parts)
            self._bar.update(done, note=self._note, seconds_left=self._pace.seconds_left(runner, done))

    def before_val(self, runner: Runner) -> None:
        self._pace.begin_validation()

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None) -> None:
        if self._bar is not None and time.monotonic() - self._last_update >= self.interval:
            self._last_update = time.monotonic()
            note = f'validating {batch_idx + 1} of {len(runner.val_dataloader)}'
            left = self._pace.seconds_left(runner, runner.iter, validating=True)
            self._bar.update(runner.iter, note=note, seconds_left=left)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._accuracy = (metrics or {}).get(self.metric)

    def after_val(self, runner: Runner) -> None:
        self._pace.end_validation()
        if self._bar is not None:
            self._bar.update(runner.iter, note=self._note, seconds_left=self._pace.seconds_left(runner, runner.iter))

    def after_train(self, runner: Runner) -> None:
        self.stop()

    def before_test(self, runner: Runner) -> None:
        self._last_update = 0.0
        self._start('testing', len(runner.test_dataloader), 'batches')

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        if batch_idx + 1 == len(runner.test_dataloader) or time.monotonic() - self._last_update >= self.interval:
            self._last_update = time.monotonic()
            self._bar.update(batch_idx + 1)

    def after_test(self, runner: Runner) -> None:
        self.stop()

    def _start(self, what: str, total: int, unit: str, done: int = 0) -> None:
        self._bar = ProgressBar(
            total, what, is_main_process(), unit, done, room_for_note=unit == 'iterations', transient=self.transient
        )
        self._bar.start()
        atexit.register(self._bar.stop)  # no hook is called when training fails, and the cursor would stay hidden


def learning_rate(runner: Runner) -> float | None:
    """The learning rate of the first group of weights, None if there is no optimiser."""
    wrapper = getattr(runner, 'optim_wrapper', None)
    if wrapper is None:
        return None
    return next((rates[0] for rates in wrapper.get_lr().values() if rates), None)


class Pace:
    """How long a training will still take, from a running mean of its iterations and its last validation.

    The mean leaves out the first iterations, so that it does not begin with a tenfold of the truth.
    """

    def __init__(self) -> None:
        self._counted = -_WARM_UP
        self._mean = 0.0
        self._clock = time.monotonic()
        self._validation: float | None = None
        self._began = 0.0

    def count(self) -> None:
        """Say that an iteration has ended."""
        now = time.monotonic()
        seconds, self._clock = now - self._clock, now
        self._counted += 1
        if self._counted > 0:
            self._mean += (seconds - self._mean) / min(self._counted, _MEMORY)

    def pause_is_over(self) -> None:
        """Say that an iteration begins: what was since the last one is not part of it."""
        self._clock = time.monotonic()

    def begin_validation(self) -> None:
        """Say that a validation begins."""
        self._began = time.monotonic()

    def end_validation(self) -> None:
        """Say that it has ended."""
        self._validation = time.monotonic() - self._began
        self.pause_is_over()

    def seconds_left(self, runner: Runner, done: int, validating: bool = False) -> float | None:
        """Seconds to the end after so many iterations; None in the first ones, whose time says nothing.

        Args:
            validating: A validation is going on, which counts as far as it is not done.
        """
        if done == runner.max_iters and not self._validations_left(runner, done):
            return 0.0
        if self._counted <= 0:
            return None
        one = self._seconds_of_validation(runner)
        spent = min(time.monotonic() - self._began, one) if validating else 0.0
        left = self._validations_left(runner, done) + validating
        return max(0.0, (runner.max_iters - done) * self._mean + left * one - spent)

    def _seconds_of_validation(self, runner: Runner) -> float:
        if self._validation is not None or getattr(runner, 'val_loop', None) is None:
            return self._validation or 0.0
        train, val = runner.train_dataloader, runner.val_dataloader
        photos = len(val) * (getattr(val, 'batch_size', None) or 1)
        return photos * _SHARE_OF_VALIDATION * self._mean / (getattr(train, 'batch_size', None) or 1)

    @staticmethod
    def _validations_left(runner: Runner, done: int) -> int:
        """How many validations are to come, that at the end among them."""
        loop = getattr(runner, 'train_loop', None)
        interval = getattr(loop, 'val_interval', None)
        if not interval or getattr(runner, 'val_loop', None) is None:
            return 0
        in_epochs = not isinstance(loop, IterBasedTrainLoop)
        every = interval * runner.max_iters / runner.max_epochs if in_epochs else interval
        return max(0, math.ceil(runner.max_iters / every) - math.floor(done / every))
