"""Whatever reads checkpoints reads all of them: each way to save a model, through each consumer."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from safetensors.torch import save_file
from tiny_run import CONFIG, ROOT, write_images

from glsim_mm.apis import load_config
from glsim_mm.apis.model import load_model
from glsim_mm.checkpoints.authors_names import to_official
from glsim_mm.checkpoints.backbone_loading import load_glsim_vit
from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file, read_checkpoint
from glsim_mm.checkpoints.conversion import convert_file
from glsim_mm.checkpoints.inspection import inspect_checkpoint
from glsim_mm.checkpoints.publishing import publish
from glsim_mm.errors import GLSimError
from glsim_mm.exporting import export_model

Weights = dict[str, torch.Tensor]


def save(content: dict, path: Path) -> Path:
    torch.save(content, path)
    return path


def worse(weights: Weights) -> Weights:
    """Weights of the same names, as training has them beside an average."""
    return {name: torch.zeros_like(value) for name, value in weights.items()}


def named(weights: Weights, prefix: str) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def with_lightning(weights: Weights, path: Path) -> Path:
    content = {**named(worse(weights), 'model.'), **named(weights, 'ema_model.'), 'loss.weight': torch.ones(2)}
    return save({'pytorch-lightning_version': '2.5', 'state_dict': content, 'epoch': 3}, path)


def with_ema_hook(weights: Weights, path: Path) -> Path:
    others = dict(named(worse(weights), 'module.'), steps=torch.tensor(4))
    return save(dict(state_dict=weights, ema_state_dict=others, meta=dict(epoch=2)), path)


def with_safetensors(weights: Weights, path: Path) -> Path:
    save_file(weights, path.with_suffix('.safetensors'))
    return path.with_suffix('.safetensors')


def with_npz(weights: Weights, path: Path) -> Path:
    np.savez(path.with_suffix('.npz'), **{name: value.numpy() for name, value in weights.items()})
    return path.with_suffix('.npz')


def with_shards(weights: Weights, path: Path) -> Path:
    folder = path.with_suffix('')
    folder.mkdir()
    places = {name: f'model-{i % 2}.safetensors' for i, name in enumerate(weights)}
    for shard in set(places.values()):
        save_file({name: weights[name] for name in weights if places[name] == shard}, folder / shard)
    (folder / 'model.safetensors.index.json').write_text(json.dumps(dict(weight_map=places)))
    return folder


def with_authors_names(weights: Weights, path: Path) -> Path:
    settings = argparse.Namespace(
        image_size=32, dynamic_anchor=True, dynamic_top=3, num_attention_heads=2, sim_metric='cos', reducer='cls'
    )
    return save(dict(config=settings, model=named(to_official(weights), 'model.')), path)


LAYOUTS = {
    'mmengine': lambda weights, path: save(dict(state_dict=weights, meta=dict(epoch=1)), path),
    'flat': save,
    'half': lambda weights, path: save({name: value.half() for name, value in weights.items()}, path),
    'distributed': lambda weights, path: save(dict(model=named(weights, 'module.')), path),
    'compiled': lambda weights, path: save(dict(state_dict=named(weights, '_orig_mod.')), path),
    'compiled backbone': lambda weights, path: save(
        {name.replace('backbone.', 'backbone._orig_mod.'): value for name, value in weights.items()}, path
    ),
    'Lightning': with_lightning,
    'EMAHook': with_ema_hook,
    'model_ema': lambda weights, path: save(dict(model=worse(weights), model_ema=weights), path),
    'state_dict_ema': lambda weights, path: save(
        dict(state_dict=worse(weights), state_dict_ema=named(weights, 'module.'), epoch=1), path
    ),
    'safetensors': with_safetensors,
    'published': lambda weights, path: publish(save(dict(state_dict=weights), path), path.with_suffix('.safetensors')),
    'npz': with_npz,
    'sharded': with_shards,
    'authors': with_authors_names,
}


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> Config:
    folder = tmp_path_factory.mktemp('consumers')
    path = folder / 'tiny_consumers.py'
    path.write_text(CONFIG.format(root=ROOT, data=write_images(folder / 'images')))
    cfg = load_config(str(path))
    cfg.work_dir = str(folder / 'work')
    return cfg


@pytest.fixture(scope='module')
def runner(config) -> Runner:
    return Runner.from_cfg(config)


@pytest.fixture(scope='module')
def weights(config) -> Weights:
    """Of values that float16 has too."""
    generator = torch.Generator().manual_seed(0)
    state = MODELS.build(config.model).state_dict()
    return {name: torch.randn(value.shape, generator=generator).half().float() for name, value in state.items()}


def check(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].float(), value, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_consumer_reads_every_layout(layout, config, runner, weights, tmp_path):
    path = LAYOUTS[layout](weights, tmp_path / 'weights.pth')
    backbone = {name.removeprefix('backbone.'): weights[name] for name in weights if name.startswith('backbone.')}

    assert any('2 layers, 32 channels' in line for line in inspect_checkpoint(str(path)))
    check(load_model(config, str(path), 'cpu').state_dict(), weights)  # infer, and the encoder of searches

    for prepare in (lambda: None, lambda: runner.train_loop):  # test; then load_from, as train builds its loop first
        prepare()
        runner.model.load_state_dict(worse(weights))
        runner._load_from = path
        runner.load_checkpoint(str(path))
        check(runner.model.state_dict(), weights)

    encoder = MODELS.build(config.model.backbone)  # init_cfg
    load_glsim_vit(encoder, str(path))
    check(encoder.state_dict(), backbone)

    converted = convert_file(str(path), tmp_path / 'converted.pth').file
    check(load_checkpoint_file(converted)['state_dict'], weights)
    if layout != 'authors':  # publishing is for checkpoints of training
        check(load_checkpoint_file(publish(path, tmp_path / 'published.pth'))['state_dict'], weights)


@pytest.mark.parametrize('value', ['nan', 'inf', '-inf'])
@pytest.mark.parametrize('layout', ['mmengine', 'half', 'safetensors', 'npz', 'sharded', 'authors'])
def test_every_consumer_refuses_weights_that_are_no_numbers(layout, value, config, runner, weights, tmp_path):
    broken = {name: tensor.clone() for name, tensor in weights.items()}
    broken['backbone.layers.1.ffn.layers.1.weight'][3, 2] = float(value)
    path = LAYOUTS[layout](broken, tmp_path / 'weights.pth')
    before = {name: tensor.clone() for name, tensor in runner.model.state_dict().items()}
    target = tmp_path / 'out' / 'written.pth'
    target.parent.mkdir()

    def test() -> None:
        runner._load_from = path
        runner.load_checkpoint(str(path))

    consumers = [
        lambda: inspect_checkpoint(str(path)),
        lambda: load_model(config, str(path), 'cpu'),  # infer, search, export
        test,
        lambda: load_glsim_vit(MODELS.build(config.model.backbone), str(path)),
        lambda: convert_file(str(path), target),
        lambda: export_model(config, str(path), target.with_suffix('.onnx')),
        lambda: publish(path, target),
    ]
    for consume in consumers:
        with pytest.raises(GLSimError, match=r'NaN or infinite numbers in 1 of \d+ tensors \(.*s\.1.*diverged'):
            consume()
    check(runner.model.state_dict(), before)
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize('which', ['averaged', 'last'])
def test_trained_weights_beside_good_averages_are_not_published(which, weights, tmp_path):
    path = save(
        dict(
            state_dict=weights, ema_state_dict={f'module.{name}': value * torch.nan for name, value in weights.items()}
        ),
        tmp_path / 'ema.pth',
    )
    if which == 'averaged':
        check(load_checkpoint_file(publish(path, tmp_path / 'out.pth', which))['state_dict'], weights)
    else:
        with pytest.raises(GLSimError, match='NaN or infinite'):
            publish(path, tmp_path / 'out.pth', which)


def test_masks_of_attention_may_be_infinite(weights, tmp_path):
    content = {**weights, 'text.attn_mask': torch.full((4, 4), -torch.inf).triu(1)}
    assert 'text.attn_mask' in read_checkpoint(save(content, tmp_path / 'clip.pth')).tensors
    content['text.attn_mask'][0, 0] = torch.nan
    with pytest.raises(GLSimError, match='text.attn_mask'):
        read_checkpoint(save(content, tmp_path / 'clip.pth'))


def test_encoder_of_another_project_starts_a_training(runner, weights, tmp_path):
    ours = LAYOUTS['mmengine'](weights, tmp_path / 'ours.pth')
    timm = convert_file(str(ours), tmp_path / 'timm.pth', to='timm').file
    assert runner.train_loop
    runner.model.load_state_dict(worse(weights))
    runner._load_from = timm
    runner.load_checkpoint(str(timm))
    encoder = {name: value for name, value in weights.items() if name.startswith('backbone.')}
    check(runner.model.backbone.state_dict(prefix='backbone.'), encoder)
