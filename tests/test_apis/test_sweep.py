"""Sweeps whose trainings are small scripts; real ones are in tests/test_tools/test_sweep_tool.py."""

import argparse
import json
import math
import re
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config, DictAction

from glsim_mm.apis import (
    format_results_table,
    gather_results,
    plan_sweep,
    run_sweep,
    training_command,
    write_results,
)
from glsim_mm.apis.sweep_table import explain_values, is_lower_better, read_metric
from glsim_mm.apis.sweep_trials import Trial, as_options, parse_grid, read_sweep
from glsim_mm.config_values import parse_options
from glsim_mm.errors import GLSimError

CONFIG = Config(
    dict(model=dict(neck=dict(top_o=8)), optim_wrapper=dict(optimizer=dict(lr=0.01)), steps=[dict(scale=3)])
)
LR, TOP_O = 'optim_wrapper.optimizer.lr', 'model.neck.top_o'

# Stands for a training: notes that it ran, fails for O = 13, ends the sweep for O = 15, and records lr * 100 + seed.
TRAINING = """
import json, os, signal, sys, time
from pathlib import Path
folder, settings = Path(sys.argv[1]), dict(option.split('=') for option in sys.argv[3:])
(folder / 'last_checkpoint').write_text('x')
with (folder / 'runs').open('a') as file:
    file.write(sys.argv[2] + ' ')
if settings.get('model.neck.top_o') == '13':
    sys.exit('error: unlucky')
if settings.get('model.neck.top_o') == '15':
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(300)
out = folder / 'now' / 'vis_data' / 'scalars.json'
out.parent.mkdir(parents=True, exist_ok=True)
value = 100 * float(settings['optim_wrapper.optimizer.lr']) + int(settings['randomness.seed'])
out.write_text(json.dumps({'loss': 1.0, 'step': 9}) + '\\n' + json.dumps({'accuracy/top1': value, 'step': 1}) + '\\n')
"""


def fake(trial, folder, resume):
    return [sys.executable, '-c', TRAINING, str(folder), 'resumed' if resume else 'fresh', *trial.options]


def runs(sweep, trial):
    return (sweep.folder / trial.name / 'runs').read_text().split()


def test_every_setting_runs_with_every_seed(tmp_path):
    sweep = plan_sweep(CONFIG, tmp_path / 'sweep', {LR: [0.01, 0.03], TOP_O: 4}, [1, 10])
    assert [(trial.settings[LR], trial.settings[TOP_O], trial.seed) for trial in sweep.trials.values()] == [
        (0.01, 4, 1),
        (0.01, 4, 10),
        (0.03, 4, 1),
        (0.03, 4, 10),
    ]
    run_sweep(sweep, fake, jobs=2)
    best, other = gather_results(sweep, 'accuracy/top1')
    assert (best.settings[LR], best.values, best.trials) == (0.03, [4, 13], 2)
    assert (best.mean, other.mean) == (8.5, 6.5)
    assert best.deviation == pytest.approx(math.sqrt(2 * 4.5**2))  # of a sample
    table = format_results_table([best, other], 'accuracy/top1').splitlines()
    assert table[0].split() == ['lr', 'top_o', 'mean', 'accuracy/top1', 'deviation', 'seeds']
    assert table[1].split() == ['*', '0.03', '4', '8.50', '6.36', '2', 'of', '2']
    assert table[2].split()[0] == '0.01'
    rows = write_results(sweep, [best, other], 'accuracy/top1').read_text().splitlines()
    assert rows[1].startswith('0.03,4,accuracy/top1,8.5,')


def test_second_call_runs_only_what_is_new(tmp_path):
    first = plan_sweep(CONFIG, tmp_path, {LR: [0.01]}, [0])
    run_sweep(first, fake)
    second = plan_sweep(CONFIG, tmp_path, {LR: [0.01, 0.03]}, [0])
    run_sweep(second, fake)
    assert [runs(second, trial) for trial in second.trials.values()] == [['fresh'], ['fresh']]
    third = plan_sweep(CONFIG, tmp_path, {LR: [0.003]}, [0])
    assert len(third.trials) == 3  # earlier grids stay in the table


