"""Addresses that mmengine's own loading understands, in configs and by name."""

import json

import layout_writers as writers
import pytest
import timm
import torch
from golden_files import load_golden
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import MODELS
from safetensors.torch import save_file
from test_layouts import CASES, save
from tiny_models import build_timm, pictures

from glsim_mm.apis import load_model
from glsim_mm.checkpoints.addresses import (
    SCHEMES,
    fetch_from_timm,
    load_whole,
    parse_address,
    read_address,
    register_loaders,
)
from glsim_mm.checkpoints.authors_config import official_config, official_model_config
from glsim_mm.checkpoints.authors_names import read_official
from glsim_mm.checkpoints.vit_layouts import LAYOUTS
from glsim_mm.errors import GLSimError

TINY = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128)


def golden_file(shared_root):
    return shared_root / 'golden' / 'official_format_tiny.pth'


def vit(**options):
    config = dict(type='mmpretrain.GLSimViT', arch=TINY, img_size=32, patch_size=8)
    return MODELS.build({**config, **options}).eval()


@torch.no_grad()
@pytest.mark.parametrize(('kind', 'write', 'layout', 'name'), [case for case in CASES if case[0] in ('vit', 'dinov2')])
def test_init_cfg_with_a_scheme(tmp_path, kind, write, layout, name):
    model = build_timm(kind)
    path = save(tmp_path, name, write(model.state_dict()))
    scheme = next(key for key in LAYOUTS if layout.startswith(key))
    for address in (f'{scheme}://{path}', f'vit://{path}'):
        options = dict(layer_scale_init_value=1e-5) if kind == 'dinov2' else {}
        init_cfg = dict(type='Pretrained', checkpoint=address, prefix='backbone.')
        backbone = vit(norm_cfg=dict(type='LN', eps=model.norm.eps), init_cfg=init_cfg, **options)
        backbone.init_weights()
        assert (backbone(pictures())[-1] - model.forward_features(pictures())).abs().max() < 1e-5


def test_plain_vit_of_mmpretrain_takes_them_too(tmp_path):
    model = build_timm('vit')
    path = save(tmp_path, 'a.safetensors', model.state_dict())
    init_cfg = dict(type='Pretrained', checkpoint=f'timm://{path}', prefix='backbone.')
    config = dict(type='mmpretrain.VisionTransformer', arch=TINY, img_size=32, patch_size=8)
    backbone = MODELS.build(dict(config, init_cfg=init_cfg))
    backbone.init_weights()
    assert torch.equal(backbone.layers[1].attn.qkv.weight, model.blocks[1].attn.qkv.weight)


@torch.no_grad()
def test_authors_checkpoint_gives_the_golden_logits(shared_root):
    """Model and weights come from the file alone; the logits were computed by the authors' code."""
    address = f'glsim://{golden_file(shared_root)}'
    checkpoint = CheckpointLoader.load_checkpoint(address, 'cpu')
    config = checkpoint['meta']['model']
    assert config['neck'] == dict(type='GLSimSelector', similarity='cos', top_o=2, box_end='exclusive')
    assert config['head']['num_layers'] == 2
    assert config['head']['num_classes'] == 13
    assert config['backbone']['img_size'] == 64
    assert config['backbone']['patch_size'] == 16
    model = MODELS.build(dict(config, type='mmpretrain.GLSimClassifier')).eval()
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    arrays = load_golden(shared_root / 'golden', 'cos_64px_p16_top2_agg2').arrays
    assert (model(arrays['images'], mode='tensor') - arrays['logits']).abs().max() <= 1e-4
    loaded = load_model(Config(official_config(checkpoint['meta']['settings'], config)), address, 'cpu')
    assert torch.equal(loaded(arrays['images'], mode='tensor'), model(arrays['images'], mode='tensor'))


@torch.no_grad()
def test_encoder_of_the_authors_checkpoint(shared_root):
    arch = dict(embed_dims=128, num_layers=2, num_heads=2, feedforward_channels=512)
    init_cfg = dict(type='Pretrained', checkpoint=f'glsim://{golden_file(shared_root)}', prefix='backbone.')
    backbone = vit(arch=arch, img_size=64, patch_size=16, norm_cfg=dict(type='LN', eps=1e-12), init_cfg=init_cfg)
    backbone.init_weights()
    arrays = load_golden(shared_root / 'golden', 'cos_64px_p16_top2_agg2').arrays
    assert (backbone(arrays['images'])[-1] - arrays['encoder_tokens']).abs().max() <= 1e-4


def _official(shared_root):
    checkpoint = read_address(str(golden_file(shared_root)))
    return dict(checkpoint.settings), {name.removeprefix('model.'): t for name, t in checkpoint.tensors.items()}


def test_o_is_read_from_the_settings(shared_root):
    settings, tensors = _official(shared_root)
    assert official_model_config({**settings, 'dynamic_top': 16}, tensors)['neck']['top_o'] == 16
    assert official_model_config({**settings, 'sim_metric': 'l2'}, tensors)['neck']['similarity'] == 'l2'


