"""Parts of models that do not fit are refused when the model is built, in a sentence that says what fits."""

from functools import partial

import pytest
import timm
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from tiny_run import write_config, write_images

from glsim_mm.apis import build_runner, load_config
from glsim_mm.apis.model import build_model
from glsim_mm.errors import GLSimError
from glsim_mm.models import AggregatorHead, GLSimClassifier
from glsim_mm.models.classifiers import check_parts

SIZES = dict(arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64), img_size=32, patch_size=8)
SELECTOR = dict(type='GLSimSelector', top_o=3)


def vit(name: str = 'GLSimViT', **options) -> dict:
    return dict(type=f'mmpretrain.{name}', **SIZES, **options)


def timm_vit(**options) -> dict:
    sizes = dict(model_name='vit_tiny_patch16_224', embed_dim=32, depth=2, num_heads=2, img_size=32)
    return dict(type='mmpretrain.TimmViT', **sizes, **options)


def head(name: str, **options) -> dict:
    return dict(type=f'mmpretrain.{name}', **{'num_classes': 5, 'in_channels': 32, **options})


AGGREGATOR = head('AggregatorHead', num_heads=2)
LINEAR = head('LinearClsHead')


def glsim(backbone: dict | None = None, neck: dict = SELECTOR, head: dict | None = AGGREGATOR) -> dict:
    return dict(type='mmpretrain.GLSimClassifier', backbone=backbone or vit(), neck=dict(neck), head=head)


def plain(backbone: dict, head: dict | None = LINEAR, neck: dict | None = None, kind: str = 'ImageClassifier') -> dict:
    return dict(type=f'mmpretrain.{kind}', backbone=backbone, neck=neck, head=head)


def run(model: torch.nn.Module, mode: str):
    samples = [DataSample().set_gt_label(i) for i in range(2)]
    return model.train(mode == 'loss')(torch.randn(2, 3, 32, 32), samples, mode=mode)


ONE_VECTOR = r'classifies one vector per image, but GLSimClassifier .* set model.head.type=.AggregatorHead'
ALL_TOKENS = r"LinearClsHead classifies one vector .* gives all tokens .* set model.backbone.out_type='cls_token'"
NO_CROP = r"fuses the CLS tokens .* ImageClassifier makes no crop: set model.type='GLSimClassifier'"
NO_NECK = r"GLSimSelector selects regions for GLSimClassifier .* set model.type='GLSimClassifier'"
WRONG_GLSIM = {
    'linear': (dict(head=LINEAR), ONE_VECTOR),
    'ViT head': (dict(head=head('VisionTransformerClsHead')), ONE_VECTOR),
    'MLP': (dict(head=head('StackedLinearClsHead', mid_channels=[16])), ONE_VECTOR),
    'ArcFace': (dict(head=head('ArcFaceClsHead')), ONE_VECTOR),
    'TransFG': (dict(head=head('PartContrastiveHead')), ONE_VECTOR),
    'CAL': (dict(head=head('CounterfactualHead')), ONE_VECTOR),
    'width': (dict(head=head('AggregatorHead', in_channels=64)), r'64 channels.* GLSimViT have 32: set model.head.in_'),
    'width of timm': (
        dict(backbone=timm_vit(), head=head('AggregatorHead', in_channels=64)),
        r'those of TimmViT have 32: set model.head.in_channels=32',
    ),
    'pooling': (dict(neck=dict(type='mmpretrain.GlobalAveragePooling')), r'GlobalAveragePooling selects no region'),
    'TransFG encoder': (dict(backbone=vit('PartSelectionViT', out_type='raw')), r'PartSelectionViT returns the tokens'),
    'ResNet': (dict(backbone=dict(type='mmpretrain.ResNet', depth=18)), r'ResNet is not a token backbone'),
    'LoRA of CLS': (
        dict(
            backbone=dict(
                type='mmpretrain.LoRAModel', module=vit('VisionTransformer'), rank=4, targets=[dict(type='qkv')]
            )
        ),
        r'all tokens of VisionTransformer: set out_type=.raw',
    ),
}
WRONG_PLAIN = {
    'raw': (plain(vit()), ALL_TOKENS),
    'featmap': (plain(vit(out_type='featmap')), ALL_TOKENS),
    'raw of mmpretrain': (plain(vit('VisionTransformer', out_type='raw')), ALL_TOKENS),
    'raw of timm': (plain(timm_vit()), ALL_TOKENS),
    'aggregator': (plain(vit(out_type='cls_token'), AGGREGATOR), NO_CROP),
    'aggregator on all tokens': (plain(vit(), AGGREGATOR), NO_CROP),
    'aggregator on mmpretrain': (plain(vit('VisionTransformer'), AGGREGATOR), NO_CROP),
    'selector': (plain(vit(), AGGREGATOR, SELECTOR), NO_NECK),
    'selector, linear': (plain(vit('VisionTransformer'), LINEAR, SELECTOR), NO_NECK),
    'selector in a retriever': (
        dict(type='mmpretrain.FaissRetriever', image_encoder=plain(vit(), None, SELECTOR), prototype='file.npy'),
        NO_NECK,
    ),
    'CAL head': (plain(vit(out_type='cls_token'), head('CounterfactualHead')), 'go together, got ImageClassifier'),
    'CAL without its parts': (plain(vit(out_type='cls_token'), kind='CALClassifier'), 'go together, got CALClassifier'),
    'width': (plain(vit(out_type='cls_token'), head('LinearClsHead', in_channels=64)), 'set model.head.in_channels=32'),
}


