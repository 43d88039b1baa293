"""Weights of every layout compute what timm computes with them, in GLSimViT and in TimmViT."""

import sys

import layout_writers as writers
import numpy as np
import pytest
import timm
import torch
from mmpretrain.registry import MODELS
from safetensors.torch import save_file
from tiny_models import NAMES, build_timm, pictures

from glsim_mm.checkpoints.addresses import read_backbone
from glsim_mm.checkpoints.backbone_loading import load_glsim_vit, load_timm_vit
from glsim_mm.checkpoints.inspection import backbone_config
from glsim_mm.checkpoints.vit_layouts import LAYOUTS, find_layout, read_vit
from glsim_mm.checkpoints.vit_names import to_mmpretrain
from glsim_mm.checkpoints.vit_weights import describe, resize_position_embedding
from glsim_mm.errors import GLSimError

TOLERANCE = 1e-5


def save(folder, name, content):
    path = folder / name
    if name.endswith('.npz'):
        np.savez(path, **content)
    elif name.endswith('.safetensors'):
        save_file({key: tensor.contiguous().clone() for key, tensor in content.items()}, path)
    else:
        torch.save(content, path)
    return str(path)


# kind of model, function that writes it in another project's layout, name of the layout, file
CASES = [
    ('vit', lambda state: state, 'timm', 'vit.safetensors'),
    ('vit', lambda state: {'state_dict': {f'module.{k}': v for k, v in state.items()}}, 'timm', 'vit.pth'),
    ('vit', writers.open_clip_timm, 'timm', 'open_clip.safetensors'),
    ('vit', writers.google_npz, 'vit-npz', 'augreg.npz'),
    ('vit', writers.big_vision_npz, 'vit-npz', 'big_vision.npz'),
    ('vit', writers.hf_vit, 'hf-vit', 'model.safetensors'),
    ('deit3', lambda state: state, 'timm', 'deit3.pth'),
    ('dinov2', writers.dinov2, 'dinov2', 'dinov2.pth'),
    (
        'dinov2',
        lambda state: {'teacher': {f'backbone.{k}': v for k, v in writers.dinov2(state).items()}},
        'dinov2',
        'a.pth',
    ),
    ('dinov2', writers.hf_dinov2, 'hf-dinov2', 'dinov2.safetensors'),
    ('dinov2_giant', writers.dinov2, 'dinov2', 'giant.pth'),
    ('dinov2_giant', writers.hf_dinov2, 'hf-dinov2', 'giant.safetensors'),
    ('clip', writers.clip, 'clip', 'clip.pt'),
    ('clip', lambda state: writers.clip(state, prefix=''), 'clip', 'tower.safetensors'),
    ('clip', writers.hf_clip, 'hf-clip', 'clip.safetensors'),
]
ONLY_TIMM = [
    ('dinov2_reg', writers.dinov2, 'dinov2', 'reg.pth'),
    ('dinov2_reg', lambda state: writers.hf_dinov2(state, 'dinov2_with_registers.'), 'hf-dinov2', 'reg.safetensors'),
    ('dinov3', writers.dinov3, 'dinov3', 'dinov3.pth'),
    ('dinov3_qkvb', writers.dinov3, 'dinov3', 'dinov3.pth'),
    ('dinov3_qkvb', writers.hf_dinov3, 'hf-dinov3', 'dinov3.safetensors'),
    ('dinov3_plus', writers.dinov3, 'dinov3', 'dinov3.pth'),
    ('dinov3_plus', writers.hf_dinov3, 'hf-dinov3', 'dinov3.safetensors'),
]


@torch.no_grad()
@pytest.mark.parametrize(('kind', 'write', 'layout', 'name'), CASES)
def test_glsim_vit_computes_what_timm_computes(tmp_path, kind, write, layout, name):
    model = build_timm(kind)
    path = save(tmp_path, name, write(model.state_dict()))
    weights = read_backbone(path)
    assert weights.layout == layout
    config = backbone_config(describe(weights.tensors), weights.layout)
    config['arch']['num_heads'] = 2
    config['norm_cfg']['eps'] = model.norm.eps
    backbone = MODELS.build(dict(config, type='mmpretrain.GLSimViT')).eval()
    report = load_glsim_vit(backbone, path)
    assert len(report.loaded) == len(backbone.state_dict())
    assert not report.unexpected
    expected = model.forward_features(pictures())
    assert expected.abs().max() > 0.5
    assert (backbone(pictures())[-1] - expected).abs().max() < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize(('kind', 'write', 'layout', 'name'), [*CASES, *ONLY_TIMM])
def test_timm_computes_the_same_with_weights_that_come_back(tmp_path, kind, write, layout, name):
    model = build_timm(kind)
    path = save(tmp_path, name, write(model.state_dict()))
    assert read_backbone(path).layout == layout
    other = build_timm(kind)
    for parameter in other.parameters():
        parameter.zero_()
    load_timm_vit(other, path)
    assert (other.forward_features(pictures()) - model.forward_features(pictures())).abs().max() < TOLERANCE


