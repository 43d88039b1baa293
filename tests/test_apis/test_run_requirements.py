"""What a run lacks is told before it begins."""

import importlib.util

import pytest
from mmengine.config import Config
from tiny_run import write_config, write_images

from glsim_mm.apis import load_config, run_requirements, run_training
from glsim_mm.apis.run_requirements import check_requirements
from glsim_mm.compat.devices import check_device
from glsim_mm.errors import GLSimError

MIXUP = dict(augments=[dict(type='Mixup', alpha=0.2)])


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('requirements') / 'images')


@pytest.fixture
def config(images, tmp_path):
    path = write_config(tmp_path / 'tiny_lacking.py', images)
    return lambda **fields: load_config(path, {'work_dir': str(tmp_path / 'work'), **fields})


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'visualizer.vis_backends': [dict(type='TensorboardVisBackend')]}, 'tensorboard: pip install tensorboard, or'),
        ({'visualizer.vis_backends': [dict(type='mmengine.WandbVisBackend')]}, 'WandbVisBackend needs wandb'),
        ({'model.head.loss': dict(type='MetricLearningLoss')}, 'pip install pytorch-metric-learning'),
    ],
)
def test_packages_that_are_missing(config, fields, message, monkeypatch, tmp_path):
    real = importlib.util.find_spec
    gone = ('tensorboard', 'wandb', 'pytorch_metric_learning')
    monkeypatch.setattr(run_requirements, 'find_spec', lambda name: None if name in gone else real(name))
    with pytest.raises(GLSimError, match=message):
        run_training(config(**fields))
    assert not (tmp_path / 'work').exists()


def test_mixed_labels_need_their_number(config, tmp_path):
    for number in (None, 7):
        field = r'data_preprocessor\.num_classes'
        with pytest.raises(GLSimError, match=rf'of 2 classes, but {field} is {number}; set --cfg-options {field}=2'):
            run_training(config(**{'model.train_cfg': MIXUP, 'data_preprocessor.num_classes': number}))
    assert not (tmp_path / 'work').exists()
    check_requirements(config(**{'model.train_cfg': MIXUP}))
    own = config(**{'model.train_cfg': MIXUP, 'model.data_preprocessor': dict(num_classes=3)})
    with pytest.raises(GLSimError, match=r'model\.data_preprocessor\.num_classes is 3'):
        check_requirements(own)
    check_requirements(Config(dict(model=dict(train_cfg=MIXUP))))  # of a config without training


def test_training_without_a_batch(config, tmp_path):
    fields = {'train_dataloader.drop_last': True, 'train_dataloader.batch_size': 64, 'param_scheduler': None}
    with pytest.raises(GLSimError, match=r'no batch: .* less than 64 images, .* 8 for each .*batch_size=8 or less'):
        run_training(config(**fields))
    assert not list((tmp_path / 'work').glob('*.pth'))


@pytest.mark.parametrize(
    'fields, message',
    [
        ({'model.backbone.frozen_stages': 3}, 'GLSimViT cannot be built: frozen_stages must be -1 to 2.* got 3'),
        ({'model.backbone.frozen_stages': -2}, 'frozen_stages must be -1 to 2, the number of layers, got -2'),
        (
            {'model.backbone.type': 'VisionTransformer', 'model.backbone.out_type': 'raw'},
            'frozen_stages=99 is more than VisionTransformer has',
        ),
        ({'train_dataloader.num_workers': -1}, 'a data loader cannot be built: num_workers option should be non-neg'),
        ({'launcher': 'pytorch'}, '--launcher pytorch is for processes that torchrun has started'),
        ({'optim_wrapper.optimizer.lr': -1}, 'SGD cannot be built: Invalid learning rate: -1; correct the config'),
        (
            {'default_hooks.chekpoint': dict(interval=2)},
            r"has no type: \{'interval': 2\}; add it, or correct",
        ),
    ],
)
def test_values_that_modules_refuse(config, fields, message, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    more = {'model.backbone.frozen_stages': 99} if 'VisionTransformer' in fields.values() else {}
    with pytest.raises(GLSimError, match=message):
        run_training(config(**fields, **more))


def test_timm_refuses_stages_that_it_does_not_have():
    from glsim_mm.models.backbones import TimmViT

    with pytest.raises(ValueError, match='frozen_stages must be -1 to 12, the number of layers, got 13'):
        TimmViT('vit_tiny_patch16_224', img_size=32, frozen_stages=13)


@pytest.mark.parametrize('device', ['gpu', 'cuda:99', 'mps', 'cuda', ''])
def test_devices_that_are_not_there(device, monkeypatch):
    if device == 'cuda':
        monkeypatch.setattr('torch.empty', _without_driver)
    with pytest.raises(GLSimError, match=f'device {device} is not there: this machine has cpu and .*; choose another'):
        check_device(device)


def _without_driver(*_, **__) -> None:
    raise RuntimeError('Found no NVIDIA driver on your system.')


def test_devices_that_are_there():
    assert check_device('cpu').type == 'cpu'
    assert check_device(None).type in ('cpu', 'cuda')