@pytest.mark.parametrize('case', WRONG_GLSIM)
def test_parts_that_do_not_fit_the_glsim_classifier(case):
    parts, sentence = WRONG_GLSIM[case]
    with pytest.raises(GLSimError, match=sentence):
        MODELS.build(glsim(**parts))


@pytest.mark.parametrize('case', WRONG_PLAIN)
def test_parts_of_glsim_in_another_classifier(case):
    config, sentence = WRONG_PLAIN[case]
    with pytest.raises(GLSimError, match=sentence):
        check_parts(MODELS.build(config))


@pytest.mark.parametrize('mode', ['loss', 'predict', 'tensor'])
def test_parts_of_glsim_say_so_themselves(mode):
    """For programs that build a model in their own way."""
    with pytest.raises(GLSimError, match=NO_NECK):
        run(MODELS.build(plain(vit(), LINEAR, SELECTOR)), mode)
    with pytest.raises(GLSimError, match=NO_CROP):
        run(MODELS.build(plain(vit(out_type='cls_token'), AGGREGATOR)), mode)


FITTING = {
    'GLSim': glsim(),
    'GLSim of mmpretrain': glsim(vit('VisionTransformer', out_type='raw')),
    'plain': plain(vit(out_type='cls_token')),
    'plain of timm': plain(timm_vit(out_type='cls_token'), head('VisionTransformerClsHead')),
    'pooled maps': plain(vit(out_type='featmap'), LINEAR, dict(type='mmpretrain.GlobalAveragePooling')),
    'mean of patches': plain(vit(out_type='avg_featmap')),
    'TransFG': plain(vit('PartSelectionViT'), head('PartContrastiveHead')),
    'ResNet': plain(
        dict(type='mmpretrain.ResNet', depth=18),
        head('LinearClsHead', in_channels=512),
        dict(type='mmpretrain.GlobalAveragePooling'),
    ),
}


@pytest.mark.parametrize('case', FITTING)
def test_parts_that_fit(case):
    model = MODELS.build(FITTING[case])
    check_parts(model, needs_head=True)
    assert run(model, 'loss')['loss'].isfinite()
    assert run(model, 'predict')[0].pred_score.shape == (5,)


