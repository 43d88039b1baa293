"""Blocks that do less than whole: exact where they say so."""

import copy
from collections import Counter

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from glsim_mm.errors import GLSimError
from glsim_mm.models.utils.partial_blocks import class_token_of, detach_patches, merge_tokens, split_block

ARCH = dict(embed_dims=32, num_layers=3, num_heads=2, feedforward_channels=64)


def mmpretrain_block(**kwargs):
    return TransformerEncoderLayer(32, 2, 64, **kwargs)


def timm_block(**kwargs):
    return timm.models.vision_transformer.Block(32, 2, qkv_bias=True, **kwargs)


BLOCKS = {
    'mmpretrain': lambda: mmpretrain_block(),
    'mmpretrain, LayerScale, no bias': lambda: mmpretrain_block(layer_scale_init_value=0.3, qkv_bias=False),
    'timm': lambda: timm_block(),
    'timm, DINOv2': lambda: timm_block(init_values=0.5),
    'timm, normalised queries': lambda: timm_block(qk_norm=True),
    'timm, normalised attention': lambda: timm_block(scale_attn_norm=True, init_values=0.1),
}
UNKNOWN = {
    'SwiGLU': lambda: mmpretrain_block(ffn_type='swiglu_fused'),
    'gated': lambda: nn_with_gate(),
    'EVA': lambda: timm.models.eva.EvaBlock(32, 2),
}


def nn_with_gate():
    block = timm_block()
    block.attn = timm.layers.Attention(32, 2, gated=True)
    return block


def build(make):
    torch.manual_seed(0)
    block = make()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block.eval()


def call(step, *args):
    return step(*args)


