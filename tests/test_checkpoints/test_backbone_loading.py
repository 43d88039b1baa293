"""Weights that do not fit are refused by name; those of another size are resized."""

import re

import layout_writers as writers
import numpy as np
import pytest
import timm
import torch
from mmpretrain.registry import MODELS
from test_layouts import save
from timm.layers import resample_abs_pos_embed
from tiny_models import build_timm, pictures
from tiny_run import write_config

from glsim_mm.apis import load_config
from glsim_mm.checkpoints.backbone_loading import load_glsim_vit, load_timm_vit
from glsim_mm.errors import GLSimError

TINY = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128)


def vit(**options):
    config = dict(type='mmpretrain.GLSimViT', arch=TINY, img_size=32, patch_size=8)
    return MODELS.build({**config, **options}).eval()


@pytest.fixture
def path(tmp_path):
    return save(tmp_path, 'vit.pth', build_timm('vit').state_dict())


@pytest.mark.parametrize('img_size', [(48, 32), (16, 64), (64, 64)])
@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
def test_positions_are_resized_to_any_grid(path, img_size, mode):
    """16 x 64 pixels have as many patches as 32 x 32, and other positions."""
    backbone = vit(img_size=img_size, interpolate_mode=mode)
    load_glsim_vit(backbone, path)
    source = build_timm('vit').pos_embed
    grid = (img_size[0] // 8, img_size[1] // 8)
    expected = resample_abs_pos_embed(
        source, new_size=grid, old_size=(4, 4), interpolation=mode, antialias=mode == 'bicubic'
    )
    assert (backbone.pos_embed - expected).abs().max() < 1e-6


@torch.no_grad()
def test_non_square_images_in_timm(path):
    model = build_timm('vit', img_size=(48, 24))
    load_timm_vit(model, path)
    backbone = vit(img_size=(48, 24), norm_cfg=dict(type='LN', eps=1e-6))
    load_glsim_vit(backbone, path)
    images = pictures(48, 24)
    assert (backbone(images)[-1] - model.forward_features(images)).abs().max() < 1e-5


def test_crops_own_token_starts_from_the_cls_token(path):
    backbone = vit(crop_cls_token=True)
    load_glsim_vit(backbone, path)
    assert torch.equal(backbone.crop_cls_token, backbone.cls_token)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch=dict(TINY, num_layers=3)), r'lacks layers\.2\.ln1\.weight and 11 more, 30 of 42 tensors'),
        (dict(arch=dict(TINY, embed_dims=64)), r'another shape for cls_token \(\(1, 1, 32\) instead of \(1, 1, 64\)\)'),
        (dict(arch=dict(TINY, num_layers=1)), r'has, unlike this GLSimViT, layers\.1\.ln1\.weight'),
        (dict(layer_scale_init_value=1.0), r'lacks layers\.0\.attn\.gamma1\.weight'),
        (dict(pre_norm=True), r'lacks pre_norm\.weight'),
        (dict(patch_size=16), r'another shape for patch_embed\.projection\.weight'),
        (dict(qkv_bias=False), r'has, unlike this GLSimViT, layers\.0\.attn\.qkv\.bias'),
    ],
)
def test_weights_of_another_architecture(path, options, message):
    with pytest.raises(GLSimError, match=message) as error:
        load_glsim_vit(vit(**options), path)
    assert str(error.value).startswith(path)
    assert '\n' not in str(error.value)


def test_layer_scale_that_the_model_lacks(tmp_path):
    path = save(tmp_path, 'dinov2.pth', writers.dinov2(build_timm('dinov2').state_dict()))
    with pytest.raises(GLSimError, match=r'layers\.0\.attn\.gamma1\.weight.*set it in the config of the backbone'):
        load_glsim_vit(vit(), path)


def test_nothing_is_copied_before_the_check(path):
    backbone = vit(arch=dict(TINY, num_layers=3))
    before = backbone.layers[0].attn.qkv.weight.clone()
    with pytest.raises(GLSimError):
        load_glsim_vit(backbone, path)
    assert torch.equal(backbone.layers[0].attn.qkv.weight, before)


def test_timm_model_of_another_architecture(path):
    with pytest.raises(GLSimError, match=r'vit\.pth was made by another architecture: it lacks blocks\.2\.'):
        load_timm_vit(build_timm('vit', depth=3), path)
    with pytest.raises(GLSimError, match=r'vit\.pth was made by another architecture'):
        load_timm_vit(build_timm('dinov2_reg'), path)


