"""Resumed runs with other settings than those of the checkpoint."""

import itertools
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from tiny_run import read_log, write_config, write_images

from glsim_mm.apis import build_runner, load_config, run_training
from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file
from glsim_mm.engine.resumption import find_differences, find_last_checkpoint, read_settings
from glsim_mm.errors import GLSimError

NUMBERS = itertools.count()
LENGTH, ENDS = 'train_cfg.max_epochs', 'param_scheduler.0.T_max'
ITERATIONS, COSINE = 'train_cfg.max_iters', 'param_scheduler.0.T_max'
LR, BATCH = 'optim_wrapper.optimizer.lr', 'train_dataloader.batch_size'
PLATEAU = [dict(type='ReduceOnPlateauLR', monitor='accuracy/top1', rule='greater', by_epoch=True)]


class Rates(Hook):
    """Notes the learning rate of every iteration."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.found.append(runner.optim_wrapper.get_lr()['lr'][0])


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp('resuming') / 'images')


@pytest.fixture
def config(images, tmp_path):
    path = write_config(tmp_path / 'tiny_resuming.py', images)
    fields = {'work_dir': str(tmp_path / 'work'), 'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None}
    return lambda **more: load_config(path, {**fields, 'default_hooks.checkpoint.save_best': None, **more})


@pytest.fixture(scope='module')
def stopped(images, tmp_path_factory) -> Path:
    """The checkpoint of the first of two epochs, of two iterations each."""
    folder = tmp_path_factory.mktemp('stopped')
    cfg = load_config(write_config(folder / 'tiny_stopped.py', images), dict(work_dir=str(folder / 'work')))
    run_training(cfg)
    return folder / 'work' / 'epoch_1.pth'


def rates(cfg) -> list[float]:
    """The learning rates of a training, whose log no other one shares."""
    cfg.experiment_name = f'resuming_{next(NUMBERS)}'
    runner, hook = build_runner(cfg), Rates()
    runner.register_hook(hook)
    runner.train()
    return hook.found


def test_nothing_changed(config, stopped, tmp_path):
    whole = rates(config())
    shutil.rmtree(tmp_path / 'work')
    assert rates(config(resume=True, load_from=str(stopped))) == whole[2:]
    log = read_log(tmp_path / 'work')
    assert 'with 1 of 2 epochs done: weights, state of the optimiser, seed (0) and best score are those of' in log
    assert 'the learning rate follows' not in log


@pytest.mark.parametrize(
    'fields, iterations, named',
    [
        ({LENGTH: 4, ENDS: 4}, 2, ['train_cfg.max_epochs 2 -> 4', 'param_scheduler.0.T_max 2 -> 4']),
        ({LR: 0.5}, 2, ['optim_wrapper.optimizer.lr 0.01 -> 0.5']),
        ({BATCH: 8}, 1, ['train_dataloader.batch_size 4 -> 8', 'batches in an epoch 2 -> 1']),
        ({'param_scheduler': [dict(type='StepLR', step_size=1)]}, 2, ['param_scheduler.0.type', 'step_size None -> 1']),
        ({LENGTH: 5, 'param_scheduler': [dict(type='LinearLR', end=5)]}, 2, ['train_cfg.max_epochs 2 -> 5']),
    ],
)
def test_learning_rates_are_those_of_a_run_with_the_new_settings(fields, iterations, named, config, stopped, tmp_path):
    whole = rates(config(**fields))
    shutil.rmtree(tmp_path / 'work')
    assert rates(config(**fields, resume=True, load_from=str(stopped))) == whole[iterations:]
    log = read_log(tmp_path / 'work')
    assert all(name in log for name in ('changed since the checkpoint: ', 'the learning rate follows', *named))


def test_iterations_in_place_of_epochs(images, tmp_path):
    text = """
