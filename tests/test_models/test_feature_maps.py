"""Backbones as detectors and segmenters use them."""

import copy
from functools import partial

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS
from torch import nn

import glsim_mm  # noqa: F401 (registers)
from glsim_mm.errors import GLSimError
from glsim_mm.models import GLSimViT, TimmViT
from glsim_mm.models.utils import check_out_indices, evenly_spaced
from glsim_mm.ops import global_local_similarity

ARCH = dict(embed_dims=32, num_layers=4, num_heads=4, feedforward_channels=64)
glsim_vit = partial(GLSimViT, ARCH, img_size=64, patch_size=16)
timm_vit = partial(TimmViT, 'vit_small_patch16_224', img_size=64, embed_dim=32, depth=4, num_heads=4)
BACKBONES = pytest.mark.parametrize('build', [glsim_vit, timm_vit], ids=['GLSimViT', 'TimmViT'])


def _pair(build, **options):
    """The same encoder with maps and with tokens."""
    torch.manual_seed(0)
    maps = build(out_type='featmap', **options).eval()
    tokens = build().eval()
    tokens.load_state_dict(maps.state_dict())
    return maps, tokens


@BACKBONES
@pytest.mark.parametrize('size', [(64, 64), (96, 160), (70, 33), (16, 16)])
def test_maps_of_any_size(build, size):
    maps, tokens = _pair(build, out_indices=(1, 2, 3), with_similarity_map=True)
    images = torch.randn(2, 3, *size)
    grid = tuple(-(-side // 16) for side in size)
    *features, similarity = maps(images)
    assert [tuple(one.shape) for one in features] == [(2, 32, *grid)] * 3
    raw = tokens(images)[-1]
    torch.testing.assert_close(features[-1].flatten(2).transpose(1, 2), raw[:, 1:])
    expected = global_local_similarity(raw[:, 0], raw[:, 1:])
    torch.testing.assert_close(similarity, expected.reshape(2, 1, *grid))
    assert similarity.dtype == torch.float32 and similarity.abs().max() <= 1 + 1e-6
    assert not torch.allclose(features[0], features[1])


@BACKBONES
def test_layers_in_between_are_those_of_a_shorter_encoder(build):
    maps, _ = _pair(build, out_indices=(1, 3))
    images = torch.randn(1, 3, 64, 80)
    seen = []
    inner = maps.model.blocks[1] if build is timm_vit else maps.layers[1]
    inner.register_forward_hook(lambda module, inputs, output: seen.append(output))
    first, last = maps(images)
    torch.testing.assert_close(first.flatten(2).transpose(1, 2), seen[0][:, 1:])
    assert first.shape == last.shape == (1, 32, 4, 5)


@BACKBONES
def test_every_parameter_learns_and_the_similarity_map_teaches_nothing(build):
    maps, _ = _pair(build, out_indices=(1, 3), with_similarity_map=True)
    *features, similarity = maps.train()(torch.randn(2, 3, 48, 64))
    assert not similarity.requires_grad
    sum(one.square().mean() for one in features).backward()
    assert not [name for name, parameter in maps.named_parameters() if parameter.grad is None]


@BACKBONES
def test_recomputed_layers_give_the_same_gradients(build):
    options = dict(out_type='featmap', out_indices=(1, 3))
    if build is glsim_vit:
        options['window_size'] = 2
    plain, saving = build(**options).train(), build(**options, with_cp=True).train()
    saving.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 80, 64)
    for model in (plain, saving):
        sum(one.square().sum() for one in model(images)).backward()
    for one, other in zip(plain.parameters(), saving.parameters()):
        torch.testing.assert_close(one.grad, other.grad)


@BACKBONES
def test_frozen_stages(build):
    model = build(out_type='featmap', out_indices=(1, 3), frozen_stages=2).train()
    sum(one.square().mean() for one in model(torch.randn(1, 3, 64, 64))).backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    inner = 'model.blocks' if build is timm_vit else 'layers'
    frozen = (f'{inner}.0.', f'{inner}.1.', 'patch_embed', 'model.patch_embed')
    assert f'{inner}.2.' in ' '.join(learning) and not [name for name in learning if name.startswith(frozen)]


def test_windows_and_global_layers():
    torch.manual_seed(0)
    plain = glsim_vit(out_type='featmap', out_indices=(0, 1, 2, 3)).eval()
    images = torch.randn(2, 3, 96, 128)  # a grid of 6 x 8
    expected = plain(images)

    def run(**options):
        model = glsim_vit(out_type='featmap', out_indices=(0, 1, 2, 3), **options).eval()
        model.load_state_dict(plain.state_dict())
        return model(images)

    for one, other in zip(run(window_size=8), expected):
        torch.testing.assert_close(one, other)
    for one, other in zip(run(window_size=4, global_indices=(0, 1, 2, 3)), expected):
        torch.testing.assert_close(one, other)
    found = run(window_size=4, global_indices=(0,))
    torch.testing.assert_close(found[0], expected[0])
    assert not torch.allclose(found[1], expected[1])
    # A patch far from the change does not feel it but through the CLS token, which sees all.
    windowed = glsim_vit(out_type='featmap', out_indices=(0,), window_size=4, global_indices=()).eval()
    changed = images.clone()
    changed[:, :, :16, :16] += 1
    difference = (windowed(images)[0] - windowed(changed)[0]).abs().amax(dim=(0, 1))
    assert difference[:4, :4].min() > 0 and difference[4:].max() < 1e-6 and difference[:, 4:].max() < 1e-6


def test_windows_leave_the_cls_token_a_view_of_everything():
    torch.manual_seed(0)
    model = glsim_vit(window_size=2, global_indices=()).eval()
    images = torch.randn(1, 3, 128, 128, requires_grad=True)
    model(images)[-1][0, 0, :7].sum().backward()
    per_patch = images.grad.abs().unfold(2, 16, 16).unfold(3, 16, 16).amax(dim=(0, 1, 4, 5))
    assert per_patch.shape == (8, 8) and per_patch.min() > 0


def test_hooks_of_windowed_layers_fire():
    torch.manual_seed(0)
    model = glsim_vit(window_size=2, global_indices=()).eval()
    images = torch.randn(1, 3, 96, 96)
    expected = model(images)[-1]
    seen = []
    for layer in model.layers:
        for module in (layer, layer.attn.qkv, layer.ffn):
            module.register_forward_hook(lambda module, inputs, output: seen.append(module))
    torch.testing.assert_close(model(images)[-1], expected)
    assert seen == [module for layer in model.layers for module in (layer.attn.qkv, layer.ffn, layer)]
    model.layers[0].register_forward_hook(lambda module, inputs, output: output + 1)
    assert not torch.allclose(model(images)[-1], expected)


def test_where_global_layers_are():
    assert evenly_spaced(12) == (2, 5, 8, 11) and evenly_spaced(24) == (5, 11, 17, 23)
    assert evenly_spaced(2) == (0, 1) and evenly_spaced(1) == (0,)
    assert glsim_vit(window_size=2).global_indices == (0, 1, 2, 3)
    assert check_out_indices(-1, 4) == (3,) and check_out_indices([0, -1], 4) == (0, 3)


@pytest.mark.parametrize(
    'build, options, words',
    [
        (timm_vit, dict(out_type='featmap', out_indices=(4,)), 'the 4 layers'),
        (timm_vit, dict(out_type='featmap', out_indices=(2, 1)), 'must ascend'),
        (timm_vit, dict(out_indices=(1,)), "need out_type='featmap'"),
        (timm_vit, dict(with_similarity_map=True), "need out_type='featmap'"),
        (glsim_vit, dict(with_similarity_map=True), "needs out_type='featmap'"),
        (glsim_vit, dict(window_size=-1), '0 or more'),
        (glsim_vit, dict(window_size=2, global_indices=(9,)), 'the 4 layers'),
    ],
)
def test_options_that_do_not_fit(build, options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


@BACKBONES
def test_a_classifier_checkpoint_fills_the_backbone(build, tmp_path):
    torch.manual_seed(0)
    backbone = copy.deepcopy(build().eval())
    config = dict(
        type='GLSimClassifier',
        backbone=dict(
            type='TimmViT', model_name='vit_small_patch16_224', img_size=64, embed_dim=32, depth=4, num_heads=4
        )
        if build is timm_vit
        else dict(type='GLSimViT', arch=ARCH, img_size=64, patch_size=16),
        neck=dict(type='GLSimSelector', top_o=4),
        head=dict(type='AggregatorHead', num_classes=3, in_channels=32),
    )
    classifier = MODELS.build(config)
    classifier.backbone.load_state_dict(backbone.state_dict())
    torch.save({'state_dict': classifier.state_dict()}, tmp_path / 'glsim.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'glsim.pth'), prefix='backbone.')
    maps = build(out_type='featmap', out_indices=(1, 3), init_cfg=init)
    maps.init_weights()
    images = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(maps.eval()(images)[-1].flatten(2).transpose(1, 2), backbone(images)[-1][:, 1:])


class Detector(nn.Module):
    """As a model of another project: it knows nothing of depths."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Conv2d(32, 8, 1)
        self.norm = nn.LayerNorm(8)


def _optimizer(model):
    config = dict(
        constructor='mmpretrain.BackboneLayerDecayConstructor',
        optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1),
        paramwise_cfg=dict(layer_decay_rate=0.5, norm_decay_mult=0.0),
    )
    return build_optim_wrapper(model, config).optimizer


@BACKBONES
def test_layer_wise_learning_rates_in_a_model_of_another_project(build):
    model = Detector(build(out_type='featmap', out_indices=(1, 3)))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {names[id(group['params'][0])]: group for group in _optimizer(model).param_groups}
    assert set(groups) == set(names.values())
    inner = 'backbone.model.blocks' if build is timm_vit else 'backbone.layers'
    rates = [next(group['lr'] for name, group in groups.items() if name.startswith(f'{inner}.{i}.')) for i in range(4)]
    assert rates == [0.5**4, 0.5**3, 0.5**2, 0.5]
    assert groups['neck.weight']['lr'] == 1 and groups['norm.weight']['weight_decay'] == 0
    stem = 'backbone.model.cls_token' if build is timm_vit else 'backbone.cls_token'
    assert groups[stem]['lr'] == 0.5**5


def test_models_without_depths_are_told():
    with pytest.raises(GLSimError, match='Conv2d does not know the depth'):
        _optimizer(Detector(nn.Conv2d(3, 32, 1)))
