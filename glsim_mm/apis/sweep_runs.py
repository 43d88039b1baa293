"""Run the trials of a sweep here, one after another or several at a time, each in a process of its own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

from mmengine.logging import MMLogger

from ..errors import GLSimError
from .sweep_plan import DONE, FAILED, PENDING, Sweep, Trial, as_options

LOG_FILE = 'output.log'
_GRACE = 30.0  # seconds that an interrupted training gets to end by itself

Command = Callable[[Trial, Path, bool], Sequence[str]]


def local_command(tools: Path, config: str, options: Mapping[str, Any], gpus: int = 1) -> Command:
    """Trials on this machine.

    Args:
        tools: Folder of ``train.py`` and ``dist_train.sh``.
        config: Config file.
        options: Values of config fields that all trials share.
        gpus: Processes of each training.

    Returns:
        Makes the command of a trial from it, its folder, and whether to go on from its last checkpoint.
    """
    start = [sys.executable, str(tools / 'train.py'), config]
    if gpus > 1:
        start = ['bash', str(tools / 'dist_train.sh'), config, str(gpus)]
    return lambda trial, folder, resume: [*start, '--work-dir', str(folder), *_rest(trial, resume, options)]


def slurm_command(tools: Path, partition: str, config: str, options: Mapping[str, Any]) -> Command:
    """Trials within jobs of slurm; GPUS, GPUS_PER_NODE and so on come from the environment.

    Args:
        tools: Folder of ``slurm_train.sh``.
        partition: Of slurm.
        config: Config file.
        options: Values of config fields that all trials share.

    Returns:
        As :func:`local_command`.
    """
    start = ['bash', str(tools / 'slurm_train.sh'), partition]
    return lambda trial, folder, resume: [*start, trial.name, config, str(folder), *_rest(trial, resume, options)]


def _rest(trial: Trial, resume: bool, options: Mapping[str, Any]) -> list[str]:
    return [*(['--resume'] if resume else []), '--cfg-options', *as_options(options), *trial.options]


def run_sweep(sweep: Sweep, command: Command, jobs: int = 1, retry_failed: bool = False) -> None:
    """Run what is not done; a failed trial does not stop the others.

    The state is written before and after each trial. An interruption (Ctrl-C, SIGTERM, a closed terminal) ends the
    trainings, which the next call continues from their last checkpoints.

    Args:
        sweep: What to run; changed and saved on the way.
        command: See :func:`local_command`.
        jobs: Trials at a time.
        retry_failed: Run failed trials again, from their last checkpoint if there is one.

    Raises:
        GLSimError: If the folder cannot be written, the command not be found, or the sweep is interrupted.
    """
    sweep.save()
    wanted = (PENDING, FAILED) if retry_failed else (PENDING,)
    waiting = [trial for trial in sweep.trials.values() if trial.status in wanted]
    logger = MMLogger.get_current_instance()
    logger.info('%d of %d trainings to run', len(waiting), len(sweep.trials))
    runner = _Runner(sweep, command)
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        with _ended_by_signals():
            for future in [pool.submit(runner.run, trial) for trial in waiting]:
                future.result()
    except KeyboardInterrupt as error:
        runner.stop()
        raise GLSimError('interrupted; run the same command again to go on from the last checkpoints') from error
    except GLSimError:
        runner.stop()  # no training may outlive the sweep
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def prepare_folder(sweep: Sweep, trial: Trial) -> tuple[Path, bool]:
    """Make the folder of a trial.

    Args:
        sweep: A sweep.
        trial: One of its trials.

    Returns:
        The folder, and whether there is a checkpoint to go on from.

    Raises:
        GLSimError: If it cannot be written.
    """
    folder = sweep.folder / trial.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOG_FILE).touch()
    except OSError as error:
        raise GLSimError(f'{folder} cannot be written ({error.strerror}); check the folder') from error
    return folder, (folder / 'last_checkpoint').is_file()


def note_end(trial: Trial, folder: Path, code: int) -> None:
    """Note in a trial that its training ended.

    Args:
        trial: Changed.
        folder: Its folder, with the log.
        code: Exit code of the training.
    """
    trial.status = DONE if code == 0 else FAILED
    log = folder / LOG_FILE
    trial.message = '' if code == 0 else f'exit code {code}: {last_line(log)} (see {log})'


def environment() -> dict[str, str]:
    """Environment of trainings: the scripts of ``tools/`` take this interpreter, unless ``PYTHON`` names another."""
    return {'PYTHON': sys.executable, **os.environ}


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the block as Ctrl-C does; trainings would outlive the sweep otherwise."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()  # only there may handlers be set
    wanted = [
        number for number in (signal.SIGTERM, signal.SIGHUP) if main and signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Runner:
    """Starts processes, and stops them when the sweep is interrupted."""

    def __init__(self, sweep: Sweep, command: Command) -> None:
        self.sweep = sweep
        self.command = command
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen] = set()
        self._stopped = False

    def run(self, trial: Trial) -> None:
        """Run a trial to its end and note what became of it."""
        folder, resume = prepare_folder(self.sweep, trial)
        with self._lock:
            if self._stopped:
                return
            trial.command = list(self.command(trial, folder, resume))
            trial.status = PENDING
            self.sweep.save()
        MMLogger.get_current_instance().info('%s %s', 'going on with' if resume else 'starting', trial.name)
        with (folder / LOG_FILE).open('ab') as log:
            code = self._wait(trial.command, log)
        if self._stopped:
            return
        with self._lock:
            note_end(trial, folder, code)
            self.sweep.save()
        if code:
            MMLogger.get_current_instance().error('%s failed, %s', trial.name, trial.message)

    def stop(self) -> None:
        """End all trainings; they may write what they have."""
        with self._lock:
            self._stopped = True
            processes = list(self._processes)
        for process in processes:
            _signal(process, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)

    def _wait(self, arguments: list[str], log: IO[bytes]) -> int:
        with self._lock:
            if self._stopped:
                return -1
            try:
                process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment(),
                    start_new_session=True,  # Ctrl-C reaches the sweep alone, which then knows that nothing failed
                )
            except OSError as error:
                raise GLSimError(f'{arguments[0]} cannot be run ({error.strerror}); check the installation') from error
            self._processes.add(process)
        code = process.wait()
        with self._lock:
            self._processes.discard(process)
        return code


def _signal(process: subprocess.Popen, number: int) -> None:
    """Signal a process and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def last_line(path: Path) -> str:
    """Last line of a log that is not empty; a user's mistake stands there."""
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), 'no output')
