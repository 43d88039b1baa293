"""Files converted to this project's names, to timm's and to the authors', and back."""

import argparse
import sys

import layout_writers as writers
import pytest
import timm
import torch
from golden_files import load_golden
from mmengine.config import Config
from mmpretrain.registry import MODELS
from test_layouts import CASES, save
from tiny_models import build_timm, pictures

from glsim_mm.checkpoints.backbone_loading import load_glsim_vit
from glsim_mm.checkpoints.checkpoint_files import load_checkpoint_file, read_checkpoint
from glsim_mm.checkpoints.conversion import convert_file
from glsim_mm.checkpoints.inspection import inspect_checkpoint
from glsim_mm.errors import GLSimError

SUFFIXES = ('.pth', '.safetensors')
MODEL = dict(
    type='mmpretrain.GLSimClassifier',
    backbone=dict(
        type='GLSimViT',
        arch=dict(embed_dims=64, num_layers=2, num_heads=1, feedforward_channels=128),
        img_size=32,
        patch_size=8,
        norm_cfg=dict(type='LN', eps=1e-12),
    ),
    neck=dict(type='GLSimSelector', similarity='l2', top_o=5),
    head=dict(type='AggregatorHead', num_classes=3, in_channels=64, num_layers=2),
)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def golden_file(shared_root):
    return str(shared_root / 'golden' / 'official_format_tiny.pth')


@pytest.mark.parametrize(('middle', 'last'), [SUFFIXES, SUFFIXES[::-1]])
def test_authors_checkpoint_comes_back_bit_by_bit(tmp_path, golden_file, middle, last):
    """Every tensor, also the one that their forward pass never reads, and the settings."""
    ours = convert_file(golden_file, tmp_path / f'ours{middle}')
    assert ours.num_tensors == 58
    theirs = convert_file(str(ours.file), tmp_path / f'theirs{last}', to='glsim')
    first, second = read_checkpoint(golden_file), read_checkpoint(theirs.file)
    assert 'model.anchor_class_token' in first.tensors
    assert same(first.tensors, second.tensors)
    assert first.settings == second.settings
    again = convert_file(str(theirs.file), tmp_path / f'again{middle}')
    assert same(read_checkpoint(again.file).tensors, read_checkpoint(ours.file).tensors)


def test_exported_file_is_laid_out_as_the_authors(tmp_path, golden_file):
    path = convert_file(golden_file, tmp_path / 'theirs.pth', to='glsim').file
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, weights_only=True)
        authors = torch.load(golden_file, weights_only=True)
    assert isinstance(content['config'], argparse.Namespace)
    assert content['config'].dynamic_top == authors['config'].dynamic_top
    assert same(content['model'], authors['model'])


@torch.no_grad()
@pytest.mark.parametrize('suffix', SUFFIXES)
def test_model_of_this_project_goes_to_the_authors_layout_and_back(tmp_path, suffix):
    model = MODELS.build(MODEL).eval()
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    torch.save({'state_dict': model.state_dict(), 'meta': {}, 'optimizer': {}}, tmp_path / 'ours.pth')
    theirs = convert_file(str(tmp_path / 'ours.pth'), tmp_path / f'theirs{suffix}', to='glsim', model=MODEL)
    settings = read_checkpoint(theirs.file).settings
    assert (settings['dynamic_top'], settings['sim_metric'], settings['aggregator_num_hidden_layers']) == (5, 'l2', 2)
    back = convert_file(str(theirs.file), tmp_path / f'back{suffix}')
    content = load_checkpoint_file(back.file)
    assert same(content['state_dict'], model.state_dict())
    rebuilt = MODELS.build(dict(back.meta['model'], type='mmpretrain.GLSimClassifier')).eval()
    rebuilt.load_state_dict(content['state_dict'], strict=True)
    assert rebuilt.neck.top_o == 5
    assert torch.equal(rebuilt(pictures(), mode='tensor'), model(pictures(), mode='tensor'))