def tokens(size=9, batch=3):
    return torch.randn(batch, size, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize('make', {**BLOCKS, **UNKNOWN}.values(), ids=[*BLOCKS, *UNKNOWN])
def test_class_token_and_its_gradients_are_those_of_the_whole_block(make):
    block, x = build(make), tokens()
    weight = torch.randn(32)
    wanted = torch.autograd.grad((block(x)[:, 0] @ weight).sum(), [x, *block.parameters()], allow_unused=True)
    found_token = class_token_of(block, x)
    found = torch.autograd.grad((found_token[:, 0] @ weight).sum(), [x, *block.parameters()], allow_unused=True)
    torch.testing.assert_close(found_token, block(x)[:, :1], atol=1e-5, rtol=1e-4)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('make', BLOCKS.values(), ids=BLOCKS)
def test_detached_patches_have_values_but_no_gradient(make):
    block, x = build(make), tokens()
    weight = torch.randn(32)
    out = detach_patches(block, x)
    torch.testing.assert_close(out, block(x), atol=1e-5, rtol=1e-4)
    wanted = torch.autograd.grad((block(x)[:, 0] @ weight).sum(), [x, *block.parameters()])
    found = torch.autograd.grad((out[:, 0] @ weight).sum(), [x, *block.parameters()], retain_graph=True)
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert not torch.autograd.grad(out[:, 1:].sum(), [x], allow_unused=True)[0].any()


def test_stochastic_depth_is_drawn_once_for_all_tokens_of_an_image():
    block = build(lambda: mmpretrain_block(drop_path_rate=0.5)).train()
    x = tokens(batch=64)
    torch.manual_seed(3)
    wanted = block(x)
    torch.manual_seed(3)
    torch.testing.assert_close(detach_patches(block, x), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('make', UNKNOWN.values(), ids=UNKNOWN)
def test_other_blocks_are_run_whole(make):
    block = build(make)
    assert split_block(block) is None
    with pytest.raises(GLSimError, match='merged_tokens=0'):
        merge_tokens([block], tokens(), 1, 2, call)


def wrap_qkv(block):
    block.attn.qkv = nn.Sequential(block.attn.qkv, nn.Linear(96, 96))  # as LoRA and quantisation do


def parametrise_qkv(block):
    parametrize.register_parametrization(block.attn.qkv, 'weight', nn.Hardtanh())


def parametrise_mlp(block):
    linear = next(child for child in block.modules() if isinstance(child, nn.Linear) and child.in_features == 32)
    parametrize.register_parametrization(linear, 'weight', nn.Hardtanh())


def replace_forward(block):
    attention = block.attn
    forward = attention.forward
    attention.forward = lambda *args, **kwargs: 2 * forward(*args, **kwargs)


def change_output_by_a_hook(block):
    block.attn.register_forward_hook(lambda module, args, out: 3 * out)


@pytest.mark.parametrize('make', ['mmpretrain', 'timm, DINOv2'])
@pytest.mark.parametrize(
    'change', [wrap_qkv, parametrise_qkv, parametrise_mlp, replace_forward, change_output_by_a_hook]
)
def test_a_changed_block_computes_what_it_computes_whole(make, change):
    block, x = build(BLOCKS[make]), tokens()
    before = block(x)
    change(block)
    wanted = block(x)
    assert not torch.allclose(wanted, before, atol=1e-3)
    torch.testing.assert_close(class_token_of(block, x), wanted[:, :1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(detach_patches(block, x), wanted, atol=1e-5, rtol=1e-4)


MODELS_TO_WATCH = {
    'GLSimViT': dict(type='GLSimViT', arch=ARCH, img_size=32, patch_size=8),
    'TimmViT': dict(type='TimmViT', model_name='vit_tiny_patch16_224', depth=3, embed_dim=32, num_heads=2, img_size=32),
    'mmpretrain': dict(type='VisionTransformer', arch=ARCH, img_size=32, patch_size=8, out_type='raw'),
}


@pytest.mark.parametrize('backbone', MODELS_TO_WATCH.values(), ids=MODELS_TO_WATCH)
def test_hooks_of_every_block_fire_in_both_passes(backbone):
    head = dict(type='AggregatorHead', num_classes=3, in_channels=32)
    settings = dict(type='mmpretrain.GLSimClassifier', backbone=backbone, head=head)
    model = MODELS.build(settings).eval()
    images, weights = torch.randn(2, 3, 32, 32), list(model.parameters())
    vit = model.backbone
    blocks = [*(vit.model.blocks if backbone['type'] == 'TimmViT' else vit.layers), *model.head.layers]
    wanted = model(images)
    gradients = torch.autograd.grad(wanted.sum(), weights)
    seen = {'forward': Counter(), 'backward': Counter()}
    for number, block in enumerate(blocks):
        block.register_forward_hook(lambda module, args, out, n=number: seen['forward'].update([n]))
        block.register_full_backward_hook(lambda module, inputs, outputs, n=number: seen['backward'].update([n]))
    found = model(images)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), weights), gradients, atol=1e-4, rtol=1e-4)
    of_each_pass = {**dict.fromkeys(range(3), 2), 3: 1}  # image and crop; the aggregator runs once
    assert seen == {'forward': of_each_pass, 'backward': of_each_pass}


def test_merging_does_not_pass_over_hooks():
    vit = MODELS.build(dict(MODELS_TO_WATCH['GLSimViT'], merged_tokens=2)).eval()
    vit.layers[-1].register_forward_hook(lambda module, args, out: None)
    with pytest.raises(GLSimError, match='without hooks'):
        vit.encode_crops(torch.randn(1, 3, 32, 32))


def test_autocast_leaves_gradients_to_all_weights():
    block, x = build(BLOCKS['timm, DINOv2']), tokens()
    with torch.autocast('cpu', torch.bfloat16):
        out = detach_patches(block, x)[:, 0] + class_token_of(block, x)[:, 0]
    out.float().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in block.parameters())


