"""A hook that shows the progress of training and tests to people who do not want to read a log."""

import atexit
import math
import time

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from ...progress import Pace, ProgressBar

_WARM_UP = 3  # iterations that take longer: threads and workers start, the GPU chooses its kernels
_SHARE_OF_VALIDATION = 0.5  # time of a photo in validation by that in training, until one has been seen


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows on standard error how far a run is: iterations, epoch, loss, learning rate, last accuracy, time left.

    ``glsim train`` and ``glsim test`` add it in a terminal. For runs whose log goes elsewhere, as in
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
        self._left = TimeLeft(0.0)

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
        self._accuracy, self._last_update, self._note = None, 0.0, ''
        self._left = TimeLeft(time.monotonic(), runner.iter)
        self._start('training', runner.max_iters, 'iterations', runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        self._left.resume(time.monotonic())

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        done = runner.iter + 1
        is_due = done == runner.max_iters or time.monotonic() - self._last_update >= self.interval
        loss = (outputs or {}).get('loss') if is_due else None
        if loss is not None:  # reading it waits for the device
            loss = float(loss.detach() if isinstance(loss, Tensor) else loss)
        now = time.monotonic()
        self._left.note(done, now)
        if is_due:
            self._last_update = now
            parts = [f'epoch {runner.epoch + 1}']
            if loss is not None:
                parts.append(f'loss {loss:.2f}')
            rate = learning_rate(runner)
            if rate is not None:
                parts.append(f'lr {rate:.2g}')
            if self._accuracy is not None:
                parts.append(f'top-1 {self._accuracy:.1f}')
            self._note = ', '.join(parts)
            self._bar.update(done, note=self._note, seconds_left=self._left.seconds_left(runner, done))

    def before_val(self, runner: Runner) -> None:
        self._left.begin_validation(time.monotonic())

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None) -> None:
        if self._bar is not None and time.monotonic() - self._last_update >= self.interval:
            self._last_update = time.monotonic()
            total = len(runner.val_dataloader)
            note = f'validating {batch_idx + 1} of {total}'
            self._left.validate((batch_idx + 1) / total, self._last_update)
            left = self._left.seconds_left(runner, runner.iter)
            self._bar.update(runner.iter, note=note, seconds_left=left)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._accuracy = (metrics or {}).get(self.metric)

    def after_val(self, runner: Runner) -> None:
        self._left.end_validation(time.monotonic())
        if self._bar is not None:
            self._bar.update(runner.iter, note=self._note, seconds_left=self._left.seconds_left(runner, runner.iter))

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


class TimeLeft:
    """How long a training will still take: its iterations, and the validations that are to come.

    It is told the time and reads no clock. Until a validation is done, a photo in it counts as half a photo of the
    training; while one is going on, what is done of it corrects that.

    Args:
        now: Seconds on some clock at which the training begins.
        done: Iterations that are done by then.
    """

    def __init__(self, now: float, done: int = 0) -> None:
        self._pace = Pace(now, done, _WARM_UP)
        self._validation: float | None = None
        self._began: float | None = None
        self._share, self._spent = 0.0, 0.0

    def note(self, done: int, now: float) -> None:
        """Say that so many iterations are done."""
        self._pace.note(done, now)

    def resume(self, now: float) -> None:
        """Say that an iteration begins: what was since the last one is not part of it."""
        self._pace.resume(now)

    def begin_validation(self, now: float) -> None:
        """Say that a validation begins."""
        self._began, self._share, self._spent = now, 0.0, 0.0

    def validate(self, share: float, now: float) -> None:
        """Say that this share of it, 0 to 1, is done."""
        if self._began is not None:
            self._share, self._spent = share, now - self._began

    def end_validation(self, now: float) -> None:
        """Say that it has ended."""
        if self._began is not None:
            self._validation, self._began = now - self._began, None
        self._pace.resume(now)

    def seconds_left(self, runner: Runner, done: int) -> float | None:
        """Seconds to the end after so many iterations; None in the first ones, whose time says nothing."""
        iterations = self._pace.seconds_left(runner.max_iters - done)
        validations = self._validations_left(runner, done)
        if self._began is None and not validations:
            return iterations
        one = self._seconds_of_validation(runner)
        if iterations is None or one is None:
            return None
        if self._began is None:
            return iterations + validations * one
        one = self._spent + (1 - self._share) * one
        return iterations + (validations + 1 - self._share) * one

    def _seconds_of_validation(self, runner: Runner) -> float | None:
        if self._validation is not None or getattr(runner, 'val_loop', None) is None:
            return self._validation or 0.0
        train, val = runner.train_dataloader, runner.val_dataloader
        photos = len(val) * (getattr(val, 'batch_size', None) or 1)
        return self._pace.seconds_left(photos * _SHARE_OF_VALIDATION / (getattr(train, 'batch_size', None) or 1))

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
