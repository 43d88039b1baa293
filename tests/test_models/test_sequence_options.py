"""What the head reads and how: all tokens, selected tokens, no crop, pooling, widths and kinds of layers."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from glsim_mm.analysis.crop_curve import measure_crop_curve
from glsim_mm.errors import GLSimError
from glsim_mm.exporting.export_graph import ExportGraph
from glsim_mm.models import AggregatorHead, EmbeddingHead
from glsim_mm.models.heads.aggregator_layers import ConvLayer, TokenDropLayer
from glsim_mm.search.embedder import Embedder

ARCH = dict(embed_dims=64, num_layers=2, num_heads=1, feedforward_channels=128)
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def build(neck=None, head=None, **kwargs):
    torch.manual_seed(0)
    config = dict(
        type='mmpretrain.GLSimClassifier',
        backbone=dict(type='GLSimViT', arch=ARCH, img_size=32, patch_size=8),
        neck=dict(type='GLSimSelector', top_o=3, **(neck or {})),
        head=dict(type='AggregatorHead', num_classes=5, in_channels=64, **(head or {})),
    )
    return MODELS.build({**config, **kwargs}).eval()


def sequence_of(model):
    return model.extract_feat(IMAGES, stage='neck')[0]


@torch.no_grad()
def test_largest_logit_of_all_tokens():
    model = build(head=dict(pooling='max'))
    logits = torch.stack([model.head.fc(token) for token in model.head.aggregate(sequence_of(model)).unbind(1)])
    assert (model(IMAGES) - logits.amax(dim=0)).abs().max() < 1e-6
    model = build(head=dict(pooling='avg'))
    expected = model.head.fc(model.head.aggregate(sequence_of(model))).mean(dim=1)
    assert (model(IMAGES) - expected).abs().max() < 1e-6


@torch.no_grad()
@pytest.mark.parametrize('layer_type', ['conv', 'depthwise_conv'])
def test_convolution_over_the_selected_tokens(layer_type):
    """A kernel as long as the sequence is a weighted sum over the tokens, in the order of their rank."""
    model = build(dict(out_type='tokens'), dict(layer_type=layer_type, sequence_length=4))
    head, (layer,) = model.head, model.head.layers
    x = layer.norm(sequence_of(model))
    if layer_type == 'conv':
        x = torch.einsum('bvc,dcv->bd', x, layer.conv.weight) + layer.conv.bias
    else:
        x = torch.einsum('bvc,cv->bc', x, layer.conv.weight[:, 0]) + layer.conv.bias
        x = F.linear(F.gelu(layer.middle_norm(x)), layer.pointwise.weight[:, :, 0], layer.pointwise.bias)
    assert (model(IMAGES) - head.fc(head.norm(x))).abs().max() < 1e-5


def test_tokens_are_dropped_in_training_only():
    torch.manual_seed(0)
    layer = TokenDropLayer(embed_dims=8, num_heads=1, feedforward_channels=8, token_drop_rate=0.5)
    seen = []
    layer.attn.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = torch.randn(64, 6, 8)
    layer.train()(x)
    layer.eval()(x)
    kept = seen[0] / seen[1]
    assert torch.equal(kept[:, 0], torch.ones_like(kept[:, 0]))  # the CLS token stays as it is
    factors = kept[:, 1:].round(decimals=3)
    assert set(factors.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(factors.amin(dim=2), factors.amax(dim=2))  # whole tokens
    assert 0.4 < factors.mean().item() / 2 < 0.6
    assert factors[:, :, 0].std(dim=0).min() > 0  # not the same ones in all images


def test_token_drop_reaches_the_model():
    model = build(dict(out_type='tokens'), dict(token_drop_rate=0.9))
    (sequence,) = model.extract_feat(IMAGES, stage='neck')
    assert torch.equal(model.head((sequence,)), model.head((sequence,)))
    model.head.train()
    assert not torch.equal(model.head((sequence,)), model.head((sequence,)))


@torch.no_grad()
def test_sequence_of_all_tokens_and_of_none_from_the_crop():
    tokens = build().extract_feat(IMAGES, stage='backbone')[-1]
    both = sequence_of(build(head=dict(all_tokens=True)))
    assert both.shape == (2, 2 * 17, 64)
    assert torch.equal(both[:, :17], tokens)
    assert (both[:, 17:18] - sequence_of(build())[:, 1:]).abs().max() < 1e-5
    assert torch.equal(sequence_of(build(dict(out_type='none'), dict(all_tokens=True))), tokens)
    assert torch.equal(sequence_of(build(dict(out_type='none'))), tokens[:, :1])
    assert torch.equal(sequence_of(build(head=dict(all_tokens=True), test_cfg=dict(crop='off'))), tokens)


@pytest.mark.parametrize('out_type', ['tokens', 'none'])
def test_encoder_runs_once_without_a_crop_and_still_says_where_it_looked(out_type):
    model, calls = build(dict(out_type=out_type)), []
    model.backbone.register_forward_hook(lambda *args: calls.append(1))
    sample = model.predict(IMAGES)[0]
    assert len(calls) == 1
    assert sample.selected_box.shape == (4,)
    model.loss(IMAGES, [DataSample().set_gt_label(1)] * 2)['loss'].backward()
    assert len(calls) == 2


@torch.no_grad()
def test_adaptive_crops_with_all_tokens():
    """Those that are sure read the image's tokens, the others both."""
    always = build(head=dict(all_tokens=True))
    never = build(head=dict(all_tokens=True), test_cfg=dict(crop='adaptive', threshold=0.0))
    both = build(head=dict(all_tokens=True), test_cfg=dict(crop='adaptive', threshold=1.0))
    expected = always.predict(IMAGES)[0].pred_score
    assert (both.predict(IMAGES)[0].pred_score - expected).abs().max() < 1e-6
    assert not torch.allclose(never.predict(IMAGES)[0].pred_score, expected, atol=1e-4)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(neck=dict(out_type='none'), test_cfg=dict(crop='off')), "out_type='none' makes no crop"),
        (dict(neck=dict(out_type='tokens'), head=dict(sequence_weights=dict(both=1, image=1))), 'makes no crop'),
        (dict(neck=dict(out_type='tokens'), head=dict(all_tokens=True)), 'exclude each other'),
        (dict(head=dict(layer_type='conv', sequence_length=4)), 'takes 4 tokens, but gets 2'),
        (
            dict(
                head=dict(all_tokens=True),
                backbone=dict(type='GLSimViT', arch=ARCH, img_size=32, patch_size=8, merged_tokens=1),
            ),
            'merged_tokens=0',
        ),
    ],
)
def test_settings_that_exclude_each_other(change, message):
    with pytest.raises(GLSimError, match=message):
        build(**change)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(pooling='mean'), 'pooling must be one of'),
        (dict(layer_type='lstm'), 'layer_type must be one of'),
        (dict(layer_type='conv'), 'needs sequence_length'),
        (dict(layer_type='conv', sequence_length=2, num_layers=2), 'one layer'),
        (dict(layer_type='conv', sequence_length=2, drop_path_rate=0.1), 'do not fit ConvLayer'),
        (dict(sequence_length=2), "for layer_type='conv'"),
        (dict(token_drop_rate=1.0), 'token_drop_rate must be'),
        (dict(all_tokens=True, sequence_weights=dict(image=1)), 'all_tokens goes neither'),
        (dict(representation_size=48, num_heads=5), 'num_heads=5 does not divide'),
    ],
)
def test_arguments_of_the_head_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        AggregatorHead(num_classes=3, in_channels=64, **change)


