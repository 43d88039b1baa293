"""tools/sweep.py with real trainings."""

import csv
import json
import re
import signal
from pathlib import Path

import mmengine
import pytest
from tiny_run import call_tool, write_config

pytestmark = pytest.mark.slow

LR = 'optim_wrapper.optimizer.lr'


# Interrupts the sweep after the first epoch of its first training, as Ctrl-C does, and waits there to be ended.
WAITING_HOOK = """
import os, signal, time
from pathlib import Path
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

@HOOKS.register_module()
class WaitOnceHook(Hook):
    priority = 'LOWEST'
    def after_train_epoch(self, runner):
        if runner.epoch == 0 and not Path('waited').exists():
            Path('waited').touch()
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(300)
"""
WAITING = """
custom_imports = dict(imports=['glsim_mm', 'waiting_hook'], allow_failed_imports=False)
custom_hooks = [dict(type='WaitOnceHook')]
"""


@pytest.fixture
def listening():
    """Ctrl-C reaches the tests, also where a shell started them in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupted_sweep_is_finished_by_the_same_command(tiny_images, tmp_path, capsys, monkeypatch, listening):
    (tmp_path / 'waiting_hook.py').write_text(WAITING_HOOK)
    config = write_config(tmp_path / 'tiny_swept.py', tiny_images, WAITING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    command = ['sweep', config.name, '--work-dir', 'found', '--seeds', '3', '--grid', f'{LR}=0.1,0.01']
    with pytest.raises(SystemExit) as end:
        call_tool(*command)
    assert end.value.code == 2 and 'error: interrupted; run the same command again' in capsys.readouterr().err

    call_tool(*command)
    printed = capsys.readouterr()
    *_, header, best, other, note, path = printed.out.splitlines()
    written, following = printed.err.splitlines()[-2:]
    assert written == 'written: found/results.csv, found'
    assert re.search(r'test\.py found/(lr=\S+)/tiny_swept\.py found/\1/(best_\S+|epoch_2)\.pth$', following), following
    assert header.split() == ['lr', 'mean', 'accuracy/top1', 'deviation', 'seeds']
    assert best.startswith('*') and not other.startswith('*')
    assert best.endswith('1 of 1') and other.endswith('1 of 1')
    assert note == 'of the highest validation of each training; deviation by n - 1; * highest mean'
    assert path == 'table in found/results.csv'
    assert all(len(line) <= 80 for line in (header, best, other, note))
    check_trainings(tmp_path / 'found')
    check_table(tmp_path / 'found')

    call_tool('sweep', config.name, '--work-dir', 'found', '--table-only')
    assert capsys.readouterr().out.splitlines()[-5:] == [header, best, other, note, path]
    with pytest.raises(SystemExit):
        call_tool('sweep', config.name, '--work-dir', 'found', '--grid', 'optim_wrapper.optimizer.typo=1')
    assert "error: --grid optim_wrapper.optimizer.typo: the config has no 'typo'" in capsys.readouterr().err


def check_trainings(folder: Path) -> None:
    """Two trainings in two epochs, of which the first went on after its first one."""
    trials = mmengine.load(folder / 'sweep.json')['trials']
    assert [(trial['settings'][LR], trial['seed']) for trial in trials] == [(0.1, 3), (0.01, 3)]
    assert ['--resume' in trial['command'] for trial in trials] == [True, False]
    for trial in trials:
        (run,) = folder.glob(f'lr={trial["settings"][LR]}_seed={trial["seed"]}_*')
        assert (run / 'epoch_2.pth').is_file() and trial['status'] == 'done'
        logs = [path.read_text() for path in sorted(run.glob('*/vis_data/scalars.json'))]
        steps = [[json.loads(line)['step'] for line in log.splitlines() if 'accuracy/top1' in line] for log in logs]
        assert sum(steps, []) == ([2] if trial is trials[0] else [1, 2])  # interrupted before its first validation


def check_table(folder: Path) -> None:
    """Each row is what its training recorded; the one seed has no deviation."""
    with (folder / 'results.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert {row[LR] for row in rows} == {'0.1', '0.01'}
    for row in rows:
        values = []
        for run in folder.glob(f'lr={row[LR]}_seed=*'):
            text = ''.join(path.read_text() for path in run.glob('*/vis_data/scalars.json'))
            values.append(max(float(value) for value in re.findall(r'"accuracy/top1": ([0-9.]+)', text)))
        assert len(values) == 1 and float(row['mean']) == pytest.approx(values[0]) and row['deviation'] == 'nan'
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


def test_options_that_exclude_each_other(capsys):
    for options in (['--gpus', '2', '--jobs', '2'], ['--jobs', '0']):
        with pytest.raises(SystemExit) as end:
            call_tool('sweep', 'config.py', *options)
        assert end.value.code == 2
    assert capsys.readouterr().err.count('error:') == 2
