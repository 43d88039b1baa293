"""Parameters and multiply-adds of configs, against formulas and against a model that computes."""

import pytest
import torch
from mmengine import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch.utils.flop_counter import FlopCounterMode

from glsim_mm.analysis.model_cost import count_cost, input_size
from glsim_mm.errors import GLSimError

SIZE, PATCH, DIM, LAYERS, CLASSES = 64, 16, 32, 2, 5
TOKENS = 1 + (SIZE // PATCH) ** 2


def config(model_type: str, selector: str = 'GLSimSelector', **loader) -> Config:
    arch = dict(embed_dims=DIM, num_layers=LAYERS, num_heads=2, feedforward_channels=4 * DIM)
    backbone = dict(type='GLSimViT', arch=arch, img_size=SIZE, patch_size=PATCH)
    head = dict(type='AggregatorHead', num_classes=CLASSES, in_channels=DIM, num_heads=2)
    model = dict(type=model_type, backbone=backbone, neck=dict(type=selector), head=head)
    if model_type == 'ImageClassifier':
        backbone['out_type'] = 'cls_token'
        model.update(neck=None, head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=DIM))
    pipeline = [dict(type='Resize', scale=72), dict(type='CenterCrop', crop_size=SIZE), dict(type='PackInputs')]
    return Config(dict(model=model, test_dataloader=dict(dataset=dict(pipeline=pipeline, **loader))))


def encoder(tokens: int) -> int:
    """Multiply-adds: patch embedding, and per layer projections, MLP and attention."""
    return (tokens - 1) * 3 * PATCH**2 * DIM + LAYERS * layer(tokens)


def layer(tokens: int) -> int:
    return 12 * tokens * DIM**2 + 2 * tokens**2 * DIM


def last_layer(tokens: int) -> int:
    """Keys and values of all tokens, everything else of the CLS token."""
    return 2 * tokens * DIM**2 + 10 * DIM**2 + 2 * tokens * DIM


def test_plain_model_costs_what_the_formula_says():
    cost = count_cost(config('ImageClassifier'))
    assert cost.image_size == SIZE
    assert cost.multiply_adds == encoder(TOKENS) + DIM * CLASSES


def test_glsim_costs_two_passes_and_the_aggregator():
    expected = 2 * encoder(TOKENS) - layer(TOKENS) + last_layer(TOKENS) + last_layer(2) + DIM * CLASSES
    assert count_cost(config('GLSimClassifier')).multiply_adds == expected


@pytest.mark.parametrize('selector', ['GLSimSelector', 'MAWSSelector', 'RolloutSelector'])
def test_it_is_what_a_computing_model_costs(selector):
    """On CPU the counter may not see the products within fused attention; the others are the same."""
    cfg = config('GLSimClassifier', selector)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, SIZE, SIZE), mode='tensor')
    cost = count_cost(cfg)
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    attention = (2 * LAYERS - 1) * 2 * TOKENS**2 * DIM + 2 * TOKENS * DIM + 2 * 2 * DIM
    seen = counter.get_total_flops() // 2
    assert cost.multiply_adds in (seen, seen + attention)


def test_weights_are_not_fetched():
    cfg = config('ImageClassifier')
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='https://example.invalid/vit.pth')
    assert count_cost(cfg).parameters > 0
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'  # the config is as it was


def test_size_is_that_of_the_last_step():
    assert input_size(config('ImageClassifier')) == SIZE


def test_a_pipeline_without_a_size_is_refused():
    cfg = config('ImageClassifier')
    cfg.test_dataloader.dataset.pipeline = [dict(type='Resize', scale=(72, 64)), dict(type='PackInputs')]
    with pytest.raises(GLSimError, match='crop_size'):
        input_size(cfg)