def test_photos_are_prepared_as_the_authors_test(shared_root):
    settings, tensors = _official(shared_root)
    model = official_model_config(settings, tensors)

    def steps(**change):
        pipeline = official_config({**settings, **change}, model)['test_dataloader']['dataset']['pipeline']
        return [(step['type'], step.get('scale', step.get('crop_size'))) for step in pipeline[1:-1]]

    def mean(**change):
        return official_config({**settings, **change}, model)['data_preprocessor']['mean']

    assert steps() == [('Resize', (85, 85)), ('CenterCrop', 64)]
    assert steps(resize_size=72, test_resize_size=None) == [('Resize', (72, 72)), ('CenterCrop', 64)]
    assert steps(resize_size=72, test_resize_size=70) == [('Resize', (70, 70)), ('CenterCrop', 64)]
    assert steps(test_resize_directly=True) == [('Resize', (64, 64))]
    assert steps(deit_recipe=True) == [('ResizeEdge', 73), ('CenterCrop', 64)]
    assert official_config({**settings, 'test_flip': True}, model)['tta_model'] == dict(type='MirrorTTA')
    assert mean() == [123.675, 116.28, 103.53]
    assert mean(custom_mean_std=True, dataset_name='dogs') == [127.5] * 3
    assert mean(custom_mean_std=True) == pytest.approx([255 * value for value in (0.3659524, 0.42010019, 0.41562049)])
    with pytest.raises(GLSimError, match='normalisation of svhn'):
        mean(custom_mean_std=True, dataset_name='svhn')


def test_plain_vit_of_the_authors(shared_root):
    settings, tensors = _official(shared_root)
    plain = {name: tensor for name, tensor in tensors.items() if not name.startswith(('aggregator', 'anchor'))}
    settings.update(dynamic_anchor=False, aggregator=False, reducer=None, aggregator_norm=False)
    config = official_model_config(settings, plain)
    assert config['type'] == 'ImageClassifier'
    model = MODELS.build(dict(config, type='mmpretrain.ImageClassifier'))
    model.load_state_dict(read_official(plain)[0], strict=True)


def test_another_model_of_the_authors_is_refused(shared_root, tmp_path):
    content = {f'model.{name}': tensor for name, tensor in _official(shared_root)[1].items()}
    content['model.anchor_conv_stem.weight'] = torch.ones(1)
    torch.save({'model': content}, tmp_path / 'w.pth')
    with pytest.raises(GLSimError, match=r'w\.pth.*anchor_conv_stem\.weight'):
        load_whole(str(tmp_path / 'w.pth'))
    del content['model.anchor_conv_stem.weight'], content['model.encoder.blocks.1.attn.proj_k.weight']
    torch.save({'model': content}, tmp_path / 'w.pth')
    with pytest.raises(GLSimError, match=r'w\.pth.*lack encoder\.blocks\.1\.attn\.proj_k\.weight'):
        load_whole(str(tmp_path / 'w.pth'))


def test_parse_address():
    assert parse_address('a/b.pth') == (None, 'a/b.pth')
    assert parse_address('vit://a.pth') == (None, 'a.pth')
    assert parse_address('vit-npz:///abs/a.npz') == ('vit-npz', '/abs/a.npz')
    assert parse_address('https://host/a.pth') is None


def test_all_schemes_are_registered_once_and_again():
    register_loaders()
    assert {f'{scheme}://' for scheme in SCHEMES} <= set(CheckpointLoader._schemes)
    assert CheckpointLoader._get_checkpoint_loader('vit-npz://a').__name__ == 'load_from_vit-npz'


def test_wrong_scheme_for_a_file(tmp_path):
    path = save(tmp_path, 'a.pth', writers.clip(build_timm('clip').state_dict()))
    with pytest.raises(GLSimError, match=r"dinov2://.*a\.pth does not hold a ViT in the layout 'dinov2'"):
        CheckpointLoader.load_checkpoint(f'dinov2://{path}')


def test_registers_are_refused_in_configs(tmp_path):
    path = save(tmp_path, 'a.pth', writers.dinov2(build_timm('dinov2_reg').state_dict()))
    with pytest.raises(GLSimError, match=r'a\.pth.*4 register tokens.*use the backbone TimmViT'):
        CheckpointLoader.load_checkpoint(f'dinov2://{path}')


def test_what_was_left_out_is_logged(tmp_path, mmengine_log):
    path = save(tmp_path, 'a.pth', writers.clip(build_timm('clip').state_dict()))
    CheckpointLoader.load_checkpoint(f'clip://{path}')
    assert 'visual.proj' in mmengine_log.text
    assert 'logit_scale' in mmengine_log.text


def _fill_cache(folder, name, tensors, monkeypatch):
    """Hugging Face's cache with one file of one repository, and no network."""
    from huggingface_hub import constants

    repository = folder / f'models--timm--{name}'
    snapshot = repository / 'snapshots' / 'abc'
    snapshot.mkdir(parents=True)
    (repository / 'refs').mkdir()
    (repository / 'refs' / 'main').write_text('abc')
    if tensors is not None:
        save_file(tensors, snapshot / 'model.safetensors')
    (snapshot / 'config.json').write_text(json.dumps({}))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(folder))


def test_name_of_timm_comes_from_the_cache(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = timm.create_model('vit_tiny_patch16_224', num_classes=3, depth=2)
    name = 'vit_tiny_patch16_224.augreg_in21k'
    _fill_cache(tmp_path, name, model.state_dict(), monkeypatch)
    whole = load_whole(f'timm://{name}')
    assert torch.equal(whole['state_dict']['backbone.layers.1.ffn.layers.1.weight'], model.blocks[1].mlp.fc2.weight)
    assert torch.equal(whole['state_dict']['head.fc.weight'], model.head.weight)


def test_name_of_timm_that_cannot_be_had(tmp_path, monkeypatch):
    _fill_cache(tmp_path, 'vit_base_patch16_224.augreg_in21k', None, monkeypatch)
    with pytest.raises(GLSimError, match=r'timm://vit_base_patch16_224\.augreg_in21k is not in the cache'):
        load_whole('timm://vit_base_patch16_224.augreg_in21k')
    for name in ('vit_nothing', 'vit_base_patch16_224.nothing', 'missing/file.pth'):
        with pytest.raises(GLSimError, match='there is no such file, and timm has no pretrained weights'):
            fetch_from_timm(name)