train_cfg = dict(by_epoch=False, max_iters=4)
train_dataloader['sampler'] = dict(type='InfiniteSampler', shuffle=True)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2))
log_processor = dict(by_epoch=False)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=4, by_epoch=False)]
val_cfg = val_dataloader = val_evaluator = None
"""
    path = write_config(tmp_path / 'tiny_iterations.py', images, text)
    work = {'work_dir': str(tmp_path / 'work'), 'default_hooks.checkpoint.save_best': None}
    rates(load_config(path, work))
    resumed = {'resume': True, 'load_from': str(tmp_path / 'work' / 'iter_2.pth')}
    with pytest.raises(GLSimError, match=r'max_iters is 8 here and 4 in .*param_scheduler\.0\.T_max=8, or set'):
        run_training(load_config(path, {**work, **resumed, ITERATIONS: 8}))
    longer = {ITERATIONS: 8, COSINE: 8}
    whole = rates(load_config(path, {**work, **longer, 'work_dir': str(tmp_path / 'whole')}))
    assert rates(load_config(path, {**work, **longer, **resumed, 'work_dir': str(tmp_path / 'more')})) == whole[2:]
    assert 'with 2 of 8 iterations done' in read_log(tmp_path / 'more')


def test_other_fields_are_named_and_leave_the_state_of_the_optimiser(config, stopped, tmp_path):
    fields = {'model.backbone.drop_path_rate': 0.1, 'randomness.seed': 7, 'optim_wrapper.optimizer.momentum': 0.5}
    runner = build_runner(config(**fields, resume=True, load_from=str(stopped)))
    runner.train_loop._max_epochs = 1  # nothing is trained
    runner.train()
    log = read_log(tmp_path / 'work')
    assert 'model.backbone.drop_path_rate 0.2 -> 0.1' in log and 'momentum 0.9 -> 0.5' in log
    assert runner.seed == 0
    kept = load_checkpoint_file(stopped)['optimizer']['state']
    found = runner.optim_wrapper.state_dict()['state']
    assert all(torch.equal(found[key]['momentum_buffer'], kept[key]['momentum_buffer']) for key in kept)


def test_number_of_processes(config, stopped, tmp_path):
    checkpoint = torch.load(stopped, weights_only=False)
    assert (checkpoint['meta']['world_size'], checkpoint['meta']['epoch_length']) == (1, 2)
    checkpoint['meta']['world_size'] = 4
    torch.save(checkpoint, tmp_path / 'four.pth')
    run_training(config(resume=True, load_from=str(tmp_path / 'four.pth')))
    assert 'number of processes 4 -> 1' in read_log(tmp_path / 'work')


def test_nothing_left_to_do(config, stopped, tmp_path):
    assert rates(config(**{LENGTH: 1, ENDS: 1}, resume=True, load_from=str(stopped))) == []
    log = read_log(tmp_path / 'work')
    assert f'nothing is left to do: {stopped} has 1 epochs, and train_cfg.max_epochs is 1; for more, set' in log


COUNTS = dict(type='IterBasedTrainLoop', max_iters=9, _delete_=True)


@pytest.mark.parametrize(
    'fields, message',
    [
        ({LENGTH: 5}, r'max_epochs is 5 here and 2 in .*; add --cfg-options param_scheduler\.0\.T_max=5, or set'),
        ({LENGTH: 1}, r'T_max=1, or set train_cfg\.max_epochs=2$'),
        (
            {'optim_wrapper.optimizer': dict(type='AdamW', lr=0.1, _delete_=True)},
            'trained with SGD .* AdamW.*load_from=',
        ),
        ({'train_cfg': COUNTS}, 'counts epochs and the config does not'),
    ],
)
def test_runs_that_cannot_go_on_are_refused_before_the_data_is_read(fields, message, config, stopped):
    missing = {'train_dataloader.dataset.data_root': 'nowhere', 'resume': True, 'load_from': str(stopped)}
    with pytest.raises(GLSimError, match=message):
        run_training(config(**fields, **missing))


@pytest.mark.parametrize(
    'fields, message',
    [
        ({LR: 0.1, 'param_scheduler': PLATEAU}, 'a schedule that follows a metric cannot go on with other settings'),
        (
            {'optim_wrapper.paramwise_cfg': dict(custom_keys={'head': dict(lr_mult=10)})},
            r'has 1 groups of .* config \d+',
        ),
    ],
)
def test_other_states_of_optimiser_and_schedule(fields, message, config, stopped):
    with pytest.raises(GLSimError, match=message):
        run_training(config(**fields, resume=True, load_from=str(stopped)))


def test_the_config_in_a_checkpoint_is_not_run(config, stopped, tmp_path):
    bad = f'open({str(tmp_path / "made")!r}, "w")'
    checkpoint = torch.load(stopped, weights_only=False)
    checkpoint['meta'].update(config=f'a = {bad}', cfg=f'train_cfg = {bad}\n{checkpoint["meta"]["cfg"]}\nmodel = {bad}')
    torch.save(checkpoint, tmp_path / 'bad.pth')
    run_training(config(resume=True, load_from=str(tmp_path / 'bad.pth')))
    assert not (tmp_path / 'made').exists()
    assert 'model' not in str(find_differences(read_settings(checkpoint['meta']), {'model': dict(type='A')}))


def test_configs_without_a_text():
    assert read_settings({}) is None and read_settings({'cfg': ' '}) is None
    assert read_settings({'cfg': 'a = (\n'}) == {}


def test_last_checkpoint(tmp_path):
    assert find_last_checkpoint(tmp_path / 'nowhere') is None
    for name in ('epoch_9.pth', 'epoch_10.pth', 'best_acc_epoch_11.pth', 'epoch_12-1a2b3c4d.pth', 'epoch_x.pth'):
        (tmp_path / name).touch()
    assert find_last_checkpoint(tmp_path).name == 'epoch_10.pth'
    (tmp_path / 'last_checkpoint').write_text('/before/it/was/moved/epoch_9.pth')
    assert find_last_checkpoint(tmp_path).name == 'epoch_9.pth'
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'iter_5.pth').touch()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'elsewhere' / 'iter_5.pth'))
    assert find_last_checkpoint(tmp_path).name == 'iter_5.pth'
    (tmp_path / 'last_checkpoint').write_text('')  # a full disk, before checkpoints were written whole
    assert find_last_checkpoint(tmp_path).name == 'epoch_10.pth'
