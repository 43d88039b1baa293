"""Numbers of the authors' code with other settings than the paper's, read from checkpoints laid out as theirs."""

import argparse

import numpy as np
import pytest
import torch
from golden_files import Golden, load_golden
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from test_parity import assert_near, data_samples

from glsim_mm.apis.model import load_model
from glsim_mm.checkpoints.addresses import load_whole
from glsim_mm.checkpoints.authors_names import read_official
from glsim_mm.checkpoints.authors_timm import read_timm_variant
from glsim_mm.checkpoints.checkpoint_files import read_checkpoint
from glsim_mm.checkpoints.conversion import convert_file, write_official_config
from glsim_mm.errors import GLSimError

VIT = (
    'reducer_none_64px_p16', 'classifier_avg_cls_64px_p16', 'representation_size_128_64px_p16',
    'aggregator_norm_off_64px_p8', 'dynamic_anchor_off_64px_p16', 'dynamic_anchor_off_reducer_none_48px_p8',
)  # fmt: skip
# Their variant of timm's models.
TIMM = (
    'timm_crop_64px_p16', 'timm_dinov2_84px_p14', 'timm_dinov2_reg4_84px_p14', 'timm_select_top_k_64px_p16',
    'timm_select_top_k_dwsc_64px_p16',
)  # fmt: skip


@pytest.fixture(params=[*VIT, *TIMM])
def golden(request, shared_root) -> Golden:
    return load_golden(shared_root / 'golden', f'authors_{request.param}')


def write(golden, path, **change):
    """A checkpoint as the authors write theirs."""
    weights = {f'model.{name}': tensor for name, tensor in golden.state_dict.items()}
    settings = argparse.Namespace(**{**golden.settings['authors_args'], **change})
    torch.save(dict(config=settings, model=weights), path)
    return str(path)


def load(golden, path, **change):
    """The model that a checkpoint with these settings and weights describes."""
    whole = load_whole(write(golden, path, **change))
    config = whole['meta']['model']
    overrides = golden.settings.get('authors_model_overrides', {})  # theirs was built smaller than its name says
    config['backbone'].update(overrides)
    if 'num_heads' in config['head'] and overrides:
        config['head'].update(num_heads=overrides['num_heads'])
    model = MODELS.build(dict(config, type=f'mmpretrain.{config["type"]}'))
    model.load_state_dict(whole['state_dict'], strict=True)
    return model.eval()


@torch.no_grad()
def test_forward(golden, tmp_path):
    arrays, model = golden.arrays, load(golden, tmp_path / 'w.pth')
    tokens = model.extract_feat(arrays['images'], stage='backbone')[-1]
    patches = tokens[:, model.layout.num_extra_tokens :]
    assert_near(torch.cat([tokens[:, :1], patches], dim=1), arrays['encoder_tokens'])
    regions = model.extract_feat(arrays['images'], stage='selector')
    if 'similarity' in arrays:
        assert_near(regions.scores, arrays['similarity'])
        assert torch.equal(regions.indices.sort(dim=1).values, arrays['topk_indices'])
    if 'boxes_xyxy' in arrays:
        assert torch.equal(regions.boxes, arrays['boxes_xyxy'])
    (sequence,) = model.extract_feat(arrays['images'], stage='neck')
    assert_near(model.head.aggregate(sequence), arrays['aggregator_out'])
    if 'cls_tokens' in arrays:
        assert_near(model.head.reducer(sequence), arrays['cls_tokens'])
    if 'selected_tokens' in arrays:
        assert_near(sequence[:, 1:], arrays['selected_tokens'])
    assert_near(model(arrays['images'], mode='tensor'), arrays['logits'])
    samples = model.predict(arrays['images'])
    assert_near(torch.stack([sample.pred_score for sample in samples]), arrays['logits'].softmax(dim=1))