def test_prefix_chooses_among_models_in_a_file(tmp_path):
    teacher, student = build_timm('vit').state_dict(), build_timm('vit').state_dict()
    student = {name: tensor + 1 for name, tensor in student.items()}
    content = {f'{who}.{n}': t for who, s in (('student', student), ('teacher', teacher)) for n, t in s.items()}
    path = save(tmp_path, 'both.pth', content)
    backbone = vit()
    load_glsim_vit(backbone, path)
    assert torch.equal(backbone.cls_token, teacher['cls_token'])
    load_glsim_vit(backbone, path, prefix='student.')
    assert torch.equal(backbone.cls_token, student['cls_token'])


def test_report(tmp_path, mmengine_log):
    tensors = {**build_timm('vit', num_classes=3).state_dict(), 'mask_token': torch.ones(1)}
    report = load_glsim_vit(vit(), save(tmp_path, 'vit.pth', tensors))
    assert (len(report.loaded), report.unexpected) == (30, [])
    line = 'vit.pth: all 30 tensors loaded, 0 unexpected, 3 left out (head.weight, head.bias, mask_token)'
    assert line in mmengine_log.text


def test_layouts_that_only_timm_knows_are_left_to_timm(tmp_path):
    options = dict(embed_dim=32, depth=2, num_heads=2, img_size=28, num_classes=0)
    model = timm.create_model('aimv2_large_patch14_224', **options)
    renames = (
        ('patch_embed.', 'preprocessor.patchifier.'),
        ('pos_embed', 'preprocessor.pos_embed'),
        ('blocks.', 'trunk.blocks.'),
        ('fc1_g', 'fc1'),
        ('fc1_x', 'fc3'),
    )
    authors = {}
    for name, tensor in model.state_dict().items():
        for old, new in renames:
            name = name.replace(old, new)
        name = re.sub(r'\.norm([12])\.', r'.norm_\1.', re.sub(r'^norm\.', 'trunk.post_trunk_norm.', name))
        authors[name] = tensor
    path = save(tmp_path, 'aimv2.pth', authors)
    other = timm.create_model('aimv2_large_patch14_224', **options)
    load_timm_vit(other, path)
    assert torch.equal(other.blocks[1].mlp.fc1_x.weight, model.blocks[1].mlp.fc1_x.weight)
    with pytest.raises(GLSimError, match=r'aimv2\.pth was made by another architecture'):
        load_timm_vit(build_timm('vit'), path)


def test_weights_from_a_url(server):
    """As the recipes fetch mmpretrain's, whose files hold a whole classifier."""
    folder, address = server
    source, backbone = vit(), vit()
    content = {f'backbone.{name}': tensor for name, tensor in source.state_dict().items()}
    torch.save({'state_dict': {**content, 'head.layers.head.weight': torch.ones(3, 32)}}, folder / 'vit.pth')
    load_glsim_vit(backbone, f'{address}/vit.pth', prefix='backbone')
    assert all(torch.equal(backbone.state_dict()[name], tensor) for name, tensor in source.state_dict().items())


def test_recipes_start_from_googles_weights_as_the_authors_do(server, root):
    """Files of one name in two folders of the bucket, as the original weights and fine-tuned ones have it."""
    folder, address = server
    sources = {name: build_timm('vit') for name in ('imagenet21k', 'imagenet21k+imagenet2012')}
    sources['imagenet21k'].cls_token.data += 1
    for name, source in sources.items():
        (folder / name).mkdir()
        np.savez(folder / name / 'ViT-B_16.npz', **writers.google_npz(source.state_dict()))
    for name, source in sources.items():
        config = load_config(root / 'configs' / 'glsim_vit_cub.py').model.backbone
        bucket, _, file = config.init_cfg.checkpoint.rpartition('/imagenet21k/')
        assert (bucket, file) == ('https://storage.googleapis.com/vit_models', 'ViT-B_16.npz')
        config.update(type='mmpretrain.GLSimViT', arch=TINY, img_size=32, patch_size=8)
        config.init_cfg.checkpoint = f'{address}/{name}/{file}'
        backbone = MODELS.build(config)
        backbone.init_weights()
        assert torch.equal(backbone.layers[1].ffn.layers[1].weight, source.blocks[1].mlp.fc2.weight)
        assert torch.equal(backbone.cls_token, source.cls_token)


def test_config_starts_from_another_projects_weights(tmp_path):
    source = build_timm('vit', mlp_ratio=2.0)
    path = save(tmp_path, 'augreg.npz', writers.google_npz(source.state_dict()))
    extra = f'model = dict(backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="vit-npz://{path}")))\n'
    base = write_config(tmp_path / 'tiny_base.py', tmp_path)
    config = tmp_path / 'tiny_from_npz.py'
    config.write_text(f'_base_ = [{str(base)!r}]\n{extra}')
    model = MODELS.build(load_config(config).model)
    model.init_weights()
    assert torch.equal(model.backbone.layers[1].ffn.layers[1].weight, source.blocks[1].mlp.fc2.weight)
    assert torch.equal(model.backbone.pos_embed, source.pos_embed)
