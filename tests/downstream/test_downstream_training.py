"""Every config under configs/downstream/ trains, is tested by its library's own metric, and resumes."""

import os

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from tiny_downstream import ROOT, WIDTH, render_fish, tiny_config

from glsim_mm.apis import build_runner, load_config

NAMES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob('mm*/*.py'))


class Losses(Hook):
    """Keeps the loss of every iteration."""

    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())


@pytest.fixture(scope='module')
def fish(tmp_path_factory):
    return render_fish(tmp_path_factory.mktemp('fish') / 'data')


def _runner(config):
    DefaultScope._instance_dict.clear()  # each library's runner starts with its own
    runner = build_runner(config)
    record = Losses()
    runner.register_hook(record)
    return runner, record.losses


def test_every_kind_is_there():
    kinds = {name.split('_glsim')[0] for name in NAMES}
    detectors = {'mmdet/retinanet', 'mmdet/faster_rcnn', 'mmdet/mask_rcnn', 'mmdet/dino'}
    assert kinds == detectors | {'mmseg/upernet', 'mmseg/segmenter', 'mmseg/fcn'}


@pytest.mark.parametrize('name', NAMES)
def test_configs_are_whole(name):
    """As it stands, without anything cut down: the command line can read it, and names what it needs."""
    config = load_config(ROOT / name)
    assert config.custom_imports['imports'] == ['glsim_mm']
    assert config.model.backbone.type in ('mmpretrain.GLSimViT', 'mmpretrain.TimmViT')
    assert config.model.backbone.out_type == 'featmap'
    assert config.optim_wrapper.constructor == 'mmpretrain.BackboneLayerDecayConstructor'
    assert config.default_scope == name.split('/')[0]


@pytest.mark.parametrize('name', NAMES)
def test_trains_tests_and_resumes(name, fish, tmp_path):
    config = tiny_config(name, fish, tmp_path)
    runner, losses = _runner(config)
    assert type(runner.model.backbone).__name__ in ('GLSimViT', 'TimmViT')
    assert runner.model.backbone.embed_dims == WIDTH
    runner.train()
    assert len(losses) == 20 and np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5]), losses
    stepped = runner.optim_wrapper.optimizer.state
    unused = [key for key, one in runner.model.named_parameters() if one.requires_grad and one not in stepped]
    assert not unused, 'parameters without gradient stop distributed training'
    metrics = runner.test()
    wanted = 'coco/bbox_mAP' if 'mmdet' in name else 'mIoU'
    assert np.isfinite(metrics[wanted]) and 0 <= metrics[wanted] <= 100
    if 'mask_rcnn' in name:
        assert 'coco/segm_mAP' in metrics
    trained = {key: value.clone() for key, value in runner.model.state_dict().items()}

    config.train_cfg.max_iters = 22
    config.resume = True
    runner, losses = _runner(config)
    runner.load_or_resume()
    assert runner.iter == 20
    for key, value in runner.model.state_dict().items():
        torch.testing.assert_close(value, trained[key])
    runner.train()
    assert len(losses) == 2 and np.isfinite(losses).all()
    assert os.path.exists(tmp_path / 'iter_22.pth')
