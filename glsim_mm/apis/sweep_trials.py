"""Train a config with every combination of settings and seeds, each in its own process, and resume what was stopped."""

import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger

from ..config_values import parse_options
from ..errors import GLSimError, one_line
from ..output_files import write_json
from .config_overrides import override

STATE_FILE, LOG_FILE, LAST_CHECKPOINT = 'sweep.json', 'output.log', 'last_checkpoint'
PENDING, DONE, FAILED = 'pending', 'done', 'failed'
_NAME_LENGTH = 80
_GRACE = 30.0  # seconds that an interrupted training gets to end by itself
_POLL = 0.1  # seconds between looks at the trainings

Command = Callable[['Trial', Path, bool], Sequence[str]]


@dataclass
class Trial:
    """One training of a sweep.

    Attributes:
        settings: Values of config fields by dotted name.
        status: ``'pending'``, ``'done'`` or ``'failed'``; one that was interrupted is pending.
        message: Last line of the log, if it failed.
        command: What was last run for it.
    """

    settings: dict[str, Any]
    seed: int
    status: str = PENDING
    message: str = ''
    command: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Settings and seed as text, the same for the same settings in any order."""
        return json.dumps([self.settings, self.seed], sort_keys=True, default=str)

    @property
    def name(self) -> str:
        """Name of the trial's folder: its settings in readable form, and a hash that keeps similar ones apart."""
        words = [f'{key.split(".")[-1]}={value}' for key, value in self.settings.items()]
        readable = re.sub(r'[^A-Za-z0-9._=+-]+', '-', '_'.join([*words, f'seed={self.seed}']))[:_NAME_LENGTH]
        return f'{readable}_{hashlib.sha256(self.key.encode()).hexdigest()[:6]}'

    @property
    def options(self) -> list[str]:
        """The trial as arguments of ``--cfg-options``."""
        return as_options({**self.settings, 'randomness.seed': self.seed})


@dataclass
class Sweep:
    """The trainings of a grid and what has become of each; the state is kept in ``sweep.json`` in its folder.

    >>> sweep = plan_sweep(cfg, 'work_dirs/lr', {'optim_wrapper.optimizer.lr': [0.03, 0.01]}, seeds=[0, 1])
    >>> run_sweep(sweep, training_command(Path('tools'), 'configs/glsim_vit_cub.py', {}))

    Attributes:
        folder: Work directory; each trial has a folder of its own in it.
        fingerprint: Hash of the config that all trials share.
        trials: By name, in the order in which they run.
    """

    folder: Path
    fingerprint: str
    trials: dict[str, Trial] = field(default_factory=dict)

    def failed(self) -> list[Trial]:
        """Trials whose trainings failed."""
        return [trial for trial in self.trials.values() if trial.status == FAILED]

    def save(self) -> None:
        """Replace the state file in one step, so that a crash never leaves half a file."""
        path = self.folder / STATE_FILE
        content = dict(fingerprint=self.fingerprint, trials=[asdict(trial) for trial in self.trials.values()])
        write_json(path, content)


def parse_grid(words: Sequence[str]) -> dict[str, Any]:
    """Read words such as ``lr=0.1,0.01`` as ``--cfg-options`` would; several values of a field become a list.

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
        grid.update(parse_options([word], '--grid'))
    return grid


def plan_sweep(cfg: Config, folder: str | Path, grid: Mapping[str, Any], seeds: Sequence[int]) -> Sweep:
    """Combine settings and seeds; the trials of earlier grids in the same folder follow and keep their state.

    Args:
        cfg: Config of the trainings, without the settings of the grid.
        folder: Work directory of the sweep.
        grid: Values to try for each field: a list, or one value.
        seeds: Each setting is trained with all of them.

    Raises:
        GLSimError: If a field is unknown, there is nothing to try, a value or seed comes twice, or the folder holds the
            sweep of another config or a damaged one.
    """
    if not seeds or any(isinstance(values, list) and not values for values in grid.values()):
        raise GLSimError('a sweep needs at least one value of each field and one seed; complete --grid or --seeds')
    columns = [values if isinstance(values, list) else [values] for values in grid.values()]
    for name, values in zip(grid, columns):
        _check_field(cfg, name)
        for value in values:
            override(deepcopy(cfg), {name: value})  # tells about values of another kind
    trials = [Trial(dict(zip(grid, values)), seed) for values in itertools.product(*columns) for seed in seeds]
    if len({trial.key for trial in trials}) < len(trials):
        raise GLSimError('a value or a seed is in the grid twice; take it out')
    sweep = Sweep(Path(folder), _fingerprint(cfg))
    if Path(folder, STATE_FILE).exists():
        earlier = read_sweep(folder)
        if earlier.fingerprint != sweep.fingerprint:
            raise GLSimError(
                f'the sweep in {folder} is of another config or of other --cfg-options, so results could not be '
                'compared; choose another --work-dir'
            )
        known = {trial.key: trial for trial in earlier.trials.values()}
        trials = [known.pop(trial.key, trial) for trial in trials] + list(known.values())
    sweep.trials = {trial.name: trial for trial in trials}
    return sweep


def read_sweep(folder: str | Path) -> Sweep:
    """Read the state of a sweep.

    Raises:
        GLSimError: If there is none, or its file is damaged.
    """
    path, names = Path(folder, STATE_FILE), [item.name for item in fields(Trial)]
    if not path.exists():
        raise GLSimError(f'there is no sweep in {folder}; run one there first, or give its --work-dir')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        trials = [Trial(**{name: entry[name] for name in names if name in entry}) for entry in content['trials']]
        return Sweep(path.parent, content['fingerprint'], {trial.name: trial for trial in trials})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise GLSimError(
            f'{path} cannot be read ({one_line(error)}); delete it, or choose another --work-dir'
        ) from error


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Values of config fields as mmengine's ``DictAction`` reads them, ``name=value``."""
    return [f'{name}={_as_option(value)}' for name, value in settings.items()]