def test_plain_vit_of_this_project_goes_to_the_authors_layout_and_back(tmp_path):
    config = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(MODEL['backbone'], out_type='cls_token'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=64),
    )
    model = MODELS.build(config)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'ours.pth')
    theirs = convert_file(str(tmp_path / 'ours.pth'), tmp_path / 'theirs.pth', to='glsim', model=config)
    back = convert_file(str(theirs.file), tmp_path / 'back.pth')
    assert back.meta['model']['type'] == 'ImageClassifier'
    assert same(load_checkpoint_file(back.file)['state_dict'], model.state_dict())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(backbone=dict(MODEL['backbone'], type='TimmViT')), 'TimmViT cannot be exported'),
        (dict(neck=dict(type='MAWSSelector')), 'MAWSSelector cannot be exported'),
        (dict(neck=dict(type='GLSimSelector', box_end='inclusive')), "box_end='inclusive' cannot be exported"),
        (dict(neck=dict(type='GLSimSelector', num_regions=3)), 'several regions cannot be exported'),
        (dict(neck=dict(type='GLSimSelector', top_o=(8, 16))), 'several regions cannot be exported'),
        (dict(head=dict(type='ArcFaceClsHead')), 'ArcFaceClsHead cannot be exported'),
        (dict(backbone=dict(MODEL['backbone'], img_size=(32, 64))), 'only square images'),
        (dict(neck=dict(MODEL['neck'], crop_size=16)), r'model\.neck\.crop_size'),
        (dict(neck=dict(MODEL['neck'], out_type='tokens')), r'model\.neck\.out_type'),
        (dict(test_cfg=dict(crop='adaptive')), r'model\.test_cfg\.crop'),
        (dict(backbone=dict(MODEL['backbone'], merged_tokens=1)), r'model\.backbone\.merged_tokens'),
        (dict(backbone=dict(MODEL['backbone'], norm_cfg=dict(type='LN', eps=1e-6))), r'model\.head\.norm_cfg'),
        (dict(head=dict(MODEL['head'], num_heads=2)), r'model\.head\.num_heads'),
        (dict(head=dict(MODEL['head'], mlp_ratio=2)), r'model\.head\.mlp_ratio'),
        (dict(head=dict(MODEL['head'], final_norm=dict(type='LN'))), r'model\.head\.final_norm'),
    ],
)
def test_models_that_the_authors_code_does_not_have(tmp_path, change, message):
    torch.save({'state_dict': MODELS.build(MODEL).state_dict()}, tmp_path / 'ours.pth')
    with pytest.raises(GLSimError, match=message):
        convert_file(str(tmp_path / 'ours.pth'), tmp_path / 'theirs.pth', to='glsim', model={**MODEL, **change})
    assert not (tmp_path / 'theirs.pth').exists()


@pytest.mark.parametrize('option', [dict(crop_cls_token=True), dict(layer_scale_init_value=1.0), dict(pre_norm=True)])
def test_parts_for_which_the_authors_model_has_no_place(tmp_path, option):
    model = MODELS.build(dict(MODEL, backbone=dict(MODEL['backbone'], **option)))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'ours.pth')
    with pytest.raises(GLSimError, match=r"the authors' model has no place for backbone\."):
        convert_file(str(tmp_path / 'ours.pth'), tmp_path / 'theirs.pth', to='glsim', model=MODEL)


def test_authors_layout_needs_a_config(tmp_path):
    torch.save({'state_dict': MODELS.build(MODEL).state_dict()}, tmp_path / 'ours.pth')
    with pytest.raises(GLSimError, match='give the config of the model'):
        convert_file(str(tmp_path / 'ours.pth'), tmp_path / 'theirs.pth', to='glsim')


@pytest.mark.parametrize(
    ('kind', 'suffix'), [('vit', '.pth'), ('dinov2', '.safetensors'), ('dinov2_giant', '.pth'), ('clip', '.pth')]
)
def test_timm_to_this_project_and_back_bit_by_bit(tmp_path, kind, suffix):
    state = build_timm(kind).state_dict()
    source = save(tmp_path, 'timm.safetensors', state)
    ours = convert_file(source, tmp_path / f'ours{suffix}')
    back = convert_file(str(ours.file), tmp_path / f'back{suffix}', to='timm')
    assert same(load_checkpoint_file(back.file), state)


def test_classifier_goes_along_unless_told_otherwise(tmp_path):
    state = build_timm('vit', num_classes=3).state_dict()
    source = save(tmp_path, 'timm.pth', state)
    ours = convert_file(source, tmp_path / 'ours.pth')
    assert 'head.fc.weight' in load_checkpoint_file(ours.file)['state_dict']
    assert same(load_checkpoint_file(convert_file(str(ours.file), tmp_path / 'b.pth', to='timm').file), state)
    for to in ('timm', 'mmpretrain'):
        done = convert_file(source, tmp_path / 'c.pth', to=to, keep_head=False)
        content = load_checkpoint_file(done.file)
        assert not [name for name in content.get('state_dict', content) if name.startswith('head')]
        assert len(done.left_out) == 2


@torch.no_grad()
@pytest.mark.parametrize(('kind', 'write', 'layout', 'name'), CASES)
def test_every_layout_becomes_a_file_that_timm_itself_loads(tmp_path, kind, write, layout, name):
    model = build_timm(kind)
    done = convert_file(save(tmp_path, name, write(model.state_dict())), tmp_path / 'out.safetensors', to='timm')
    assert done.layout == layout
    other = build_timm(kind)
    for parameter in other.parameters():
        parameter.zero_()
    timm.models.load_checkpoint(other, str(done.file), strict=True)
    assert (other.forward_features(pictures()) - model.forward_features(pictures())).abs().max() < 1e-5