def test_fields_in_another_order_are_the_same_settings(tmp_path):
    run_sweep(plan_sweep(CONFIG, tmp_path, {LR: [0.01], TOP_O: [4]}, [0]), fake)
    again = plan_sweep(CONFIG, tmp_path, {TOP_O: [4], LR: [0.01]}, [0])
    assert [trial.status for trial in again.trials.values()] == ['done']


def test_state_tells_the_command(tmp_path):
    run_sweep(plan_sweep(CONFIG, tmp_path, {LR: [0.01]}, [3]), fake)
    (trial,) = read_sweep(tmp_path).trials.values()
    assert trial.command[-2:] == [f'{LR}=0.01', 'randomness.seed=3']
    content = json.loads((tmp_path / 'sweep.json').read_text())
    del content['trials'][0]['command']
    content['trials'][0]['job'] = '17'
    (tmp_path / 'sweep.json').write_text(json.dumps(content))
    (trial,) = read_sweep(tmp_path).trials.values()  # of an earlier version
    assert (trial.status, trial.command) == ('done', [])
    with pytest.raises(GLSimError, match='there is no sweep in'):
        read_sweep(tmp_path / 'nowhere')


def test_failed_training_does_not_stop_the_others(tmp_path):
    grid = {TOP_O: [13, 4], LR: [0.01]}
    sweep = plan_sweep(CONFIG, tmp_path, grid, [0])
    run_sweep(sweep, fake)
    failed, done = sweep.trials.values()
    log = tmp_path / failed.name / 'output.log'
    assert (failed.status, done.status) == ('failed', 'done')
    assert failed.message == f'exit code 1: error: unlucky (see {log})'
    run_sweep(plan_sweep(CONFIG, tmp_path, grid, [0]), fake)
    assert runs(sweep, failed) == ['fresh']
    run_sweep(plan_sweep(CONFIG, tmp_path, grid, [0]), fake, retry_failed=True)
    assert runs(sweep, failed) == ['fresh', 'resumed']
    last = gather_results(read_sweep(tmp_path), 'accuracy/top1')[-1]
    assert (last.settings[TOP_O], last.values) == (13, []) and math.isnan(last.mean)


@pytest.fixture
def listening():
    """Ctrl-C reaches the tests, also where a shell started them in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    handler = signal.signal(signal.SIGINT, before)
    assert handler is signal.default_int_handler  # the sweep has put it back


def test_terminated_sweep_goes_on_from_its_checkpoint(tmp_path):
    sweep = plan_sweep(CONFIG, tmp_path, {TOP_O: [15, 4], LR: [0.01]}, [0])
    with pytest.raises(GLSimError, match='^interrupted; run the same command again'):
        run_sweep(sweep, fake)
    sweep = read_sweep(tmp_path)
    assert [trial.status for trial in sweep.trials.values()] == ['pending', 'pending']
    ended, _ = sweep.trials.values()
    assert not (tmp_path / ended.name / 'now').exists()
    run_sweep(sweep, _without_end)
    assert runs(sweep, ended) == ['fresh', 'resumed']
    assert [trial.status for trial in sweep.trials.values()] == ['done', 'done']


def _without_end(trial, folder, resume):
    return [option.replace(f'{TOP_O}=15', f'{TOP_O}=4') for option in fake(trial, folder, resume)]


# Interrupts the sweep, and once more while it is being stopped.
IMPATIENT = """
import os, signal, sys, time
def interrupt_again(*_):
    os.kill(os.getppid(), signal.SIGINT)
    sys.exit()
