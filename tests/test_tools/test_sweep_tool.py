"""tools/sweep.py with real trainings."""

import sys

import pytest
from tiny_run import ROOT, call_tool, run_command, write_config

LR = 'optim_wrapper.optimizer.lr'


def test_sweep_trains_tells_and_goes_on(tiny_images, tmp_path):
    config = write_config(tmp_path / 'tiny_swept.py', tiny_images)
    command = [sys.executable, ROOT / 'tools' / 'sweep.py', config.name, '--work-dir', 'found', '--cfg-options']
    command += ['train_cfg.max_epochs=1', '--seeds', '0', '1', '--grid']
    result = run_command(*command, f'{LR}=0.01', cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    *_, header, row, path = result.stdout.splitlines()
    assert header.split() == ['lr', 'mean', 'accuracy/top1', 'deviation', 'seeds']
    assert row.split()[:2] == ['*', '0.01'] and row.endswith('2 of 2')
    assert path == 'table in found/results.csv'
    folders = [folder for folder in (tmp_path / 'found').iterdir() if folder.is_dir()]
    assert len(folders) == 2 and all((folder / 'epoch_1.pth').is_file() for folder in folders)
    seeds = {folder.name.split('seed=')[1][0] for folder in folders}
    assert seeds == {'0', '1'}

    changed = [folder / 'epoch_1.pth' for folder in folders]
    times = [path.stat().st_mtime_ns for path in changed]
    result = run_command(*command, f'{LR}=0.01', '--table-only', cwd=tmp_path)
    assert result.stdout.splitlines()[-2:] == [row, path]
    result = run_command(*command, f'{LR}=0.01', 'optim_wrapper.optimizer.typo=1', cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(
        "error: --grid optim_wrapper.optimizer.typo: the config has no 'typo'"
    )
    assert [path.stat().st_mtime_ns for path in changed] == times


def test_failed_training_is_told(tiny_images, tmp_path, capsys):
    config = write_config(tmp_path / 'tiny_failing.py', tiny_images)
    options = ['--grid', 'train_dataloader.dataset.data_root=nowhere', '--work-dir', tmp_path / 'found']
    with pytest.raises(SystemExit) as end:
        call_tool('sweep', config, *options)
    captured = capsys.readouterr()
    assert end.value.code == 1
    assert 'failed: data_root=nowhere_seed=0_' in captured.err and 'nowhere' in captured.err.splitlines()[-1]
    assert '0 of 1' in captured.out


def test_dry_run_and_slurm(tiny_images, tmp_path, capsys, monkeypatch):
    config = write_config(tmp_path / 'tiny_dry.py', tiny_images)
    call_tool('sweep', config, '--grid', f'{LR}=0.1,0.2', '--work-dir', tmp_path / 'found', '--dry-run')
    assert [line.split('_seed')[0] for line in capsys.readouterr().out.splitlines()] == [
        'pending  lr=0.1',
        'pending  lr=0.2',
    ]
    assert not (tmp_path / 'found').exists()
    srun = tmp_path / 'bin' / 'srun'
    srun.parent.mkdir()
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    monkeypatch.setenv('PATH', f'{srun.parent}:/usr/bin:/bin')
    with pytest.raises(SystemExit) as end:  # the fake job records no metric
        call_tool('sweep', config, '--grid', f'{LR}=0.1,0.2', '--work-dir', tmp_path / 'found', '--slurm', 'gpu')
    assert end.value.code == 2
    assert "recorded the metric 'accuracy/top1'" in capsys.readouterr().err
    outputs = [path.read_text().splitlines() for path in sorted((tmp_path / 'found').glob('*/output.log'))]
    assert len(outputs) == 2
    assert all('--partition=gpu' in lines and 'randomness.seed=0' in lines for lines in outputs)
    assert f'{LR}=0.1' in outputs[0] and f'{LR}=0.2' in outputs[1]


def test_options_that_exclude_each_other(tmp_path, capsys):
    for options in (['--gpus', '2', '--jobs', '2'], ['--gpus', '2', '--slurm', 'gpu'], ['--jobs', '0']):
        with pytest.raises(SystemExit) as end:
            call_tool('sweep', 'config.py', *options)
        assert end.value.code == 2
    assert capsys.readouterr().err.count('error:') == 3
