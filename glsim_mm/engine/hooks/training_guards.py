"""Hooks that watch training: broken losses, unreadable images, and seeds that make resumed runs repeatable."""

import torch
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner, set_random_seed
from mmpretrain.registry import HOOKS

from ...datasets.class_mapping import leaf_datasets
from ...errors import GLSimError
from .wrappers import all_transforms

_EPOCH_STRIDE = 1_000_003  # prime, so that seeds of neighbouring runs do not meet in a later epoch
_MAX_SEED = 2**31


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stops training at NaN or infinite loss or weights, before they reach a checkpoint.

    The loss is looked at on its device in every iteration, and read, which waits for the device, every ``interval``
    iterations and before validation and every checkpoint. mmdetection's ``CheckInvalidLossHook`` reads it less
    often and lets checkpoints of a broken model take the place of good ones::

        custom_hooks = [dict(type='NonFiniteLossHook', interval=50)]

    Args:
        interval: Iterations between two readings.

    Raises:
        GLSimError: Names the iteration at which the loss was first found broken, and the last good checkpoint.
    """

    priority = 'HIGH'  # before the hooks that save checkpoints and remove older ones

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._first_bad: torch.Tensor | None = None  # iteration, or -1

    def before_train(self, runner: Runner) -> None:
        self._first_bad = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        """Note a broken loss, without waiting for the device; stop because of it where reading is due."""
        loss = outputs.get('loss') if outputs else None
        if isinstance(loss, torch.Tensor):
            if self._first_bad is None:
                self._first_bad = torch.full((), -1, dtype=torch.int64, device=loss.device)
            is_new = ~torch.isfinite(loss.detach()).all() & (self._first_bad < 0)
            self._first_bad = torch.where(is_new, runner.iter + 1, self._first_bad)
        if self.every_n_train_iters(runner, self.interval) or self._checkpoint_is_due(runner):
            self._stop_if_broken(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Check loss and weights before the epoch's checkpoint and validation."""
        self._stop_if_broken(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Check before validation inside an iteration-based training, which may save the best checkpoint."""
        self._stop_if_broken(runner)

    def _checkpoint_is_due(self, runner: Runner) -> bool:
        """Whether a checkpoint is saved after this very iteration."""
        return any(
            isinstance(hook, CheckpointHook)
            and not hook.by_epoch
            and (
                self.every_n_train_iters(runner, hook.interval, hook.save_begin)
                or (hook.save_last and self.is_last_train_iter(runner))
            )
            for hook in runner.hooks
        )

    def _stop_if_broken(self, runner: Runner) -> None:
        if self._first_bad is None:
            return
        first_bad = self._first_bad.clone()
        all_reduce(first_bad, 'max')  # ranks stop together
        broken_weights = not weights_are_finite(runner.model)
        if first_bad < 0 and not broken_weights:
            return
        what = f'the loss became NaN or infinite in iteration {int(first_bad)}'
        if first_bad < 0:
            what = f'weights became NaN or infinite by iteration {runner.iter + 1}'
        last = runner.message_hub.runtime_info.get('last_ckpt')
        kept = f'the last good checkpoint is {last}' if last else 'no checkpoint was written yet'
        raise GLSimError(f'{what}; {kept}; lower the learning rate or train in float32')


def weights_are_finite(model: torch.nn.Module) -> bool:
    """Whether all weights are finite numbers; one reading of the device, whatever the number of tensors."""
    finite = [torch.isfinite(weight.detach()).all() for weight in model.parameters()]
    return bool(torch.stack(finite).all()) if finite else True


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds Python, numpy and torch before each training epoch.

    mmengine's checkpoints hold no state of random generators. With this hook a resumed run draws the numbers that an
    uninterrupted one would have: stochastic depth, dropout, and augmentation in the main process
    (``num_workers=0``). Worker processes that outlive an epoch go on with random streams of their own::

        custom_hooks = [dict(type='EpochSeedHook')]
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        set_random_seed((runner.seed + _EPOCH_STRIDE * (runner.epoch + 1) + get_rank()) % _MAX_SEED)


@HOOKS.register_module()
class UnreadableImageHook(Hook):
    """Reports, after each epoch, the images that loading transforms counted as unreadable since the last report.

    Counts come from every transform with an integer ``num_unreadable`` that all worker processes share, such as
    :class:`LoadImage`; numbers of all ranks are added up::

        custom_hooks = [dict(type='UnreadableImageHook')]
    """

    priority = 'LOW'

    def __init__(self) -> None:
        self._reported: dict[str, int] = {}

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """mmengine calls it after each epoch of training, validation and test."""
        total = torch.tensor(count_unreadable(getattr(runner, f'{mode}_dataloader').dataset))
        all_reduce(total)
        new = int(total) - self._reported.get(mode, 0)
        self._reported[mode] = int(total)
        if new > 0:
            treatment = 'others took their place' if mode == 'train' else 'they were scored as blank images'
            runner.logger.warning(f'{new} unreadable images met in this {mode} epoch: {treatment}.')


def count_unreadable(dataset: object) -> int:
    """Count the unreadable images that all transforms of a data set, or of a wrapper, have met so far."""
    return sum(
        transform.num_unreadable
        for leaf in leaf_datasets(dataset)
        for transform in all_transforms(getattr(leaf, 'pipeline', ()))
        if hasattr(transform, 'num_unreadable')
    )