signal.signal(signal.SIGTERM, interrupt_again)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(300)
"""


def test_interrupting_twice_is_interrupting(tmp_path, listening):
    sweep = plan_sweep(CONFIG, tmp_path, {LR: [0.01, 0.03]}, [0])
    with pytest.raises(GLSimError, match='interrupted'):
        run_sweep(sweep, lambda trial, folder, resume: [sys.executable, '-c', IMPATIENT])
    assert [trial.status for trial in read_sweep(tmp_path).trials.values()] == ['pending', 'pending']


def test_metric_of_a_training_that_was_continued(tmp_path):
    for name, lines in {
        'a': [{'acc': 1.0, 'step': 1}, {'acc': 5.0, 'step': 2}, {'loss': 0.1, 'step': 99}],
        'b': [{'acc': 3.0, 'step': 2}, {'acc': 2.0, 'step': 3}],
    }.items():
        path = tmp_path / name / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text('\n'.join(json.dumps(line) for line in lines) + '\n{"acc": 9')  # cut off
    assert read_metric(tmp_path, 'acc') == 3  # step 2 was repeated
    assert read_metric(tmp_path, 'acc', last=True) == 2
    assert read_metric(tmp_path, 'acc', lower_is_better=True) == 1
    assert read_metric(tmp_path, 'nothing') is None


def test_lower_may_be_better(tmp_path):
    sweep = plan_sweep(CONFIG, tmp_path, {LR: [0.01, 0.03]}, [0])
    run_sweep(sweep, fake)
    assert gather_results(sweep, 'accuracy/top1', lower_is_better=True)[0].settings[LR] == 0.01
    with pytest.raises(GLSimError, match="recorded the metric 'accuracy/top7', only accuracy/top1; choose"):
        gather_results(sweep, 'accuracy/top7')


@pytest.mark.parametrize(
    'metric, hook, expected',
    [
        ('accuracy/top1', dict(save_best='auto'), False),
        ('calibration/ece', dict(save_best='auto'), True),
        ('class/deviation', {}, True),
        ('class/mean_accuracy', None, False),
        ('mine', dict(save_best='mine', rule='less'), True),
        ('mine', dict(save_best=['accuracy/top1', 'mine'], rule=['greater', 'less']), True),
        ('mine', dict(save_best=['accuracy/top1', 'mine'], rule='less'), True),
        ('mine', dict(save_best='other', rule='less'), False),
    ],
)
def test_what_best_means_follows_the_best_checkpoint(metric, hook, expected):
    assert is_lower_better(Config(dict(default_hooks=dict(checkpoint=hook))), metric) is expected
    assert is_lower_better(Config({}), 'loss') is True


def test_table_is_explained_in_a_line():
    lines = [explain_values(last, lower) for last in (True, False) for lower in (True, False)]
    assert len(set(lines)) == 4 and all(len(line) <= 80 for line in lines)


def test_diverged_validations_do_not_count(tmp_path):
    path = tmp_path / 'a' / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('{"loss": 2.0, "step": 1}\n{"loss": NaN, "step": 2}\n')
    assert read_metric(tmp_path, 'loss', lower_is_better=True) == 2


@pytest.mark.parametrize(
    'grid, seeds, message',
    [
        ({'model.neck.top_q': [1]}, [0], "--grid model.neck.top_q: the config has no 'top_q' there"),
        ({'steps.1.scale': [1]}, [0], "no '1' there"),
        ({'model.neck.top_o.x': [1]}, [0], "no 'x' there"),
        ({LR: [0.1, 0.1]}, [0], 'in the grid twice'),
        ({LR: [0.1]}, [0, 0], 'in the grid twice'),
        ({LR: [0.1, 'low']}, [0], 'lr=low is of the wrong kind: give a number'),
        ({LR: []}, [0], 'needs at least one value'),
        ({}, [], 'needs at least one value'),
    ],
)
def test_grids_that_cannot_be_run(tmp_path, grid, seeds, message):
    with pytest.raises(GLSimError, match=message):
        plan_sweep(CONFIG, tmp_path, grid, seeds)
    assert not list(tmp_path.iterdir())


def test_grid_of_a_command_line():
    assert parse_grid(['a.b=0.03,1e-3', 'c=4', 'd=[[1,2],[3]]', 'e=(1,2)', 'f=None,x', 'g=[5]']) == {
        'a.b': [0.03, 0.001],
        'c': 4,
        'd': [[1, 2], [3]],
        'e': (1, 2),
        'f': [None, 'x'],
        'g': [5],
    }


@pytest.mark.parametrize(
    'words, message',
    [
        (['lr'], '--grid lr: no value is given'),
        (['lr='], '--grid lr=: no value is given'),
        (['=3'], '--grid =3: no value is given'),
        (['lr=1', 'lr=2'], '--grid lr comes twice'),
        (['lr=[1,2'], '--grid lr=[1,2: '),
    ],
)
def test_grids_that_cannot_be_read(words, message):
    with pytest.raises(GLSimError, match=f'^{re.escape(message)}'):
        parse_grid(words)


def test_fields_in_lists():
    assert plan_sweep(CONFIG, 'nowhere', {'steps.0.scale': [1, 2]}, [0]).trials.keys()


def test_other_config_in_the_same_folder(tmp_path):
    plan_sweep(CONFIG, tmp_path, {LR: [0.01]}, [0]).save()
    other = Config(dict(CONFIG.to_dict(), epochs=3))
    with pytest.raises(GLSimError, match='is of another config'):
        plan_sweep(other, tmp_path, {LR: [0.01]}, [0])
    (tmp_path / 'sweep.json').write_text('{"fingerprint": ')
    with pytest.raises(GLSimError, match='sweep.json cannot be read'):
        plan_sweep(CONFIG, tmp_path, {LR: [0.01]}, [0])


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(GLSimError, match='cannot be written'):
        plan_sweep(CONFIG, tmp_path / 'file' / 'sweep', {LR: [0.01]}, [0]).save()


SCALARS = (
    st.integers(-99, 99) | st.floats(-9, 9, allow_nan=False) | st.booleans() | st.sampled_from(['a', 'cos', 'x/y_z'])
)


@given(st.dictionaries(st.sampled_from(['a.b', 'c', 'd.0.e']), SCALARS | st.lists(SCALARS, min_size=2, max_size=3)))
def test_options_are_read_back(settings):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    assert parser.parse_args(['--cfg-options', *as_options(settings)] if settings else []).cfg_options == settings


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers(), max_size=4), st.integers())
def test_names_of_folders_are_plain_and_stable(settings, seed):
    name = Trial(settings, seed).name
    assert name == Path(name).name and name.isascii() and len(name) < 100 and not name.startswith('.')
    assert name == Trial(dict(settings), seed).name != Trial(settings, seed + 1).name


def test_command_of_a_trial(tmp_path):
    trial = Trial({LR: 0.01}, 3)
    options = ['--work-dir', str(tmp_path), '--resume', '--cfg-options', 'a=[1,2]', *trial.options]
    command = training_command(Path('tools'), 'my config.py', {'a': [1, 2]})(trial, tmp_path, True)
    assert command == [sys.executable, 'tools/train.py', 'my config.py', *options]
    command = training_command(Path('tools'), 'my config.py', {'a': [1, 2]}, gpus=4)(trial, tmp_path, True)
    assert command == ['bash', 'tools/dist_train.sh', 'my config.py', '4', *options]


def test_command_that_is_not_there(tmp_path):
    sweep = plan_sweep(CONFIG, tmp_path, {LR: [0.01]}, [0])
    with pytest.raises(GLSimError, match=r'no-such-program cannot be run \(.+\); check the installation'):
        run_sweep(sweep, lambda trial, folder, resume: ['no-such-program'])
    assert [trial.status for trial in read_sweep(tmp_path).trials.values()] == ['pending']


def test_options_of_a_training_are_read_as_they_were_given():
    words = ['a.b=my photos/x y', "c=dict(type='A', p=[0.5, None])", 'd=[(1,2),x]', 'e=None', 'f=true']
    assert parse_options(as_options(parse_options(words))) == parse_options(words)
