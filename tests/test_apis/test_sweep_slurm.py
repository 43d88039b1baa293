"""Sweeps by slurm, which small scripts stand for: sbatch numbers the jobs, squeue lists those that ``queue`` names."""

import shlex
import subprocess
import sys

import pytest
from mmengine.config import Config

from glsim_mm.apis import plan_sweep
from glsim_mm.apis.sweep_plan import read_sweep
from glsim_mm.apis.sweep_slurm import refresh_jobs, submit_sweep
from glsim_mm.errors import GLSimError

CONFIG = Config(dict(lr=0.01))

SBATCH = """#!/bin/sh
[ -e "$SLURM/refuse" ] && { echo 'sbatch: error: invalid partition' >&2; exit 1; }
printf '%s\\n' "$PYTHON" "$@" >>"$SLURM/arguments"
echo x >>"$SLURM/numbers"
echo "$(wc -l <"$SLURM/numbers" | tr -d ' ');cluster"
"""
SQUEUE = '#!/bin/sh\n[ -e "$SLURM/refuse" ] && exit 1\ncat "$SLURM/queue"\n'


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Folder of the stand-ins, with their state."""
    folder = tmp_path / 'slurm'
    folder.mkdir()
    for name, text in {'sbatch': SBATCH, 'squeue': SQUEUE}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / 'queue').write_text('')
    monkeypatch.setenv('PATH', f'{folder}:/usr/bin:/bin')
    monkeypatch.setenv('SLURM', str(folder))
    monkeypatch.setenv('GPUS', '4')
    monkeypatch.setenv('GPUS_PER_NODE', '2')
    monkeypatch.delenv('PYTHON', raising=False)
    return folder


def job(trial, folder, resume):
    """Exit code 0, 3 (a failure) or 143 (a time limit) by the setting, with the words of the trial before it."""
    code = {0.1: 0, 0.2: 3, 0.3: 143}[trial.settings['lr']]
    return ['sh', '-c', f'echo "it\'s $0 $1"; exit {code}', 'resumed' if resume else 'fresh', *trial.options]


def submit(sweep, retry_failed=False):
    refresh_jobs(sweep)
    return submit_sweep(sweep, job, 'gpu', retry_failed)


def run_job(sweep, trial):
    folder = sweep.folder / trial.name
    with (folder / 'output.log').open('ab') as log:
        return subprocess.run(['bash', folder / 'job.sh'], stdout=log, cwd='/', check=False).returncode


def test_jobs_are_submitted_once_and_looked_at_later(slurm, tmp_path):
    sweep = plan_sweep(CONFIG, tmp_path / 'my sweep', {'lr': [0.1, 0.2, 0.3]}, [0])
    assert submit(sweep) == 3
    good, bad, killed = sweep.trials.values()
    assert [trial.job for trial in sweep.trials.values()] == ['1', '2', '3']
    arguments = (slurm / 'arguments').read_text().splitlines()
    assert arguments[0] == sys.executable  # for the scripts of tools/
    assert {'--partition=gpu', '--gres=gpu:2', '--ntasks=4', '--ntasks-per-node=2', '--no-requeue'} <= set(arguments)
    assert f'--output={tmp_path}/my sweep/{good.name}/output.log' in arguments

    (slurm / 'queue').write_text('1\n2\n3\n44\n')
    sweep = read_sweep(sweep.folder)
    assert submit(sweep) == 0  # all of them are in the queue
    assert {trial.status for trial in sweep.trials.values()} == {'submitted'}

    assert [run_job(sweep, trial) for trial in (good, bad, killed)] == [0, 3, 143]
    (sweep.folder / killed.name / 'last_checkpoint').write_text('x')
    (slurm / 'queue').write_text('44\n')
    refresh_jobs(sweep)
    good, bad, killed = sweep.trials.values()
    assert [trial.status for trial in (good, bad, killed)] == ['done', 'failed', 'pending']
    log = sweep.folder / bad.name / 'output.log'
    assert bad.message == f"exit code 3: it's fresh lr=0.2 (see {log})"
    assert [trial.status for trial in read_sweep(sweep.folder).trials.values()] == ['done', 'failed', 'pending']

    assert submit(sweep) == 1
    assert (killed.job, killed.command[3]) == ('4', 'resumed')
    assert shlex.join(killed.command) in (sweep.folder / killed.name / 'job.sh').read_text()
    (slurm / 'queue').write_text('4\n')
    assert submit(sweep, retry_failed=True) == 1
    assert (bad.status, bad.job, bad.message) == ('submitted', '5', '')
    refresh_jobs(sweep, ask_queue=False)  # the exit code of the first job does not count
    assert bad.status == 'submitted'


def test_table_needs_no_slurm(slurm, tmp_path, monkeypatch):
    sweep = plan_sweep(CONFIG, tmp_path / 'sweep', {'lr': [0.1, 0.3]}, [0])
    submit(sweep)
    for trial in sweep.trials.values():
        run_job(sweep, trial)
    monkeypatch.setenv('PATH', str(tmp_path / 'nothing'))
    refresh_jobs(sweep, ask_queue=False)
    assert [trial.status for trial in sweep.trials.values()] == ['done', 'submitted']
    with pytest.raises(GLSimError, match='squeue cannot be run'):
        refresh_jobs(sweep)


def test_slurm_that_refuses(slurm, tmp_path):
    sweep = plan_sweep(CONFIG, tmp_path / 'sweep', {'lr': [0.1]}, [0])
    (slurm / 'refuse').write_text('')
    with pytest.raises(GLSimError, match='^sbatch says: sbatch: error: invalid partition; mend that'):
        submit(sweep)
    assert [trial.status for trial in read_sweep(sweep.folder).trials.values()] == ['pending']
    (slurm / 'refuse').unlink()
    submit(sweep)
    (slurm / 'refuse').write_text('')
    with pytest.raises(GLSimError, match='squeue says: exit code 1'):  # a silent queue is no reason to submit again
        submit(sweep)
    assert [trial.status for trial in sweep.trials.values()] == ['submitted']
