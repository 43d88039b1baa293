"""When the crop is encoded: always, adaptively, or not at all, with one checkpoint."""

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch._dynamo.testing import CompileCounter

from glsim_mm.errors import GLSimError
from glsim_mm.evaluation import MeanPasses
from glsim_mm.models.classifiers.crop_policy import margin, unsure

ARCH = dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128)


def build(test_cfg=None, sequence_weights=None, neck=None, backbone=None, second_look=None):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmpretrain.GLSimClassifier',
            backbone=backbone or dict(type='GLSimViT', arch=ARCH, img_size=32, patch_size=8),
            neck=neck,
            head=dict(type='AggregatorHead', num_classes=5, in_channels=64, sequence_weights=sequence_weights),
            second_look=second_look,
            test_cfg=test_cfg,
        )
    )
    model.init_weights()
    with torch.no_grad():
        model.head.fc.weight.mul_(40)  # predictions of very different confidence
    return model.eval()


@pytest.fixture
def images():
    return torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def scores(model, images):
    return torch.stack([sample.pred_score for sample in model.predict(images)])


def sequences(model, images):
    """Scores of the image alone and of both."""
    class_tokens = model.encode(images)[0]
    return model.head((class_tokens[:, :1],)).softmax(1), model.head((class_tokens,)).softmax(1)


@torch.no_grad()
def test_adaptive_takes_the_crop_of_unsure_images_only(images):
    model = build(dict(crop='adaptive', threshold=0.7))
    alone, both = sequences(model, images)
    first, second = alone.topk(2).values.T
    is_unsure = first - second < 0.7
    assert 0 < is_unsure.sum() < len(images)
    samples = model.predict(images)
    assert [sample.crop_encoded for sample in samples] == is_unsure.tolist()
    found = torch.stack([sample.pred_score for sample in samples])
    torch.testing.assert_close(found, torch.where(is_unsure[:, None], both, alone), atol=1e-5, rtol=1e-4)
    assert all('selected_box' in sample and 'similarity_map' in sample for sample in samples)


@torch.no_grad()
@pytest.mark.parametrize('threshold, crop', [(0.0, 'off'), (1.0, 'always')])
def test_thresholds_at_the_ends_are_the_other_policies(images, threshold, crop):
    adaptive = scores(build(dict(crop='adaptive', threshold=threshold)), images)
    torch.testing.assert_close(adaptive, scores(build(dict(crop=crop)), images), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_off_encodes_no_crop(images):
    model, calls = build(dict(crop='off')), []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    samples = model.predict(images)
    assert len(calls) == 1 and not samples[0].crop_encoded and 'selected_box' in samples[0]
    assert model.extract_feat(images)[0].shape == (12, 1, 64)
    torch.testing.assert_close(
        model(images, mode='tensor').softmax(1), torch.stack([sample.pred_score for sample in samples])
    )
    # Embeddings of search ask for what they want, whatever the policy.
    assert model.encode(images)[0].shape == (12, 2, 64)
    assert model.train().extract_feat(images)[0].shape == (12, 2, 64)


@torch.no_grad()
def test_several_regions_and_mixed_precision(images):
    model = build(dict(crop='adaptive', threshold=0.7, amp='bf16'), neck=dict(type='GLSimSelector', num_regions=2))
    samples = model.predict(images)
    assert len({sample.crop_encoded for sample in samples}) == 2
    exact = torch.stack([sample.pred_score for sample in samples])
    model.test_options = build(dict(crop='adaptive', threshold=0.7)).test_options
    assert (scores(model, images) - exact).abs().median() < 0.1
    assert samples[0].selected_boxes.shape == (2, 4)


def test_margin_is_how_far_the_likeliest_class_is_ahead():
    probabilities = torch.tensor([[0.5, 0.1, 0.4], [0.4, 0.3, 0.3], [0.34, 0.33, 0.33]])
    torch.testing.assert_close(margin(probabilities.log()), torch.tensor([0.1, 0.1, 0.01]), atol=1e-6, rtol=0)
    assert margin(torch.tensor([[3.0]])).tolist() == [1.0], 'there is no second class'
    assert margin(probabilities.log().bfloat16()).dtype == torch.float32


def test_unsure_counts_nan():
    logits = torch.tensor([[9.0, 0.0], [0.1, 0.0], [float('nan'), 0.0]])
    assert unsure(logits, 0.9).tolist() == [1, 2]


@pytest.mark.parametrize(
    'test_cfg, message',
    [
        (dict(crop='maybe'), 'always, adaptive, centre_first, off'),
        (dict(threshold=1.5), 'difference of probabilities, from 0 to 1'),
        (dict(amp='int4'), 'bf16, fp16'),
        (dict(share=0), 'share of the image, above 0'),
        (dict(croup='off'), "no field 'croup'; it has crop, threshold, share, amp"),
    ],
)
def test_options_out_of_range(test_cfg, message):
    with pytest.raises(GLSimError, match=message):
        build(test_cfg)


@pytest.mark.parametrize('neck', [None, dict(type='GLSimSelector', num_regions=2)])
def test_losses_on_each_sequence(images, neck):
    weights = dict(both=0.5, image=2.0, crop=1.0)
    labels = [number % 5 for number in range(12)]
    samples = [DataSample().set_gt_label(label) for label in labels]
    model = build(sequence_weights=weights, neck=neck)
    losses = model.loss(images, samples)
    class_tokens = model.encode(images)[0]
    module = model.head.loss_module
    target = torch.tensor(labels)
    assert losses['loss'].item() == pytest.approx(0.5 * module(model.head((class_tokens,)), target).item(), rel=1e-4)
    alone = module(model.head((class_tokens[:, :1],)), target).item()
    assert losses['loss_image'].item() == pytest.approx(2 * alone, rel=1e-4)
    crops = [module(model.head((class_tokens[:, r : r + 1],)), target) for r in range(1, class_tokens.shape[1])]
    assert losses['loss_crop'].item() == pytest.approx(sum(crops).item() / len(crops), rel=1e-4)
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_crops_as_augmentation_alone(images):
    model = build(sequence_weights=dict(image=1.0, crop=1.0))
    samples = [DataSample().set_gt_label(0) for _ in images]
    assert set(model.loss(images, samples)) == {'loss_image', 'loss_crop'}


@pytest.mark.parametrize('weights', [dict(part=1.0), dict(both=-1.0), dict(both=0.0)])
def test_sequence_weights_out_of_range(weights):
    with pytest.raises(GLSimError, match='model.head.sequence_weights'):
        build(sequence_weights=weights)


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ['GLSimViT', 'TimmViT'])
def test_one_graph_for_both_passes_and_any_batch_size(images, backbone):
    """torch.compile with fullgraph fails at the first break; the batch size must not be part of the graph."""
    torch._dynamo.reset()
    counter = CompileCounter()
    timm_vit = dict(type='TimmViT', model_name='vit_tiny_patch16_224', depth=2, embed_dim=64, num_heads=2, patch_size=8)
    model = build(backbone=None if backbone == 'GLSimViT' else dict(timm_vit, img_size=32))
    compiled = torch.compile(lambda x: model(x, mode='tensor'), fullgraph=True, dynamic=True, backend=counter)
    with torch.no_grad():
        for count in (5, 3, 12):
            torch.testing.assert_close(compiled(images[:count]), model(images[:count], mode='tensor'))
    assert counter.frame_count == 1