def test_bias_of_zeros_fits_both_of_timms_dinov3_models(tmp_path):
    """The published models were trained without; the authors' files hold zeros for the bias all the same."""
    state = build_timm('dinov3_qkvb').state_dict()
    for name, tensor in state.items():
        if name.endswith('_bias'):
            tensor.zero_()
    path = save(tmp_path, 'dinov3.pth', writers.dinov3(state))
    plain, with_bias = build_timm('dinov3'), build_timm('dinov3_qkvb')
    load_timm_vit(plain, path)
    load_timm_vit(with_bias, path)
    with torch.no_grad():
        tokens = [model.forward_features(pictures()) for model in (plain, with_bias)]
    assert (tokens[0] - tokens[1]).abs().max() < TOLERANCE


def test_bias_of_values_is_not_lost_in_a_model_without(tmp_path):
    path = save(tmp_path, 'dinov3.pth', writers.dinov3(build_timm('dinov3_qkvb').state_dict()))
    with pytest.raises(GLSimError, match=r'blocks\.0\.attn\.q_bias'):
        load_timm_vit(build_timm('dinov3'), path)


@pytest.mark.parametrize(('kind', 'write', 'layout', 'name'), ONLY_TIMM)
def test_what_glsim_vit_cannot_compute_is_refused_with_the_name_of_what_can(tmp_path, kind, write, layout, name):
    path = save(tmp_path, name, write(build_timm(kind).state_dict()))
    backbone = MODELS.build(dict(type='mmpretrain.GLSimViT', arch='vit-tiny', img_size=32, patch_size=8))
    with pytest.raises(GLSimError, match='use the backbone TimmViT') as error:
        load_glsim_vit(backbone, path)
    assert path in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('kind', 'write', 'layout', 'name'), [*CASES, *ONLY_TIMM])
def test_every_tensor_is_used(kind, write, layout, name):
    """No reader drops what the forward pass reads: each tensor of timm's model changes what was read."""
    whole = build_timm(kind).state_dict()
    before = read_vit(_flat(write(whole)), name).tensors
    for key, tensor in whole.items():
        after = read_vit(_flat(write({**whole, key: tensor + 1})), name).tensors
        assert any(not torch.equal(before[other], after[other]) for other in before), key


def test_classifier_is_kept_where_it_reads_the_cls_token():
    model = build_timm('vit', num_classes=3)
    head = (model.head.weight.detach(), model.head.bias.detach())
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith('head.')}
    for tensors in (
        model.state_dict(),
        writers.hf_vit(state, head),
        {name: torch.from_numpy(np.array(array)) for name, array in writers.google_npz(state, head).items()},
        {
            **{f'backbone.{k}': v for k, v in to_mmpretrain(state).tensors.items()},
            'head.fc.weight': head[0],
            'head.fc.bias': head[1],
        },
    ):
        weights = read_vit(tensors, 'file')
        assert torch.equal(weights.tensors['head.weight'], head[0])
        assert torch.equal(weights.tensors['head.bias'], head[1])
        assert not [name for name in weights.left_out if 'pre_logits' not in name and 'pooler' not in name]


def test_classifier_of_other_features_is_left_out():
    state = build_timm('vit').state_dict()
    wide = writers.hf_vit(state, (torch.zeros(3, 64), torch.zeros(3)))
    assert 'head.weight' not in read_vit(wide, 'file').tensors
    assert 'classifier.weight' in read_vit(wide, 'file').left_out


def test_stacked_array_of_no_encoder_is_left_out():
    arrays = writers.big_vision_npz(build_timm('vit').state_dict())
    arrays['params/Transformer/encoderblock/drop_path/rate'] = np.zeros(2, np.float32)
    assert read_vit(_flat(arrays), 'file').left_out == ['params/Transformer/encoderblock/drop_path/rate']


def test_text_tower_is_left_out():
    weights = read_vit(writers.clip(build_timm('clip').state_dict()), 'clip.pt')
    assert {'positional_embedding', 'logit_scale', 'visual.proj'} == set(weights.left_out)
    assert weights.tensors['pos_embed'].shape == (1, 17, 32)


def test_layout_can_be_forced_and_is_checked():
    state = build_timm('vit').state_dict()
    assert read_vit(state, 'f', 'timm').layout == 'timm'
    with pytest.raises(GLSimError, match="f does not hold a ViT in the layout 'dinov2'"):
        read_vit(state, 'f', 'dinov2')
    with pytest.raises(GLSimError, match="there is no layout 'dinov9'"):
        read_vit(state, 'f', 'dinov9')


