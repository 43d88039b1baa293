"""Panels of where the model looks, during training."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import HOOKS
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_run import call_tool, write_config, write_images
from torch import nn

from glsim_mm.engine.hooks import SelectionPanelHook
from glsim_mm.engine.hooks.prediction_panels import undisturbed
from glsim_mm.errors import GLSimError

PLAIN = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='GLSimViT', img_size=32, patch_size=8, out_type='cls_token',
                  arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)),
    head=dict(type='VisionTransformerClsHead', num_classes=2, in_channels=32))
"""


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp('panels') / 'images')


def train(folder: Path, name: str, images: Path, extra: str = '', hook: str = '') -> Path:
    """Train for two epochs; the folder of the run."""
    folder.mkdir(parents=True, exist_ok=True)
    enable = f'\ndefault_hooks = dict(selection_panel=dict(enable=True{hook}))\n' if hook is not None else ''
    config = write_config(folder / f'tiny_{name}.py', images, extra + enable)
    call_tool('train', config, '--work-dir', folder / 'work')
    return folder / 'work'


def pictures(work: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in work.rglob('vis_image/*.png')}


def test_sheet_every_epoch_in_every_back_end(images, tmp_path):
    backends = "\nvisualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])\n"
    work = train(tmp_path, 'panel_sheet', images, backends, ', num_images=3, side=96')
    found = pictures(work)
    assert sorted(found) == ['selection_panels_1.png', 'selection_panels_2.png']
    first, second = found.values()
    assert first.shape == second.shape and (first != second).any()
    assert first.shape[0] > 2 * 96 and first.shape[1] > 2 * 4 * 96
    (events,) = work.rglob('events.out.tfevents*')
    log = EventAccumulator(str(events.parent), size_guidance={'images': 0})
    log.Reload()
    assert log.Tags()['images'] == ['selection_panels']
    entries = log.Images('selection_panels')
    assert [entry.step for entry in entries] == [1, 2]
    assert (entries[0].height, entries[0].width) == first.shape[:2]


def test_plain_twin(images, tmp_path):
    found = pictures(train(tmp_path, 'panel_plain', images, PLAIN, ', num_images=2, columns=1, side=96, interval=5'))
    assert list(found) == ['selection_panels_2.png']  # after the last epoch
    assert found['selection_panels_2.png'].shape[1] < 4 * 96


def test_iteration_based_training(images, tmp_path):
    loop = '\n'.join(
        [
            "train_cfg = dict(type='IterBasedTrainLoop', max_iters=3, val_interval=1)",
            "train_dataloader['sampler'] = dict(type='InfiniteSampler', shuffle=True)",
            "param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=False)]",
        ]
    )
    config_end = '\ncustom_hooks = []\n'
    work = train(tmp_path, 'panel_iterations', images, loop + config_end, ', num_images=1, interval=2, side=96')
    assert sorted(pictures(work)) == ['selection_panels_2.png', 'selection_panels_3.png']


def test_training_goes_on_as_without(images, tmp_path):
    """No EpochSeedHook mends the random state here; a selector that draws at random would move it on."""
    extra = "\ncustom_hooks = []\nmodel['neck'] = dict(type='RandomSelector', top_o=3)\n"
    hooks = {'panel_with': ', num_images=2, sheet=False, interval=2', 'panel_without': None}
    weights, found = [], []
    for name, hook in hooks.items():
        work = train(tmp_path / name, name, images, extra, hook)
        weights.append(CheckpointLoader.load_checkpoint(str(work / 'epoch_2.pth'), map_location='cpu')['state_dict'])
        found.append(sorted(pictures(work)))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    assert found == [['selection_panel_00000_2.png', 'selection_panel_00007_2.png'], []]


def fail_in_evaluation(model: nn.Module) -> None:
    assert not model[1].training and not torch.is_grad_enabled()
    torch.rand(1), random.random(), np.random.rand()
    raise ZeroDivisionError


def test_modes_and_random_states_are_left(images):
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    model.train()
    model[0].eval()  # frozen
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    expected = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    with pytest.raises(ZeroDivisionError), undisturbed(model):
        fail_in_evaluation(model)
    assert (torch.rand(1), random.random(), np.random.rand()) == expected
    assert [module.training for module in model.modules()] == [True, False, True]
    assert torch.is_grad_enabled()


def test_before_averaged_weights_are_put_back():
    ema = HOOKS.get('EMAHook')
    assert issubclass(ema, Hook)
    order = {'ABOVE_NORMAL': 40, 'NORMAL': 50}
    assert order[SelectionPanelHook.priority] < order[ema.priority]


@pytest.mark.parametrize('wrong', [dict(interval=0), dict(num_images=0), dict(columns=0), dict(side=50)])
def test_mistakes(wrong):
    with pytest.raises(GLSimError, match='SelectionPanelHook'):
        SelectionPanelHook(**wrong)