def test_nothing_waits_for_the_device(images):
    """Every operation that reads a value back to Python, which on a GPU would wait for it, runs item() or nonzero()."""
    model = build()
    with torch.no_grad(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
        model(images, mode='tensor')
    names = {event.key for event in trace.key_averages()}
    assert 'aten::grid_sampler' in names
    waiting = {'aten::item', 'aten::_local_scalar_dense', 'aten::nonzero', 'aten::is_nonzero', 'aten::masked_select'}
    assert not names & waiting


@torch.no_grad()
@pytest.mark.parametrize('first', [1, 0.5])
def test_centre_first_takes_the_region_where_image_and_middle_disagree(images, first):
    look = dict(first=first)
    model = build(dict(crop='centre_first', share=0.5), second_look=look)
    sequence = build(second_look=look).encode(images)[0]
    middle = build(second_look=look, neck=dict(type='CenterSelector', share=0.5)).encode(images)[0]
    classes = [model.head((alone,)).argmax(1) for alone in (sequence[:, :1], middle[:, 1:])]
    disagree = classes[0] != classes[1]
    assert 0 < disagree.sum() < len(images)
    three = model.head((torch.cat([middle, sequence[:, 1:]], dim=1),))
    wanted = torch.where(disagree[:, None], three, model.head((middle,))).softmax(1)
    calls = []
    model.backbone.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    samples = model.predict(images)
    found = torch.stack([sample.pred_score for sample in samples])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert [sample.crop_encoded for sample in samples] == disagree.tolist()
    count = int(disagree.sum())
    assert calls == ([24, count] if first == 1 else [12, 12, count]), 'image and middle are one batch if alike'
    assert [sample.passes for sample in samples] == [first**2 + 1 + bool(one) for one in disagree]
    metric = MeanPasses()
    metric.process(None, [sample.to_dict() for sample in samples])
    assert metric.compute_metrics(metric.results)['passes'] == pytest.approx(first**2 + 1 + count / 12)


@torch.no_grad()
def test_passes_of_the_other_policies(images):
    for test_cfg, neck, passes in (
        (None, None, 2),
        (dict(crop='off'), None, 1),
        (None, dict(type='GLSimSelector', num_regions=2), 3),
        (None, dict(type='GLSimSelector', crop_size=16), 1.25),
        (None, dict(type='GLSimSelector', out_type='none'), 1),
    ):
        assert build(test_cfg, neck=neck).predict(images)[0].passes == passes
    with pytest.raises(GLSimError, match='MeanPasses needs the predictions of a GLSimClassifier'):
        MeanPasses().process(None, [dict(pred_label=0)])
