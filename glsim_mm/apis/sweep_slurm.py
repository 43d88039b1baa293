"""Hand the trials of a sweep to slurm without waiting for them, and look later at what became of them."""

import getpass
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import MMLogger

from ..errors import GLSimError, one_line
from .sweep_plan import FAILED, PENDING, SUBMITTED, Sweep, Trial
from .sweep_runs import LOG_FILE, Command, environment, note_end, prepare_folder

JOB_FILE, EXIT_FILE = 'job.sh', 'exit_code'
_KILLED = 128  # exit codes from here on are signals: of a time limit, of scancel

_JOB = """#!/usr/bin/env bash
{command}
code=$?
[ "$code" -ge {killed} ] || echo "$code" >{exit_file}
exit "$code"
"""


def submit_sweep(sweep: Sweep, command: Command, partition: str, retry_failed: bool = False) -> int:
    """Submit what is neither done nor waiting in the queue, each trial as a job of its own.

    Each job is the script ``job.sh`` in its trial's folder. GPUS, GPUS_PER_NODE and CPUS_PER_TASK come from the
    environment, with the defaults of ``tools/slurm_train.sh``; ``sbatch`` reads SBATCH_TIMELIMIT and so on.

    Args:
        sweep: What to run, after :func:`refresh_jobs`; changed and saved on the way.
        command: What a job runs, see :func:`glsim_mm.apis.sweep_runs.slurm_command`.
        partition: Of slurm.
        retry_failed: Submit failed trials again.

    Returns:
        Number of submitted jobs.

    Raises:
        GLSimError: If the folder cannot be written, or slurm refuses a job.
    """
    sweep.save()
    wanted = (PENDING, FAILED) if retry_failed else (PENDING,)
    waiting = [trial for trial in sweep.trials.values() if trial.status in wanted]
    for trial in waiting:
        folder, resume = prepare_folder(sweep, trial)
        folder = folder.resolve()  # slurm may start a job elsewhere
        trial.command = list(command(trial, folder, resume))
        script = _write_script(folder, trial.command)
        answer = _ask_slurm(['sbatch', *_sbatch_options(trial, partition, folder), str(script)])
        trial.job = answer.strip().partition(';')[0]  # NUMBER;CLUSTER
        trial.status, trial.message = SUBMITTED, ''
        sweep.save()
        MMLogger.get_current_instance().info('submitted %s as job %s', trial.name, trial.job)
    return len(waiting)


def refresh_jobs(sweep: Sweep, ask_queue: bool = True) -> None:
    """Note which submitted trials have ended.

    Args:
        sweep: Changed and saved. A job that left the queue without an exit code was killed: its trial is pending, to go
            on from its last checkpoint.
        ask_queue: Look into slurm's queue; without, such a trial stays submitted.

    Raises:
        GLSimError: If slurm cannot be asked.
    """
    submitted = [trial for trial in sweep.trials.values() if trial.status == SUBMITTED]
    queue: set[str] = set()
    if ask_queue and any(_exit_code(sweep.folder / trial.name) is None for trial in submitted):
        queue = set(_ask_slurm(['squeue', '--noheader', '--format=%A', f'--user={getpass.getuser()}']).split())
    for trial in submitted:
        folder = sweep.folder / trial.name
        code = _exit_code(folder)  # after the queue: a job that is not in it has written its code
        if code is not None:
            note_end(trial, folder, code)
        elif ask_queue and trial.job not in queue:
            trial.status = PENDING
    if submitted:
        sweep.save()


def _sbatch_options(trial: Trial, partition: str, folder: Path) -> list[str]:
    per_node = os.environ.get('GPUS_PER_NODE', '8')
    return [
        '--parsable',
        '--no-requeue',  # slurm would begin anew, the sweep goes on from the last checkpoint
        f'--partition={partition}',
        f'--job-name={trial.name}',
        f'--output={folder / LOG_FILE}',
        '--open-mode=append',
        f'--gres=gpu:{per_node}',
        f'--ntasks={os.environ.get("GPUS", "8")}',
        f'--ntasks-per-node={per_node}',
        f'--cpus-per-task={os.environ.get("CPUS_PER_TASK", "5")}',
    ]


def _write_script(folder: Path, command: Sequence[str]) -> Path:
    script, exit_file = folder / JOB_FILE, folder / EXIT_FILE
    content = _JOB.format(command=shlex.join(command), killed=_KILLED, exit_file=shlex.quote(str(exit_file)))
    try:
        exit_file.unlink(missing_ok=True)
        script.write_text(content, encoding='utf-8')
    except OSError as error:
        raise GLSimError(f'{folder} cannot be written ({error.strerror}); check the folder') from error
    return script


def _exit_code(folder: Path) -> int | None:
    try:
        return int((folder / EXIT_FILE).read_text(encoding='utf-8'))
    except (FileNotFoundError, ValueError):  # not there, or empty while it is being written
        return None


def _ask_slurm(command: Sequence[str]) -> str:
    try:
        result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    except OSError as error:
        message = f'{command[0]} cannot be run ({error.strerror}); call the sweep where slurm is installed'
        raise GLSimError(message) from error
    if result.returncode:
        words = one_line(RuntimeError(result.stderr), 300) or f'exit code {result.returncode}'
        raise GLSimError(f'{command[0]} says: {words}; mend that, then run the same command again to go on')
    return result.stdout