@pytest.mark.parametrize('backbone', ['GLSimViT', 'TimmViT'])
@pytest.mark.parametrize('with_cp', [False, True])
def test_backbones_give_the_same_tokens_with_less_work(backbone, with_cp):
    torch.manual_seed(0)
    if backbone == 'GLSimViT':
        cfg = dict(type=backbone, arch=ARCH, img_size=32, patch_size=8, with_cp=with_cp)
    else:
        cfg = dict(type=backbone, model_name='vit_small_patch14_reg4_dinov2', depth=2, img_size=56, with_cp=with_cp)
    vit = MODELS.build(dict(cfg)).train()
    images = torch.randn(2, 3, *((32, 40) if backbone == 'GLSimViT' else (56, 56)))
    whole = vit(images)[-1]
    torch.testing.assert_close(vit.encode_images(images), whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(vit.encode_crops(images), whole[:, 0], atol=1e-4, rtol=1e-4)
    wanted = torch.autograd.grad(whole[:, 0].square().sum(), list(vit.parameters()), allow_unused=True)
    for encode in (lambda x: vit.encode_images(x)[:, 0], vit.encode_crops):
        found = torch.autograd.grad(encode(images).square().sum(), list(vit.parameters()), allow_unused=True)
        for a, b in zip(found, wanted):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    with FlopCounterMode(display=False) as all_tokens:
        vit(images)
    with FlopCounterMode(display=False) as one_token:
        vit.encode_crops(images)
    blocks = len(vit.layers if backbone == 'GLSimViT' else vit.model.blocks)
    saved = 1 - one_token.get_total_flops() / all_tokens.get_total_flops()
    assert 0.5 / blocks < saved < 0.9 / blocks


def test_a_window_in_the_last_layer_stays():
    cfg = dict(type='GLSimViT', arch=ARCH, img_size=64, patch_size=8, window_size=4, global_indices=(0,))
    vit = MODELS.build(cfg).eval()
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(vit.encode_crops(images), vit(images)[-1][:, 0])
    torch.testing.assert_close(vit.encode_images(images), vit(images)[-1])


@pytest.mark.parametrize('make', ['mmpretrain', 'timm, DINOv2'])
def test_merging_nothing_changes_nothing_and_equal_tokens_merge_without_loss(make):
    block = build(BLOCKS[make])
    x = tokens()
    merged, bias = merge_tokens([block, block], x, 1, 0, call)
    torch.testing.assert_close(merged, block(block(x)), atol=1e-4, rtol=1e-4)
    assert bias.shape == (3, 1, 1, 9) and not bias.any()
    # Patches that come in equal pairs: one of each pair, counted twice, stands for both.
    twins = torch.cat([x[:, :1], x[:, 1:].repeat_interleave(2, dim=1)], dim=1)
    merged, bias = merge_tokens([block], twins, 1, 8, call)
    assert merged.shape == (3, 9, 32)
    torch.testing.assert_close(class_token_of(block, merged, bias), block(block(twins))[:, :1], atol=1e-4, rtol=1e-4)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 20))
def test_merged_tokens_of_a_crop(count):
    torch.manual_seed(0)
    vit = MODELS.build(dict(type='GLSimViT', arch=ARCH, img_size=32, patch_size=8, merged_tokens=count)).eval()
    images = torch.randn(2, 3, 32, 32)
    assert vit.encode_crops(images).shape == (2, 32)
    plain = copy.deepcopy(vit)
    plain.merged_tokens = 0
    assert torch.equal(vit(images)[-1], plain(images)[-1])  # images are never merged
    assert torch.equal(vit.encode_crops(images), plain.encode_crops(images)) == (count == 0)


@pytest.mark.parametrize('kwargs', [dict(merged_tokens=-1), dict(merged_tokens=2, window_size=2)])
def test_merging_out_of_range(kwargs):
    with pytest.raises(ValueError, match='merged_tokens'):
        MODELS.build(dict(type='GLSimViT', arch=ARCH, img_size=32, patch_size=8, **kwargs))
