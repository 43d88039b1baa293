"""A hook that shows the progress of training to people who do not want to read a log."""

import atexit
import time

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import Tensor

from ...progress import ProgressBar


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows on standard error how far training is: iterations, epoch, loss, last top-1 accuracy, time left.

    Meant for runs whose log goes elsewhere, as in ``tools/quickstart.sh``::

        default_hooks = dict(progress=dict(type='ProgressHook'))

    Args:
        interval: Seconds between two updates. Reading the loss waits for the device, so it is not read in every
            iteration.
        metric: Name of the validation metric to show.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: float = 0.5, metric: str = 'accuracy/top1') -> None:
        self.interval = interval
        self.metric = metric
        self._bar: ProgressBar | None = None
        self._accuracy: float | None = None
        self._last_update = 0.0

    def before_train(self, runner: Runner) -> None:
        """Show the bar; a resumed run starts where it was."""
        self._accuracy, self._last_update = None, 0.0
        self._bar = ProgressBar(runner.max_iters, 'training', is_main_process(), 'iterations', runner.iter)
        self._bar.start()
        atexit.register(self._bar.stop)  # no hook is called when training fails, and the cursor would stay hidden

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        done = runner.iter + 1
        if done == runner.max_iters or time.monotonic() - self._last_update >= self.interval:
            self._last_update = time.monotonic()
            parts = [f'epoch {runner.epoch + 1}']
            loss = (outputs or {}).get('loss')
            if loss is not None:
                parts.append(f'loss {float(loss.detach() if isinstance(loss, Tensor) else loss):.2f}')
            if self._accuracy is not None:
                parts.append(f'top-1 {self._accuracy:.1f}')
            self._bar.update(done, note=', '.join(parts))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._accuracy = (metrics or {}).get(self.metric)

    def after_train(self, runner: Runner) -> None:
        atexit.unregister(self._bar.stop)
        self._bar.stop()