def test_a_head_of_ones_own_fits():
    class FirstAndLast(AggregatorHead):
        def pre_logits(self, feats):
            return feats[-1][:, 0] + feats[-1][:, -1]

    own = FirstAndLast(5, 32, num_heads=2)
    assert run(MODELS.build(glsim(head=own)), 'predict')[0].pred_score.shape == (5,)


@pytest.mark.parametrize('mode', ['loss', 'predict'])
def test_a_model_without_a_head_gives_features_only(mode):
    model = MODELS.build(glsim(head=None))
    assert model.extract_feat(torch.randn(2, 3, 32, 32))[0].shape == (2, 2, 32)
    with pytest.raises(
        GLSimError, match='GLSimClassifier has no head to classify with: set model.head.*AggregatorHead'
    ):
        run(model, mode)
    with pytest.raises(GLSimError, match='ImageClassifier has no head .*LinearClsHead'):
        check_parts(MODELS.build(plain(vit(out_type='cls_token'), None)), needs_head=True)


SWAPS = {
    "type='ImageClassifier'": NO_NECK,
    "type='ImageClassifier', neck=None": NO_CROP,
    "head=dict(type='LinearClsHead', num_classes=2, in_channels=32)": ONE_VECTOR,
    'head=None': 'GLSimClassifier has no head',
}


@pytest.mark.parametrize('swap', SWAPS)
def test_runs_end_before_they_begin(swap, tmp_path):
    images = write_images(tmp_path / 'images')
    cfg = load_config(str(write_config(tmp_path / 'tiny_swap.py', images, f'model.update({swap})\n')))
    cfg.work_dir = str(tmp_path / 'work')
    with pytest.raises(GLSimError, match=SWAPS[swap]):
        build_runner(cfg)
    if swap != 'head=None':  # searches need none
        with pytest.raises(GLSimError, match=SWAPS[swap]):
            build_model(cfg)


def adapted(module: dict) -> dict:
    return dict(type='mmpretrain.LoRAModel', module=module, alpha=4, rank=4, targets=[dict(type='.*qkv')])


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> dict[str, str]:
    """Pretrained encoders, ours and timm's."""
    folder = tmp_path_factory.mktemp('lora')
    torch.save(MODELS.build(vit()).state_dict(), folder / 'ours.pth')
    model = timm.create_model('vit_tiny_patch16_224', embed_dim=32, depth=2, num_heads=2, img_size=32, num_classes=0)
    torch.save(model.state_dict(), folder / 'timm.pth')
    return dict(ours=str(folder / 'ours.pth'), timm=str(folder / 'timm.pth'))


@pytest.mark.parametrize('selector', ['GLSimSelector', 'ClassAttentionSelector'])
@pytest.mark.parametrize('encoder', ['GLSimViT', 'VisionTransformer', 'TimmViT'])
def test_lora_around_every_encoder(encoder, selector, weights):
    if encoder == 'TimmViT':
        backbone = partial(timm_vit, checkpoint_path=weights['timm'])
    else:
        init_cfg = dict(type='Pretrained', checkpoint=weights['ours'])
        backbone = partial(vit, encoder, out_type='raw', init_cfg=init_cfg)
    neck = dict(type=f'mmpretrain.{selector}', top_o=3)
    model = MODELS.build(glsim(adapted(backbone()), neck)).eval()
    model.init_weights()  # the Runner's; LoRAModel has loaded the weights before
    bare = MODELS.build(glsim(backbone(), neck)).eval()
    bare.init_weights()
    bare.head.load_state_dict(model.head.state_dict())
    assert model.layout == bare.layout
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images), bare(images))  # adapters begin as nothing
    run(model, 'loss')['loss'].backward()
    trained = {name for name, parameter in model.backbone.named_parameters() if parameter.grad is not None}
    assert len(trained) == 4 and all('.lora_' in name for name in trained)
    assert isinstance(model, GLSimClassifier) and run(model, 'predict')[0].pred_score.shape == (5,)