def training_command(tools: Path, config: str, options: Mapping[str, Any], gpus: int = 1) -> Command:
    """Make the function from which :func:`run_sweep` gets the command of each trial.

    It takes a trial, its folder, and whether to go on from the last checkpoint there.

    Args:
        tools: Folder of ``train.py`` and ``dist_train.sh``.
        config: Config file.
        options: Values of config fields that all trials share.
        gpus: Processes of each training.
    """
    start = [sys.executable, str(tools / 'train.py'), config]
    if gpus > 1:
        start = ['bash', str(tools / 'dist_train.sh'), config, str(gpus)]

    def command(trial: Trial, folder: Path, resume: bool) -> list[str]:
        resumed = ['--resume'] if resume else []
        return [*start, '--work-dir', str(folder), *resumed, '--cfg-options', *as_options(options), *trial.options]

    return command


def run_sweep(sweep: Sweep, command: Command, jobs: int = 1, retry_failed: bool = False) -> None:
    """Run the trials that are not done; one that fails does not stop the others.

    The state is saved before and after each trial. An interruption (Ctrl-C, SIGTERM, a closed terminal) ends the
    trainings; the next call continues them from their last checkpoints.

    Args:
        command: See :func:`training_command`.
        jobs: Trials at a time.
        retry_failed: Run failed trials again, from their last checkpoint if there is one.

    Raises:
        GLSimError: If the folder cannot be written, the command is not found, or the sweep is interrupted.
    """
    sweep.save()
    wanted = (PENDING, FAILED) if retry_failed else (PENDING,)
    waiting = [trial for trial in sweep.trials.values() if trial.status in wanted]
    MMLogger.get_current_instance().info('%d of %d trainings to run', len(waiting), len(sweep.trials))
    running: dict[str, subprocess.Popen] = {}
    with _noted_signals() as signals:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    trial = waiting.pop(0)
                    running[trial.name] = _start(sweep, trial, command)
                time.sleep(_POLL)
                if signals:
                    raise GLSimError('interrupted; run the same command again to go on from the last checkpoints')
                for name in [name for name, process in running.items() if process.poll() is not None]:
                    _note_end(sweep, sweep.trials[name], running.pop(name).returncode)
        finally:
            _stop(list(running.values()))  # no training may outlive the sweep


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Collect Ctrl-C, SIGTERM and a closed terminal in a list, in place of an exception.

    An exception could come between any two steps: when a training runs and is not yet known, or while trainings are
    being stopped.
    """
    signals: list[int] = []
    main = threading.current_thread() is threading.main_thread()  # only there may handlers be set
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if main else ()
    before = {number: signal.getsignal(number) for number in numbers}
    noted = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    try:
        for number in noted:
            signal.signal(number, lambda number, frame: signals.append(number))
        yield signals
    finally:
        for number in noted:
            signal.signal(number, before[number])


def _start(sweep: Sweep, trial: Trial, command: Command) -> subprocess.Popen:
    """Start a trial, or go on with it where it has a checkpoint; its output goes to a file."""
    folder = sweep.folder / trial.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / LOG_FILE).open('ab')
    except OSError as error:
        raise GLSimError(f'{folder} cannot be written ({error.strerror}); check the folder') from error
    resume = (folder / LAST_CHECKPOINT).is_file()
    trial.command, trial.status = list(command(trial, folder, resume)), PENDING
    sweep.save()
    MMLogger.get_current_instance().info('%s %s', 'going on with' if resume else 'starting', trial.name)
    try:
        with log:
            return subprocess.Popen(
                trial.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={'PYTHON': sys.executable, **os.environ},  # the scripts in tools/ take this interpreter
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which then knows that nothing failed
            )
    except OSError as error:
        raise GLSimError(f'{trial.command[0]} cannot be run ({error.strerror}); check the installation') from error


def _note_end(sweep: Sweep, trial: Trial, code: int) -> None:
    """Save what became of a trial; the last line of its output has the sentence about a user's mistake."""
    log = sweep.folder / trial.name / LOG_FILE
    lines = [line.strip() for line in log.read_text(encoding='utf-8', errors='replace').splitlines() if line.strip()]
    trial.status = FAILED if code else DONE
    trial.message = f'exit code {code}: {lines[-1] if lines else "no output"} (see {log})' if code else ''
    sweep.save()
    if code:
        MMLogger.get_current_instance().error('%s failed, %s', trial.name, trial.message)


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """End trainings and the processes that they started; they may write what they have."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _fingerprint(cfg: Config) -> str:
    """Hash of what a config says, whatever its file is called."""
    content = {key: value for key, value in cfg.to_dict().items() if key not in ('work_dir', 'filename')}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _check_field(cfg: Config, name: str) -> None:
    node: Any = cfg
    for part in name.split('.'):
        if isinstance(node, list | tuple) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Config | ConfigDict | dict) and part in node:
            node = node[part]
        else:
            raise GLSimError(f'--grid {name}: the config has no {part!r} there; correct the name')


def _as_option(value: Any) -> str:
    if isinstance(value, list | tuple):
        inside = ','.join(_as_option(item) for item in value)
        return f'[{inside}]' if isinstance(value, list) else f'({inside})'
    return str(value)