def test_loss_and_gradients(golden, tmp_path):
    model = load(golden, tmp_path / 'w.pth', hidden_dropout_prob=0.0).train()
    loss = model.loss(golden.arrays['images'], data_samples(golden.arrays['labels']))['loss']
    assert_near(loss, golden.arrays['loss_label_smoothing_0_1'])
    loss.backward()
    actual = {name: parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    expected = gradient_norms(golden)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def gradient_norms(golden):
    """The authors' gradient norms under our names, those of queries, keys and values as one."""
    norms = {name: torch.tensor([value]) for name, value in golden.settings['grad_norms'].items()}
    if golden.settings['authors_variant'].startswith('ViT'):
        renamed = read_official(norms)[0]
    else:
        state_dict = read_timm_variant(golden.settings['authors_args'], golden.state_dict)[0]
        names = {id(tensor): name for name, tensor in state_dict.items()}
        renamed = {names[id(golden.state_dict[name])]: norm for name, norm in norms.items()}
    return {name: value.norm().item() for name, value in renamed.items()}


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_checkpoint_comes_back_bit_by_bit(golden, tmp_path, suffix):
    source = write(golden, tmp_path / 'w.pth')
    ours = convert_file(source, tmp_path / f'ours{suffix}')
    theirs = convert_file(str(ours.file), tmp_path / f'theirs{suffix}', to='glsim')
    first, second = read_checkpoint(source), read_checkpoint(theirs.file)
    assert first.settings == second.settings
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


@pytest.mark.parametrize('name', VIT)
def test_export_writes_settings_that_give_the_same_model(shared_root, tmp_path, name):
    """Also of a model that did not come from the authors."""
    golden = load_golden(shared_root / 'golden', f'authors_{name}')
    whole = load_whole(write(golden, tmp_path / 'w.pth', hidden_dropout_prob=0.0))
    model = whole['meta']['model']
    torch.save({'state_dict': whole['state_dict']}, tmp_path / 'ours.pth')
    theirs = convert_file(str(tmp_path / 'ours.pth'), tmp_path / 'theirs.pth', to='glsim', model=model)
    assert load_whole(str(theirs.file))['meta']['model'] == model


@pytest.mark.parametrize('name', TIMM[:4:3])
def test_encoder_of_the_timm_variant(shared_root, tmp_path, name):
    """For another model to start from; a backbone with a final norm cannot."""
    golden = load_golden(shared_root / 'golden', f'authors_{name}')
    path = write(golden, tmp_path / 'w.pth')
    arch = dict(embed_dims=64, num_layers=2, num_heads=1, feedforward_channels=256)
    config = dict(type='mmpretrain.GLSimViT', arch=arch, img_size=64, patch_size=16, crop_cls_token=True)
    init_cfg = dict(type='Pretrained', checkpoint=f'glsim://{path}')
    backbone = MODELS.build(dict(config, norm_cfg=dict(type='LN', eps=1e-6), final_norm=False, init_cfg=init_cfg))
    backbone.init_weights()
    with torch.no_grad():
        assert_near(backbone(golden.arrays['images'])[-1], golden.arrays['encoder_tokens'])
    assert torch.equal(backbone.crop_cls_token, golden.state_dict['cls_token_crops'])
    with pytest.raises(GLSimError, match='lacks ln1'):
        MODELS.build(dict(config, init_cfg=init_cfg)).init_weights()
    name, overrides = golden.settings['authors_args']['model_name'], golden.settings['authors_model_overrides']
    timm_config = dict(type='mmpretrain.TimmViT', model_name=name.removeprefix('gls'), img_size=64, **overrides)
    other = MODELS.build(dict(timm_config, final_norm=False, crop_cls_token=True, init_cfg=init_cfg))
    other.init_weights()
    assert torch.equal(other.crop_cls_token, golden.state_dict['cls_token_crops'])
    with torch.no_grad():
        assert_near(other(golden.arrays['images'])[-1], golden.arrays['encoder_tokens'])
    with pytest.raises(GLSimError, match='no final LayerNorm'):
        convert_file(path, tmp_path / 'timm.pth', to='timm')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(adapter='convpass'), "adapter='convpass'"),
        (dict(inference_crops=False), 'inference_crops=False'),
        (dict(classifier='cls_pool'), "classifier='cls_pool'"),
        (dict(aggregator_type='pooling'), "aggregator_type='pooling'"),
        (dict(aggregator_type='conv'), "aggregator_type='conv' without select_top_k"),
        (dict(aggregator_type='dwsc', select_top_k=True), r'weights have aggregator\.'),
        (dict(dynamic_anchor=False), 'dynamic_anchor=False'),
        (dict(dynamic_anchor=None), 'do not say dynamic_anchor'),
        (dict(model_name=None), 'do not say model_name'),
        (dict(image_size=70), 'image_size=70'),
        (dict(model_name='glsvit_giant_patch14_dinov2.lvd142m'), 'SiLU'),
        (dict(model_name='glsresnet50'), 'timm has no plain ViT resnet50'),
    ],
)
def test_timm_variants_that_are_not_built_here(shared_root, tmp_path, change, message):
    golden = load_golden(shared_root / 'golden', 'authors_timm_crop_64px_p16')
    with pytest.raises(GLSimError, match=message):
        load_whole(write(golden, tmp_path / 'w.pth', **change))


