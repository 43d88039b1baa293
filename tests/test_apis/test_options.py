"""Options of the command lines in a config."""

import pytest
from mmengine.config import Config
from mmengine.device import get_device

from glsim_mm.apis import (
    load_config,
    override,
    set_dataloader_options,
    set_test_options,
    set_training_options,
    set_work_dir,
)
from glsim_mm.errors import GLSimError


def test_what_a_config_needs_is_named(tmp_path):
    (tmp_path / 'config.py').write_text("_base_ = 'mmrotate::retinanet/some.py'\n")
    with pytest.raises(GLSimError, match='inherits from mmrotate, which is not installed: pip install mmrotate'):
        load_config(tmp_path / 'config.py')


def test_config_files_that_cannot_be_read(tmp_path):
    with pytest.raises(GLSimError, match=r'nowhere\.py does not exist'):
        load_config('nowhere.py')
    broken = tmp_path / 'broken.py'
    broken.write_text('model = dict(\n')
    with pytest.raises(GLSimError, match=r'broken\.py cannot be read'):
        load_config(broken)
    broken.write_text("_base_ = ['nowhere.py']\n")
    with pytest.raises(GLSimError, match=r'broken\.py inherits from nowhere\.py, which does not exist'):
        load_config(broken)
    (tmp_path / 'config.txt').write_text('')
    with pytest.raises(GLSimError, match=r'config\.txt is no config file'):
        load_config(tmp_path / 'config.txt')


def test_overrides(tmp_path):
    path = tmp_path / 'good.py'
    path.write_text("model = dict(type='A', head=dict(num_classes=3))\nhelpers = [dict(a=1)]\n")
    cfg = load_config(path, {'model.head.num_classes': 5, 'randomness.seed': 1, 'compile': True})
    assert cfg.model.head.num_classes == 5
    assert cfg.model.type == 'A'
    assert cfg.randomness.seed == 1
    with pytest.raises(GLSimError, match='no config field modle; did you mean model'):
        override(cfg, {'modle.head': 1})
    for name in ('helpers.9.a', 'helpers.a', 'helpers.0.a.b', 'model.type.name'):
        with pytest.raises(GLSimError, match='does not fit'):
            override(cfg, {name: 1})


VARIABLES = """
size = 224  # a comment about options_of_mine
train_pipeline = [dict(type='Resize', scale=size), dict(type='Crop', crop_size=size)]
name_of_folder = 'data/birds'
options_of_mine = dict(a=1)
train_dataloader = dict(batch_size=4, dataset=dict(data_root=name_of_folder, pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, dataset=dict(data_root=name_of_folder))
test_pipeline = [dict(type='Resize')]
optim_wrapper = dict(type='A', optimizer=dict(type='SGD', lr=0.01), loss_scale=512.0)
val_evaluator = [dict(type='Accuracy', topk=(1, 5))]
custom_hooks = [dict(type='H')]
find_unused_parameters = False
model = dict(type='M', backbone=dict(arch='b', frozen_stages=-1), test_cfg=None)
"""


@pytest.fixture
def variables(tmp_path) -> Config:
    (tmp_path / 'base.py').write_text(VARIABLES)
    (tmp_path / 'child.py').write_text("_base_ = ['base.py']\n")
    return load_config(tmp_path / 'child.py')


@pytest.mark.parametrize(
    'name, instead',
    [
        ('train_pipeline.1.crop_size', 'set train_dataloader.dataset.pipeline.1.crop_size'),
        ('name_of_folder', 'set train_dataloader.dataset.data_root, val_dataloader.dataset.data_root'),
        ('size', 'set the fields that were made from it'),
    ],
)
def test_variables_that_nothing_reads_any_more(variables, name, instead):
    with pytest.raises(GLSimError, match=rf'--cfg-options {name} would change nothing: .*{instead}$'):
        override(variables, {name: 160})


def test_fields_that_change_something(variables):
    override(
        variables, {'options_of_mine.a': 2, 'test_pipeline.0.type': 'B', 'train_dataloader.dataset.data_root': 'c'}
    )
    assert variables.options_of_mine.a == 2  # for somebody's own code
    assert (variables.test_pipeline[0].type, variables.train_dataloader.dataset.data_root) == ('B', 'c')


