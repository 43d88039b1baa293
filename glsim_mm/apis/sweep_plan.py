"""What a sweep trains: every combination of settings with every seed, and what has become of each."""

import argparse
import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction

from ..errors import GLSimError, one_line

STATE_FILE = 'sweep.json'
PENDING, SUBMITTED, DONE, FAILED = 'pending', 'submitted', 'done', 'failed'
_NAME_LENGTH = 80


@dataclass
class Trial:
    """One training of a sweep.

    Attributes:
        settings: Values of config fields by dotted name.
        seed: Random seed.
        status: ``'pending'``, ``'submitted'`` (to slurm), ``'done'`` or ``'failed'``; an interrupted one is pending.
            Defaults to pending.
        message: Last words of a failed one.
        command: What was last run for it. Defaults to nothing.
        job: Number of its slurm job.
    """

    settings: dict[str, Any]
    seed: int
    status: str = PENDING
    message: str = ''
    command: list[str] = field(default_factory=list)
    job: str = ''

    @property
    def key(self) -> str:
        """Settings and seed, equal for equal ones in any order."""
        return json.dumps([self.settings, self.seed], sort_keys=True, default=str)

    @property
    def name(self) -> str:
        """Folder of the trial: its settings in readable form, and a hash that keeps similar ones apart."""
        words = [f'{key.split(".")[-1]}={value}' for key, value in self.settings.items()]
        readable = re.sub(r'[^A-Za-z0-9._=+-]+', '-', '_'.join([*words, f'seed={self.seed}']))[:_NAME_LENGTH]
        return f'{readable}_{hashlib.sha256(self.key.encode()).hexdigest()[:6]}'

    @property
    def options(self) -> list[str]:
        """The trial as arguments of ``--cfg-options``."""
        return as_options({**self.settings, 'randomness.seed': self.seed})


@dataclass
class Sweep:
    """A sweep and its state, which lies in ``sweep.json`` in its folder.

    Attributes:
        folder: Work directory; each trial has a folder of its own in it.
        fingerprint: Hash of the config that all trials share.
        trials: By name, in the order in which they run.
    """

    folder: Path
    fingerprint: str
    trials: dict[str, Trial] = field(default_factory=dict)

    def save(self) -> None:
        """Write the state, so that no crash leaves half a file.

        Raises:
            GLSimError: If the folder cannot be written.
        """
        path = self.folder / STATE_FILE
        content = dict(fingerprint=self.fingerprint, trials=[asdict(trial) for trial in self.trials.values()])
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix('.tmp')
            temporary.write_text(json.dumps(content, indent=1), encoding='utf-8')
            os.replace(temporary, path)
        except OSError as error:
            raise GLSimError(f'{path} cannot be written ({error.strerror}); choose another --work-dir') from error


def parse_grid(words: Sequence[str]) -> dict[str, Any]:
    """Read the grid of a command line by the rules of ``--cfg-options`` (mmengine's ``DictAction``).

    Args:
        words: Each ``name=value`` or ``name=value,value``.

    Returns:
        Values by dotted name: a list where there are several.

    Raises:
        GLSimError: If a word has no value, a name comes twice, or brackets do not match.
    """
    grid: dict[str, Any] = {}
    for word in words:
        name, _, values = word.partition('=')
        if not name or not values.strip(', '):
            raise GLSimError(f'--grid {word}: no value is given; write it as name=value,value without spaces')
        if name in grid:
            raise GLSimError(f'--grid {name} comes twice; write all of its values in one, as name=value,value')
        parsed = argparse.Namespace()
        try:
            DictAction(['--grid'], 'grid')(argparse.ArgumentParser(), parsed, [word])
        except AssertionError as error:  # so DictAction tells brackets that do not match
            raise GLSimError(f'--grid {word}: {one_line(error)}; correct the brackets') from error
        grid.update(parsed.grid)
    return grid


