"""Resumed runs: what comes from the checkpoint and what from the config, said and done."""

import warnings
from copy import deepcopy

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ...errors import GLSimError, name_some
from ..resumption import Difference, check_resumption, find_differences, read_settings
from .run_checks import is_training

_NUM_NAMED = 12


@HOOKS.register_module()
class ResumeHook(Hook):
    """Lets a resumed run take its settings from the config, and says which of them have changed.

    Weights, the state of the optimiser, epoch, seed and best score are the checkpoint's. mmengine also takes learning
    rate and schedule from there, whatever the config says, so that with more epochs the rate stays where the old
    schedule ended. Here they are the config's: where optimiser, schedule, number of epochs, batches of an epoch or
    number of processes have changed, the schedule is gone through from its beginning to the epoch of the checkpoint,
    with the learning rates that a run with these settings would have had. A run without changes is resumed to the bit::

        custom_hooks = [dict(type='ResumeHook')]

    Raises:
        GLSimError: If the run cannot go on with these settings.
    """

    priority = 'LOW'  # behind the hooks that check whether the checkpoint is of this model

    def __init__(self) -> None:
        self._fresh: tuple[list[dict], list[dict]] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note what a config does not say."""
        checkpoint['meta'].update(world_size=runner.world_size, epoch_length=_epoch_length(runner))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare config and checkpoint before anything is taken from it."""
        checkpoint.get('meta', {}).pop('config', None)  # mmengine (0.10.7) would run it
        if not (is_training(runner) and runner._resume):
            return
        meta, name = checkpoint['meta'], str(runner._load_from or 'the checkpoint')
        settings = read_settings(meta)
        changed: list[Difference] = []
        if settings is not None:
            new = runner.cfg.to_dict()
            check_resumption(settings, new, name)
            changed = find_differences(settings, new)
        changed += _changed_batches(runner, meta)
        _check_groups(runner, checkpoint, name)
        is_done = self._tell(runner, meta, name, changed)
        self._fresh = None
        if any(one.is_of_schedule for one in changed) and not is_done:
            self._fresh = _schedule_of(runner)

    def before_train(self, runner: Runner) -> None:
        """Give the optimiser the learning rates of the config, if they have changed."""
        if self._fresh is None:
            return
        before = runner.optim_wrapper.get_lr()['lr'][0]
        _replay(runner, *self._fresh)
        self._fresh = None
        now = runner.optim_wrapper.get_lr()['lr'][0]
        runner.logger.info(f'the learning rate follows the schedule of this config: {now:.4g}, not {before:.4g}')

    def _tell(self, runner: Runner, meta: dict, name: str, changed: list[Difference]) -> bool:
        """Say what is taken from where; return whether nothing is left to do."""
        loop = runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        units, limit = ('epochs', 'max_epochs') if by_epoch else ('iterations', 'max_iters')
        done, wanted = (meta['epoch'], loop.max_epochs) if by_epoch else (meta['iter'], loop.max_iters)
        runner.logger.info(
            f'resumed from {name} with {done} of {wanted} {units} done: weights, state of the optimiser, seed '
            f'({meta.get("seed")}) and best score are those of the checkpoint, all settings those of this config'
        )
        if changed:
            runner.logger.warning(f'changed since the checkpoint: {name_some([*map(str, changed)], _NUM_NAMED)}')
        if done >= wanted:
            runner.logger.warning(
                f'nothing is left to do: {name} has {done} {units}, and train_cfg.{limit} is {wanted}; for more, set '
                f'--cfg-options train_cfg.{limit}=N and the end of param_scheduler'
            )
        return done >= wanted


def _epoch_length(runner: Runner) -> int | None:
    loop = runner.train_loop
    return len(loop.dataloader) if isinstance(loop, EpochBasedTrainLoop) else None


def _changed_batches(runner: Runner, meta: dict) -> list[Difference]:
    """Number of processes and of batches in an epoch, by which iterations are counted anew."""
    found = []
    if meta.get('world_size') not in (None, runner.world_size):
        found.append(Difference('number of processes', meta['world_size'], runner.world_size, True))
    length, epochs = _epoch_length(runner), meta.get('epoch')
    if length and epochs:
        old = meta.get('epoch_length') or meta['iter'] / epochs
        if old != length and float(old).is_integer():
            found.append(Difference('batches in an epoch', int(old), length, True))
            meta['iter'] = epochs * length
    return found


def _check_groups(runner: Runner, checkpoint: dict, name: str) -> None:
    """torch would compare the groups of weights and say less."""
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        return
    kept = (checkpoint.get('optimizer') or {}).get('param_groups')
    if kept is None:
        return
    old = [len(group['params']) for group in kept]
    new = [len(group['params']) for group in runner.optim_wrapper.optimizer.param_groups]
    if old != new:
        raise GLSimError(
            f'the optimiser of {name} has {len(old)} groups of {sum(old)} weights and that of the config {len(new)} of '
            f'{sum(new)}, so that its state does not fit; start from its weights with --cfg-options load_from={name} '
            'in place of --resume'
        )


def _schedule_of(runner: Runner) -> tuple[list[dict], list[dict]]:
    """Settings of the optimiser's groups, and states of the schedulers, as the config has them."""
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        raise GLSimError(
            'a run with several optimisers cannot go on with another schedule; resume with the settings of the '
            'checkpoint, or start from its weights with load_from'
        )
    schedulers = list(runner.param_schedulers or ())
    if any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers):
        raise GLSimError(
            'a schedule that follows a metric cannot go on with other settings; resume with those of the checkpoint, '
            'or start from its weights with load_from'
        )
    groups = [{key: value for key, value in group.items() if key != 'params'} for group in _groups(runner)]
    return deepcopy(groups), [deepcopy(scheduler.state_dict()) for scheduler in schedulers]


def _groups(runner: Runner) -> list[dict]:
    return runner.optim_wrapper.param_groups


def _replay(runner: Runner, groups: list[dict], states: list[dict]) -> None:
    """Go through a schedule from its beginning to the present iteration."""
    schedulers = list(runner.param_schedulers or ())
    for group, settings in zip(_groups(runner), groups):
        group.update(settings)
    for scheduler, state in zip(schedulers, states):
        scheduler.load_state_dict(state)
    length = _epoch_length(runner)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that the optimiser has made no step yet
        for iteration in range(1, runner.iter + 1):
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
            if length and iteration % length == 0:
                for scheduler in schedulers:
                    if scheduler.by_epoch:
                        scheduler.step()