@pytest.mark.parametrize(
    'name, value, message',
    [
        ('optim_wrapper.optimizer.lr', 'abc', 'lr=abc is of the wrong kind: give a number, the config has 0.01'),
        ('optim_wrapper.optimizer.lr', True, 'give a number'),
        ('optim_wrapper.optimizer', 3, 'give a dict or None'),
        ('train_dataloader.batch_size', 4.5, 'give a whole number, the config has 4'),
        ('train_dataloader.batch_size', 'four', 'give a whole number'),
        ('train_cfg.max_epochs', 2.5, 'max_epochs=2.5 is of the wrong kind: give a whole number$'),
        ('find_unused_parameters', 'yes', 'give true or false'),
        ('train_dataloader.dataset.data_root', 2024, r'give text \(a folder may be called ./2024\)'),
        ('val_evaluator.0.topk', ['one'], r'give numbers, the config has \(1, 5\)'),
        ('custom_hooks', 'H', 'give a list of dicts or None'),
        ('env_cfg.cudnn', True, 'env_cfg has no field cudnn; it has cudnn_benchmark'),
        ('randomness.sed', 3, 'randomness has no field sed; it has seed'),
        (
            'optim_wrapper.clip_grad',
            dict(max_nrm=1),
            'optim_wrapper.clip_grad has no field max_nrm; it has type, max_norm',
        ),
        ('train_dataloader.batch_size', 0, 'batch_size=0 is of the wrong kind: give a whole number from 1'),
        ('auto_scale_lr.enabled', True, 'auto_scale_lr has no field enabled; it has enable'),
    ],
)
def test_values_of_another_kind(variables, name, value, message):
    with pytest.raises(GLSimError, match=message):
        override(variables, {name: value})


def test_values_that_fit(variables):
    values = {
        'optim_wrapper.optimizer.lr': 1,
        'optim_wrapper.loss_scale': 'dynamic',
        'val_evaluator.0.topk': 1,
        'find_unused_parameters': None,
        'custom_hooks': None,
        'model.test_cfg': dict(crop='off'),
        'model.backbone': dict(arch=dict(embed_dims=32)),
        'train_cfg.max_epochs': 3,
        'optim_wrapper.clip_grad': dict(max_norm=1.0, _delete_=True),
    }
    override(variables, values)
    assert variables.model.backbone == dict(arch=dict(embed_dims=32), frozen_stages=-1)  # merged
    assert variables.val_evaluator[0].topk == 1 and variables.model.test_cfg.crop == 'off'


def test_work_dir():
    cfg = Config(dict())
    set_work_dir(cfg, 'configs/a_b.py')
    assert cfg.work_dir == 'work_dirs/a_b'
    cfg.work_dir = 'mine'
    set_work_dir(cfg, 'configs/a_b.py')
    assert cfg.work_dir == 'mine'
    set_work_dir(cfg, 'configs/a_b.py', 'yours')
    assert cfg.work_dir == 'yours'


def test_training_options():
    cfg = Config(dict(optim_wrapper=dict(), auto_scale_lr=dict(base_batch_size=8), val_cfg=dict(), load_from='a.pth'))
    set_training_options(cfg)
    assert 'resume' not in cfg
    assert cfg.val_cfg == dict()
    set_training_options(cfg, 'auto', amp=True, auto_scale_lr=True, validate=False)
    assert cfg.resume is True
    assert cfg.load_from is None
    assert cfg.optim_wrapper.type == ('CPUAmpOptimWrapper' if get_device() == 'cpu' else 'AmpOptimWrapper')
    assert cfg.auto_scale_lr.enable is True
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    set_training_options(cfg, 'b.pth')
    assert cfg.load_from == 'b.pth'


def test_resuming_in_a_work_directory(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), load_from='pretrained.pth'))
    set_training_options(cfg, 'auto')  # the first start of a job that may be interrupted
    assert (cfg.get('resume'), cfg.load_from) == (None, 'pretrained.pth')
    (tmp_path / 'epoch_3.pth').touch()
    set_training_options(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'epoch_3.pth'))


def test_auto_scale_lr_needs_a_base():
    with pytest.raises(GLSimError, match='base_batch_size'):
        set_training_options(Config(dict()), auto_scale_lr=True)


def test_test_options():
    cfg = Config(dict(model=dict(type='A'), test_cfg=dict(), default_hooks=dict()))
    set_test_options(cfg, 'a.pth', amp=True, visualization=dict(out_dir='pictures', interval=2))
    assert cfg.load_from == 'a.pth'
    assert cfg.test_cfg.fp16 is True
    expected = dict(type='PredictionPictureHook', out_dir='pictures', interval=2, enable=True)
    assert cfg.default_hooks.visualization == expected


def test_test_time_augmentation_mirrors_by_default():
    pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]
    cfg = Config(dict(model=dict(type='A'), test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    set_test_options(cfg, 'a.pth', tta=True)
    assert cfg.model == dict(type='mmpretrain.MirrorTTA', module=dict(type='A'))
    loading, views = cfg.test_dataloader.dataset.pipeline
    assert loading.type == 'LoadImage'
    assert [view.prob for view in views.transforms[0]] == [0.0, 1.0]
    assert views.transforms[1][0].type == 'PackInputs'
    with pytest.raises(GLSimError, match='--tta .*cannot be combined'):
        set_test_options(cfg, 'a.pth', tta=True, visualization=dict())


def test_data_loader_options():
    loader = dict(num_workers=2, pin_memory=False)
    cfg = Config(dict(train_dataloader=loader, val_dataloader=None, test_dataloader=dict(num_workers=1)))
    set_dataloader_options(cfg, persistent_workers=False)
    assert cfg.train_dataloader.pin_memory is False
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.train_dataloader.collate_fn.type == 'default_collate'
    assert cfg.test_dataloader.pin_memory is True
    assert cfg.val_dataloader is None
