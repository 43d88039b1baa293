"""tools/sweep.py with real trainings."""

import csv
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import mmengine
import pytest
from tiny_run import ROOT, call_tool, run_command, write_config

LR = 'optim_wrapper.optimizer.lr'


# Waits after the first epoch of the first training, until the sweep is interrupted there.
WAITING_HOOK = """
import time
from functools import partial
from pathlib import Path
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

@HOOKS.register_module()
class WaitOnceHook(Hook):
    priority = 'LOWEST'
    def after_train_epoch(self, runner):
        if runner.epoch == 0 and not Path('waited').exists():
            Path('waited').touch()
            time.sleep(60)
"""
WAITING = """
custom_imports = dict(imports=['glsim_mm', 'waiting_hook'], allow_failed_imports=False)
custom_hooks = [dict(type='WaitOnceHook')]
"""


def test_interrupted_sweep_is_finished_by_the_same_command(tiny_images, tmp_path):
    (tmp_path / 'waiting_hook.py').write_text(WAITING_HOOK)
    config = write_config(tmp_path / 'tiny_swept.py', tiny_images, WAITING)
    tool = [sys.executable, str(ROOT / 'tools' / 'sweep.py'), config.name, '--work-dir', 'found']
    command = [*tool, '--seeds', '0', '1', '--grid', f'{LR}=0.1,0.01']
    environment = dict(PYTHONPATH=str(tmp_path))

    alone = dict(os.environ, OMP_NUM_THREADS='1', **environment)
    # A shell's background jobs, of which these tests may be one, ignore SIGINT, and so would their children.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, cwd=tmp_path, env=alone, stderr=subprocess.PIPE, preexec_fn=listen)
    deadline = time.monotonic() + 120
    while not (tmp_path / 'waited').exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 2 and b'error: interrupted; run the same command again' in errors

    result = run_command(*command, cwd=tmp_path, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    *_, header, best, other, note, path = result.stdout.splitlines()
    assert header.split() == ['lr', 'mean', 'accuracy/top1', 'deviation', 'seeds']
    assert best.startswith('*') and not other.startswith('*')
    assert best.endswith('2 of 2') and other.endswith('2 of 2')
    assert note == 'of the highest validation of each training; deviation by n - 1; * highest mean'
    assert path == 'table in found/results.csv'
    assert all(len(line) <= 80 for line in (header, best, other, note))
    check_trainings(tmp_path / 'found')
    check_table(tmp_path / 'found')

    table = [header, best, other, note, path]
    result = run_command(*tool, '--table-only', cwd=tmp_path, **environment)
    assert (result.returncode, result.stdout.splitlines()[-5:]) == (0, table)
    typo = [f'{LR}=0.01', 'optim_wrapper.optimizer.typo=1']
    result = run_command(*tool, '--grid', *typo, cwd=tmp_path, **environment)
    assert result.returncode == 2
    assert "error: --grid optim_wrapper.optimizer.typo: the config has no 'typo'" in result.stderr.splitlines()[-1]


def check_trainings(folder: Path) -> None:
    """Four trainings in two epochs, of which the first went on after its first one."""
    trials = mmengine.load(folder / 'sweep.json')['trials']
    assert [(trial['settings'][LR], trial['seed']) for trial in trials] == [(0.1, 0), (0.1, 1), (0.01, 0), (0.01, 1)]
    assert ['--resume' in trial['command'] for trial in trials] == [True, False, False, False]
    for trial in trials:
        (run,) = folder.glob(f'lr={trial["settings"][LR]}_seed={trial["seed"]}_*')
        assert (run / 'epoch_2.pth').is_file() and trial['status'] == 'done'
        logs = [path.read_text() for path in sorted(run.glob('*/vis_data/scalars.json'))]
        steps = [[json.loads(line)['step'] for line in log.splitlines() if 'accuracy/top1' in line] for log in logs]
        assert sum(steps, []) == ([2] if trial is trials[0] else [1, 2])  # interrupted before its first validation


def check_table(folder: Path) -> None:
    """Each row is the mean and deviation of what its trainings recorded."""
    with (folder / 'results.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert {row[LR] for row in rows} == {'0.1', '0.01'}
    for row in rows:
        values = []
        for run in folder.glob(f'lr={row[LR]}_seed=*'):
            text = ''.join(path.read_text() for path in run.glob('*/vis_data/scalars.json'))
            values.append(max(float(value) for value in re.findall(r'"accuracy/top1": ([0-9.]+)', text)))
        assert len(values) == 2 and float(row['mean']) == pytest.approx(statistics.fmean(values))
        assert float(row['deviation']) == pytest.approx(statistics.stdev(values))
    assert float(rows[0]['mean']) >= float(rows[1]['mean'])


def test_failed_training_is_told(tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_failing.py', tiny_images)
    options = ['--grid', 'train_dataloader.dataset.data_root=nowhere', '--work-dir', tmp_path / 'found']
    with pytest.raises(SystemExit) as end:
        call_tool('sweep', config, *options)
    captured = capsys.readouterr()
    assert end.value.code == 1
    assert 'failed: data_root=nowhere_seed=0_' in captured.err and 'nowhere' in captured.err.splitlines()[-1]
    assert '0 of 1' in captured.out


def test_dry_run(tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_dry.py', tiny_images)
    call_tool('sweep', config, '--grid', f'{LR}=0.1,0.2', '--work-dir', tmp_path / 'found', '--dry-run')
    assert [line.split('_seed')[0] for line in capsys.readouterr().out.splitlines()] == [
        'pending  lr=0.1',
        'pending  lr=0.2',
    ]
    assert not (tmp_path / 'found').exists()


def test_slurm_jobs_are_submitted_and_gathered_later(tiny_images, tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path / 'tiny_slurm.py', tiny_images)
    stand_ins = {
        'sbatch': 'for last; do :; done; echo "$last" >>"$SLURM/jobs"; wc -l <"$SLURM/jobs" | tr -d " "',
        'srun': 'printf "%s\\n" "$@"',
    }
    (tmp_path / 'bin').mkdir()
    for name, text in stand_ins.items():
        (tmp_path / 'bin' / name).write_text(f'#!/bin/bash\n{text}\n')
        (tmp_path / 'bin' / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}/bin:/usr/bin:/bin')
    monkeypatch.setenv('SLURM', str(tmp_path))
    options = [config, '--work-dir', tmp_path / 'found']
    call_tool('sweep', *options, '--grid', f'{LR}=0.1,0.2', '--slurm', 'gpu')
    assert '2 jobs submitted; look at them later with --table-only' in capsys.readouterr().out

    jobs = [Path(line) for line in (tmp_path / 'jobs').read_text().splitlines()]
    for job, value in zip(jobs, ('0.1', '0.2')):
        result = run_command('bash', job, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        lines = result.stdout.splitlines()
        assert {'--partition=gpu', f'--work-dir={job.parent}', f'{LR}={value}', 'randomness.seed=0'} <= set(lines)
    record = jobs[1].parent / 'now' / 'vis_data' / 'scalars.json'
    record.parent.mkdir(parents=True)
    record.write_text('{"accuracy/top1": 75.0, "step": 1}\n')
    call_tool('sweep', *options, '--table-only')
    _, best, other, *_ = capsys.readouterr().out.splitlines()
    assert best.split() == ['*', '0.2', '75.00', '-', '1', 'of', '1']
    assert other.split() == ['0.1', '-', '-', '0', 'of', '1']


def test_options_that_exclude_each_other(tmp_path, capsys):
    for options in (
        ['--gpus', '2', '--jobs', '2'],
        ['--gpus', '2', '--slurm', 'gpu'],
        ['--jobs', '2', '--slurm', 'gpu'],
        ['--jobs', '0'],
    ):
        with pytest.raises(SystemExit) as end:
            call_tool('sweep', 'config.py', *options)
        assert end.value.code == 2
    assert capsys.readouterr().err.count('error:') == 4