def test_timm_variant_pools_the_selected_tokens_only(shared_root, tmp_path):
    """Their classifier='pool' averages what the aggregator gives, unless there is a crop."""
    for name, pooling in (('crop_64px_p16', 'first'), ('select_top_k_64px_p16', 'avg')):
        golden = load_golden(shared_root / 'golden', f'authors_timm_{name}')
        path = write(golden, tmp_path / 'w.pth', classifier='pool', token_drop=0.2, sd=0.1)
        head = load_whole(path)['meta']['model']['head']
        assert (head.get('pooling', 'first'), head['token_drop_rate'], head['drop_path_rate']) == (pooling, 0.2, 0.1)


@pytest.mark.parametrize('classifier', ['pool', 'cls_pool'])
def test_timm_variant_without_a_crop_that_pools(shared_root, tmp_path, classifier):
    """It is timm's plain ViT with another classifier, of which the weights may show nothing."""
    golden = load_golden(shared_root / 'golden', 'authors_timm_crop_64px_p16')
    plain = {name: one for name, one in golden.state_dict.items() if not name.startswith(('aggregator', 'cls_token_c'))}
    plain.update({'norm.weight': torch.ones(64), 'norm.bias': torch.zeros(64)})
    golden = golden._replace(state_dict=plain)
    path = write(golden, tmp_path / 'w.pth', classifier='cls', dynamic_anchor=False)
    assert 'head.fc.weight' in load_whole(path)['state_dict']
    with pytest.raises(GLSimError, match=f"classifier='{classifier}'"):
        load_whole(write(golden, tmp_path / 'w.pth', classifier=classifier, dynamic_anchor=False))


@torch.no_grad()
def test_boxes_of_a_real_dinov2_are_those_of_tokens_without_the_norm(shared_root):
    """The authors' computation, written out on timm's model without its final norm."""
    photos = sorted((shared_root / 'data' / 'cub50').rglob('*.jpg'))[::700]
    pixels = [np.asarray(Image.open(photo).convert('RGB').resize((112, 112))) for photo in photos]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().sub(120).div(58)
    weights = str(shared_root / 'weights' / 'vit_small_patch14_saliency_timm_fp16.safetensors')
    settings = dict(type='TimmViT', model_name='vit_small_patch14_dinov2', img_size=112, checkpoint_path=weights)
    head = dict(type='AggregatorHead', num_classes=2, in_channels=384)
    boxes = {}
    for final_norm in (True, False):
        backbone = dict(settings, final_norm=final_norm)
        model = MODELS.build(dict(type='mmpretrain.GLSimClassifier', backbone=backbone, head=head)).eval()
        model.backbone.init_weights()
        boxes[final_norm] = model.extract_feat(images, stage='selector').boxes
    x = model.backbone.model
    tokens = x.blocks(x.norm_pre(x._pos_embed(x.patch_embed(images))))
    best = torch.cosine_similarity(tokens[:, :1], tokens[:, 1:], dim=-1).topk(8).indices
    starts = torch.stack([(best % 8).amin(1), (best // 8).amin(1)], dim=1)
    ends = torch.stack([(best % 8).amax(1), (best // 8).amax(1)], dim=1).maximum(starts + 1)
    assert torch.equal(boxes[False], 14 * torch.cat([starts, ends], dim=1))
    assert not torch.equal(boxes[True], boxes[False])


@pytest.mark.parametrize('name', [VIT[0], TIMM[0]])
def test_image_size_goes_along_with_settings_and_config(shared_root, tmp_path, name):
    """Otherwise the model would be built, and the photos prepared, for the old size."""
    golden = load_golden(shared_root / 'golden', f'authors_{name}')
    source = write(golden, tmp_path / 'w.pth', test_resize_size=70)
    done = convert_file(source, tmp_path / 'ours.safetensors', img_size=(96, 96))
    config = Config.fromfile(write_official_config(done, tmp_path / 'ours.py'))
    steps = config.test_dataloader.dataset.pipeline[1:3]
    assert (steps[0]['scale'], steps[1]['crop_size']) == ((128, 128), 96)
    overrides = golden.settings.get('authors_model_overrides', {})
    config.model.backbone.update(overrides)
    if overrides:
        config.model.head.num_heads = 1
    assert load_model(config, str(done.file), 'cpu')(torch.rand(1, 3, 96, 96)).shape == (1, 11)
    theirs = convert_file(str(done.file), tmp_path / 'theirs.pth', to='glsim')
    assert load_whole(str(theirs.file))['meta']['model']['backbone']['img_size'] == 96
    with pytest.raises(GLSimError, match='square images'):
        convert_file(source, tmp_path / 'wide.pth', img_size=(96, 64))