@pytest.mark.parametrize('to', ['timm', 'mmpretrain'])
def test_positions_of_another_size(tmp_path, to):
    source = save(tmp_path, 'timm.pth', build_timm('vit').state_dict())
    done = convert_file(source, tmp_path / 'out.safetensors', to=to, img_size=(48, 64))
    positions = next(t for n, t in read_checkpoint(done.file).tensors.items() if n.endswith('pos_embed'))
    model = build_timm('vit', img_size=(48, 64))
    convert = sys.modules[type(model).__module__].checkpoint_filter_fn
    assert (positions - convert(build_timm('vit').state_dict(), model)['pos_embed']).abs().max() < 1e-6
    with pytest.raises(GLSimError, match='no whole number of patches'):
        convert_file(source, tmp_path / 'out.pth', to=to, img_size=(50, 64))


def test_converted_file_trains_through_init_cfg(tmp_path):
    """The names under ``backbone.`` are what mmengine's own loading wants, without this package's loaders."""
    model = build_timm('vit')
    path = convert_file(save(tmp_path, 'a.npz', writers.google_npz(model.state_dict())), tmp_path / 'out.pth').file
    arch = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128)
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    config = dict(type='mmpretrain.GLSimViT', arch=arch, img_size=32, patch_size=8)
    backbone, other = MODELS.build(dict(config, init_cfg=init_cfg)), MODELS.build(config)
    backbone.init_weights()
    assert torch.equal(backbone.layers[1].attn.proj.weight, model.blocks[1].attn.proj.weight)
    load_glsim_vit(other, str(path))
    assert torch.equal(other.pos_embed, backbone.pos_embed)


def test_target_that_cannot_be_written(tmp_path):
    source = save(tmp_path, 'timm.pth', build_timm('vit').state_dict())
    with pytest.raises(GLSimError, match=r'ends in \.pth or \.safetensors'):
        convert_file(source, tmp_path / 'out.bin')
    (tmp_path / 'file').write_text('')
    with pytest.raises(GLSimError, match=r'out\.pth cannot be written'):
        convert_file(source, tmp_path / 'file' / 'out.pth')
    with pytest.raises(ValueError, match='keras'):
        convert_file(source, tmp_path / 'out.pth', to='keras')


def test_layout_given_twice(tmp_path):
    source = save(tmp_path, 'timm.pth', build_timm('vit').state_dict())
    assert convert_file(f'vit://{source}', tmp_path / 'out.pth', layout='timm').layout == 'timm'
    with pytest.raises(GLSimError, match='has a scheme already'):
        convert_file('https://host/a.pth', tmp_path / 'out.pth', layout='timm')


def test_inspect(tmp_path, golden_file):
    path = save(tmp_path, 'reg.pth', writers.dinov2(build_timm('dinov2_reg').state_dict()))
    text = '\n'.join(inspect_checkpoint(path))
    assert 'layout      dinov2' in text
    assert '2 layers, 32 channels, MLP 128' in text
    assert '4x4 patches, 32x32 px' in text
    assert 'CLS token, 4 registers, LayerScale' in text
    assert 'left out    mask_token' in text
    assert "TimmViT(model_name=..., checkpoint_path='" in text
    text = '\n'.join(inspect_checkpoint(golden_file))
    assert 'settings    dataset_name=cub, image_size=64, dynamic_top=2, sim_metric=cos' in text
    assert 'left out    anchor_class_token\nmodel\n' in text
    assert "'type': 'GLSimClassifier'" in text
    clip = save(tmp_path, 'clip.pth', writers.clip(build_timm('clip').state_dict()))
    lines = inspect_checkpoint(clip)
    config = Config.fromstring('backbone = ' + '\n'.join(lines[lines.index('backbone') + 1 :]), '.py').backbone
    config['arch']['num_heads'] = 2
    load_glsim_vit(MODELS.build(dict(config, type='mmpretrain.GLSimViT')), clip)


def test_golden_logits_after_the_whole_way(tmp_path, golden_file, shared_root):
    """Converted, exported, converted again: still the authors' numbers."""
    ours = convert_file(golden_file, tmp_path / 'a.safetensors')
    theirs = convert_file(str(ours.file), tmp_path / 'b.pth', to='glsim')
    again = convert_file(str(theirs.file), tmp_path / 'c.safetensors')
    content = load_checkpoint_file(again.file)
    model = MODELS.build(dict(content['meta']['model'], type='mmpretrain.GLSimClassifier')).eval()
    model.load_state_dict(content['state_dict'], strict=True)
    arrays = load_golden(shared_root / 'golden', 'cos_64px_p16_top2_agg2').arrays
    with torch.no_grad():
        assert (model(arrays['images'], mode='tensor') - arrays['logits']).abs().max() <= 1e-4