def test_convolution_names_the_setting_when_an_image_has_fewer_patches():
    with pytest.raises(GLSimError, match='over 5 tokens, got 3'):
        ConvLayer(8, 5, False, dict(type='LN'))(torch.rand(1, 3, 8))


def test_selector_gives_tokens_of_one_region_only():
    with pytest.raises(ValueError, match='for one region'):
        build(dict(out_type='tokens', num_regions=2))
    with pytest.raises(ValueError, match='out_type'):
        build(dict(out_type='patches'))


@torch.no_grad()
def test_embeddings_of_another_width():
    head = EmbeddingHead(
        num_classes=3, in_channels=64, embedding_dims=16, representation_size=128, loss=dict(type='MetricLearningLoss')
        | dict(name='SupConLoss'),
    )  # fmt: skip
    assert head.pre_logits((torch.rand(2, 2, 64),)).shape == (2, 16)
    with pytest.raises(GLSimError, match="pooling='max'"):
        EmbeddingHead(num_classes=3, in_channels=64, pooling='max')


@torch.no_grad()
def test_search_and_export_of_such_models():
    model = build(dict(out_type='tokens'), dict(pooling='max'))
    embedder = Embedder(model)
    assert embedder.spaces == ('global', 'aggregated', 'centre')
    model.head.trains_embedding = EmbeddingHead.trains_embedding
    assert Embedder(model).spaces == ('aggregated', 'global', 'centre')
    features = embedder(IMAGES, ['aggregated', 'global'], classify=True)
    assert torch.equal(features.embeddings['global'], sequence_of(model)[:, 0])
    assert (features.class_scores - model(IMAGES).softmax(dim=1)).abs().max() < 1e-6
    graph = ExportGraph(model)
    inputs = graph._normalize(IMAGES * 255)
    assert torch.equal(graph(IMAGES * 255)[0], model(inputs))


def test_without_crops_there_is_no_curve_of_them(monkeypatch):
    monkeypatch.setattr('glsim_mm.analysis.crop_curve.load_model', lambda *args: build(dict(out_type='none')))
    with pytest.raises(GLSimError, match='no CLS tokens of crops'):
        measure_crop_curve(None, 'x.pth')
