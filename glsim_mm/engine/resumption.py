"""Resumed runs: where they go on, and what they change of the run that wrote the checkpoint."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.runner import Runner

from ..config_values import parse_assignments
from ..errors import GLSimError, one_line

# Where a run writes and what it shows changes no result.
_IGNORED = (
    *('work_dir', 'load_from', 'resume', 'launcher', 'experiment_name', 'randomness', 'visualizer', 'env_cfg'),
    *('log_level', 'log_processor', 'default_hooks', 'custom_hooks', 'custom_imports', 'default_scope'),
)
# Fields that the learning rate of a step depends on.
_SCHEDULE = ('optim_wrapper.optimizer', 'optim_wrapper.paramwise_cfg', 'param_scheduler', 'train_cfg', 'auto_scale_lr')
_LIMITS = ('max_epochs', 'max_iters')
_WARM_UPS = ('Linear', 'Constant')  # types of schedulers that end before others begin


class Difference(NamedTuple):
    """What was something else when the checkpoint was written.

    Attributes:
        name: Dotted name of a field of the config, or what else it is.
        old: In the checkpoint; None for a field that was not there.
        new: Now.
        is_of_schedule: Whether the learning rate depends on it.
    """

    name: str
    old: Any
    new: Any
    is_of_schedule: bool

    def __str__(self) -> str:
        return f'{self.name} {one_line(self.old, 40)} -> {one_line(self.new, 40)}'


def find_last_checkpoint(folder: str | Path) -> Path | None:
    """The checkpoint that a work directory goes on from, also if the directory was moved; None if there is none."""
    folder = Path(folder)
    named = folder / 'last_checkpoint'
    if named.is_file():
        path = Path(named.read_text(encoding='utf-8').strip())
        for place in (folder / path.name, path):
            if path.name and place.exists():
                return place
    numbered = {
        int(path.stem.rpartition('_')[2]): path
        for path in folder.glob('*_*.pth')
        if path.stem.partition('_')[0] in ('epoch', 'iter') and path.stem.partition('_')[2].isdigit()
    }
    return numbered[max(numbered)] if numbered else None


def read_settings(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config in the ``meta`` of a checkpoint, read without running it; None if there is none."""
    text = meta.get('cfg')
    return parse_assignments(text) if isinstance(text, str) and text.strip() else None


def find_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Fields that may change a result, those of the schedule first; a field that only one config has is None there."""
    names = [name for name in inspect.signature(Runner).parameters if name not in _IGNORED]
    found = [one for name in names for one in _differences(old.get(name), new.get(name), name)]
    return sorted(found, key=lambda one: not one.is_of_schedule)


def _differences(old: Any, new: Any, name: str) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(old.get(key), new.get(key), f'{name}.{key}')
    elif _is_list(old) and _is_list(new) and len(old) == len(new):
        for place, (before, now) in enumerate(zip(old, new)):
            yield from _differences(before, now, f'{name}.{place}')
    elif old is not ... and not isinstance(new, type) and old != new:  # classes and what is no plain value are unknown
        yield Difference(name, old, new, any(f'{name}.'.startswith(f'{field}.') for field in _SCHEDULE))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def check_resumption(old: Mapping[str, Any], new: Mapping[str, Any], checkpoint: str) -> None:
    """Raise :class:`GLSimError` if a run cannot go on with the settings of another.

    That is the case for another optimiser, whose state is another, for epochs in place of iterations, and where the
    number of epochs changes and the schedule still ends where the old one did.
    """
    kinds = [_get(config, 'optim_wrapper.optimizer.type') for config in (old, new)]
    if None not in kinds and kinds[0] != kinds[1] and not isinstance(kinds[1], type):
        raise GLSimError(
            f'{checkpoint} was trained with {kinds[0]} and the config has {kinds[1]}, whose state is another; start '
            f'from its weights with --cfg-options load_from={checkpoint} in place of --resume'
        )
    limits = [{name: (_get(config, 'train_cfg') or {}).get(name) for name in _LIMITS} for config in (old, new)]
    for name in _LIMITS:
        before, now = limits[0][name], limits[1][name]
        if (before is None) != (now is None):
            raise GLSimError(
                f'{checkpoint} counts {"epochs" if limits[0]["max_epochs"] else "iterations"} and the config does not; '
                f'resume with the same kind of train_cfg'
            )
        if before is not None and now is not None and before != now:
            _check_ends(old, new, before, now, name, checkpoint)


def _check_ends(old: Mapping, new: Mapping, before: int, now: int, name: str, checkpoint: str) -> None:
    """Refuse another length of a run where the schedule would go on to end as before."""
    schedulers = [_get(config, 'param_scheduler') for config in (old, new)]
    olds, news = ([one] if isinstance(one, Mapping) else list(one or ()) for one in schedulers)
    options = [
        f'param_scheduler.{place}.{field}={value + now - before}'
        for place, (was, scheduler) in enumerate(zip(olds, news))
        if not (len(olds) > 1 and str(was.get('type')).startswith(_WARM_UPS))
        if scheduler.get('by_epoch', True) == (name == 'max_epochs')
        for field, value in _ends_at(was, before).items()
        if scheduler.get(field) == value
    ]
    if options:
        raise GLSimError(
            f'{name} is {now} here and {before} in {checkpoint}, but the schedule still ends at {before}, so that the '
            f'learning rate would not fit; add --cfg-options {" ".join(options)}, or set train_cfg.{name}={before}'
        )


def _ends_at(scheduler: Mapping, limit: int) -> dict[str, int]:
    """Fields of a scheduler that make it end with the run, and their values."""
    begin, end, length = scheduler.get('begin') or 0, scheduler.get('end'), scheduler.get('T_max')
    found = {'end': limit} if end == limit else {}
    if length is not None and begin + length == limit:
        found['T_max'] = length
    return found


def _get(config: Any, name: str) -> Any:
    for part in name.split('.'):
        config = config.get(part) if isinstance(config, Mapping) else None
    return config