def test_unknown_names_are_named():
    with pytest.raises(GLSimError, match=r'resnet\.pth does not hold a ViT in any layout .*conv1\.bias, bn1\.weight'):
        read_vit({'conv1.bias': torch.ones(1), 'bn1.weight': torch.ones(1)}, 'resnet.pth')


@pytest.mark.parametrize(('kind', 'write', 'layout', 'name'), [*CASES, *ONLY_TIMM])
def test_missing_tensor_is_named(kind, write, layout, name):
    whole = _flat(write(build_timm(kind).state_dict()))
    for key in [key for key in whole if '1' in key and 'norm' in key.lower() or 'ln_1' in key]:
        part = {other: tensor for other, tensor in whole.items() if other != key}
        if find_layout(part) is None or 'encoderblock/' in key:
            continue  # the name is one by which the layout is told
        with pytest.raises(GLSimError, match=r'vit\.file.*lack.*norm'):
            read_vit(part, 'vit.file')


@pytest.mark.parametrize('index', [1, 10**12])
def test_missing_block_is_named(index):
    state = build_timm('vit').state_dict()
    moved = {name.replace('blocks.0.', f'blocks.{index + 1}.'): tensor for name, tensor in state.items()}
    moved['blocks.0.norm1.weight'] = torch.ones(32)  # by which the layout is told
    del moved['blocks.1.norm1.weight']
    with pytest.raises(GLSimError, match=r'vit\.file.*lack blocks\.'):
        read_vit(moved, 'vit.file')


def test_names_of_layouts_and_models_are_consistent():
    assert all(layout.kind.startswith(name) for name, layouts in LAYOUTS.items() for layout in layouts)
    assert {case[0] for case in [*CASES, *ONLY_TIMM]} == set(NAMES)


def _flat(content):
    while any(isinstance(value, dict) for value in content.values()):
        content = next(value for value in content.values() if isinstance(value, dict))
    return {name: torch.as_tensor(np.array(value)) for name, value in content.items()}


@torch.no_grad()
@pytest.mark.parametrize(
    ('kind', 'write', 'name'),
    [
        ('vit', writers.google_npz, 'augreg.npz'),
        ('vit', writers.big_vision_npz, 'big_vision.npz'),
        ('dinov2', writers.dinov2, 'dinov2.pth'),
        ('dinov2_giant', writers.dinov2, 'giant.pth'),
        ('dinov2_reg', writers.dinov2, 'reg.pth'),
        ('dinov3', writers.dinov3, 'dinov3.pth'),
        ('dinov3_plus', writers.dinov3, 'dinov3.pth'),
        ('clip', writers.clip, 'clip.pth'),
        ('vit', writers.open_clip_timm, 'open_clip.pth'),
    ],
)
def test_timms_own_converters_read_the_same_from_these_files(tmp_path, kind, write, name):
    """The files of these tests are what timm, too, takes for that project's."""
    path = save(tmp_path, name, write(build_timm(kind).state_dict()))
    theirs, ours = build_timm(kind), build_timm(kind)
    for parameter in [*theirs.parameters(), *ours.parameters()]:
        parameter.zero_()
    if name.endswith('.npz'):
        theirs.load_pretrained(path)
    else:
        convert = sys.modules[type(theirs).__module__].checkpoint_filter_fn
        theirs.load_state_dict(convert(torch.load(path, weights_only=True), theirs), strict=kind != 'clip')
    load_timm_vit(ours, path)
    for key, tensor in theirs.state_dict().items():
        assert (ours.state_dict()[key] - tensor).abs().max() < TOLERANCE, key


@torch.no_grad()
def test_real_vit_s14(shared_root):
    """The supplied DINOv2 ViT-S/14, float16 in its file, 518 px, on images of other sizes."""
    path = str(shared_root / 'weights' / 'vit_small_patch14_saliency_timm_fp16.safetensors')
    model = timm.create_model('vit_small_patch14_dinov2', num_classes=0, dynamic_img_size=True).eval()
    load_timm_vit(model, path)
    config = dict(
        type='mmpretrain.GLSimViT', arch='vit-small', img_size=518, patch_size=14, layer_scale_init_value=1e-5
    )
    backbone = MODELS.build(config).eval()
    report = load_glsim_vit(backbone, path)
    assert len(report.loaded) == 174
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    assert torch.equal(backbone.pos_embed, model.pos_embed)
    model.patch_embed.img_size = None
    stored = backbone.pos_embed.data
    for height, width in ((224, 224), (140, 280)):
        images = pictures(height, width)
        expected = model.forward_features(images)
        # timm resizes positions at run time with anti-aliasing, mmpretrain without: give both the same.
        grid = (height // 14, width // 14)
        backbone.pos_embed.data = resize_position_embedding(stored, (37, 37), grid)
        backbone.patch_resolution = grid
        assert (backbone(images)[-1] - expected).abs().max() < 1e-4