def plan_sweep(cfg: Config, folder: str | Path, grid: Mapping[str, Any], seeds: Sequence[int]) -> Sweep:
    """Combine settings and seeds; trials of an earlier call in the same folder keep their state.

    Args:
        cfg: Config of the trainings, without the settings of the grid.
        folder: Work directory of the sweep.
        grid: Values to try for each field, a list, or one value.
        seeds: Random seeds; each setting is trained with all of them.

    Returns:
        With the trials of this grid first, and those of earlier grids, all of one config.

    Raises:
        GLSimError: If a field is unknown, there is nothing to try, a value or seed comes twice, or the folder has a
            sweep of another config or no readable one.
    """
    if not seeds or any(isinstance(values, list) and not values for values in grid.values()):
        raise GLSimError('a sweep needs at least one value of each field and one seed; complete --grid or --seeds')
    for name in grid:
        check_field(cfg, name)
    columns = {name: values if isinstance(values, list) else [values] for name, values in grid.items()}
    combinations = itertools.product(*columns.values())
    settings = [dict(zip(columns, combination)) for combination in combinations]
    trials = [Trial(values, seed) for values in settings for seed in seeds]
    if len({trial.key for trial in trials}) < len(trials):
        raise GLSimError('a value or a seed is in the grid twice; take it out')
    sweep = Sweep(Path(folder), fingerprint(cfg))
    earlier = read_sweep(folder)
    if earlier is not None:
        if earlier.fingerprint != sweep.fingerprint:
            raise GLSimError(
                f'the sweep in {folder} is of another config or of other --cfg-options, so results could not be '
                'compared; choose another --work-dir'
            )
        known = {trial.key: trial for trial in earlier.trials.values()}
        trials = [known.pop(trial.key, trial) for trial in trials] + list(known.values())
    sweep.trials = {trial.name: trial for trial in trials}
    return sweep


def read_sweep(folder: str | Path) -> Sweep | None:
    """Read the state of a sweep.

    Args:
        folder: Work directory of the sweep.

    Returns:
        None if there is none.

    Raises:
        GLSimError: If the file is damaged.
    """
    path = Path(folder) / STATE_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        trials = [Trial(**trial) for trial in content['trials']]
        return Sweep(Path(folder), content['fingerprint'], {trial.name: trial for trial in trials})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise GLSimError(
            f'{path} cannot be read ({one_line(error)}); delete it, or choose another --work-dir'
        ) from error


def existing_sweep(folder: str | Path) -> Sweep:
    """Read the state of a sweep that must be there.

    Args:
        folder: Work directory of the sweep.

    Returns:
        The sweep.

    Raises:
        GLSimError: If there is none, or its file is damaged.
    """
    sweep = read_sweep(folder)
    if sweep is None:
        raise GLSimError(f'there is no sweep in {folder}; run one there first, or give its --work-dir')
    return sweep


def failed_trials(sweep: Sweep) -> list[Trial]:
    """Trials of a sweep whose trainings failed."""
    return [trial for trial in sweep.trials.values() if trial.status == FAILED]


def fingerprint(cfg: Config) -> str:
    """Hash of what a config says, whatever its file is called."""
    content = {key: value for key, value in cfg.to_dict().items() if key not in ('work_dir', 'filename')}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def check_field(cfg: Config, name: str) -> None:
    """Raise :class:`GLSimError` unless a config has a field.

    Args:
        cfg: A config.
        name: Dotted name; places in lists are numbers.
    """
    node: Any = cfg
    for part in name.split('.'):
        if isinstance(node, list | tuple) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Config | ConfigDict | dict) and part in node:
            node = node[part]
        else:
            raise GLSimError(f'--grid {name}: the config has no {part!r} there; correct the name')


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Values of config fields as mmengine's ``DictAction`` reads them, ``name=value``."""
    return [f'{name}={_as_option(value)}' for name, value in settings.items()]


def _as_option(value: Any) -> str:
    if isinstance(value, list | tuple):
        inside = ','.join(_as_option(item) for item in value)
        return f'[{inside}]' if isinstance(value, list) else f'({inside})'
    return str(value)
