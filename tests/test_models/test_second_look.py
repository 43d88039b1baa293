"""Crops from the delivered photo, and a first pass on fewer pixels."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from glsim_mm.errors import GLSimError
from glsim_mm.ops import crop_and_resize, shrink

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)


def build(second_look=None, neck=None, **settings):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='mmpretrain.GLSimClassifier',
            backbone=dict(type='GLSimViT', arch=ARCH, img_size=32, patch_size=8, interpolate_mode='bilinear'),
            neck=neck or dict(type='GLSimSelector', top_o=4, box_end='inclusive'),
            head=dict(type='AggregatorHead', num_classes=3, in_channels=32, num_heads=2),
            second_look=second_look,
            **settings,
        )
    )
    for parameter in model.parameters():  # boxes that differ between images
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def photos(height, width, count=4):
    """Noise on coarse patches, so that the selected boxes differ."""
    generator = torch.Generator().manual_seed(height + width)
    coarse = torch.randn(count, 3, 5, 6, generator=generator)
    return F.interpolate(coarse, (height, width), mode='bilinear') + 0.3 * torch.randn(
        count, 3, height, width, generator=generator
    )


@torch.no_grad()
def test_scale_1_is_the_paper_to_the_last_bit():
    images = photos(32, 32)
    plain, scaled = build().encode(images), build(dict(scale=1, first=1.0)).encode(images)
    for one, other in zip((plain[0], *plain[1], plain[2]), (scaled[0], *scaled[1], scaled[2])):
        assert one == other if isinstance(one, tuple) else torch.equal(one, other)


@torch.no_grad()
@pytest.mark.parametrize('scale', [2, 1.5, 3])
@pytest.mark.parametrize('neck', [None, dict(type='GLSimSelector', num_regions=2), dict(type='CenterSelector')])
def test_crops_come_from_the_delivered_pixels(scale, neck):
    model, side = build(dict(scale=scale), neck), int(32 * scale)
    images = photos(side, side)
    sequence, regions, tokens = model.encode(images)
    small = build(neck=neck)
    expected_tokens = small.backbone(shrink(images, (32, 32)))[-1]
    torch.testing.assert_close(tokens, expected_tokens)
    # The boxes are those of the first pass, on the delivered image.
    boxes = small.encode(shrink(images, (32, 32)))[1].boxes
    torch.testing.assert_close(regions.boxes.float(), boxes.float() * scale)
    samples = -(-side // 32)
    torch.testing.assert_close(regions.crops, crop_and_resize(images, regions.boxes, (32, 32), samples))
    flat = regions.crops.reshape(-1, 3, 32, 32)
    crops = small.encode_crops(flat).unflatten(0, (4, -1))
    torch.testing.assert_close(sequence, torch.cat([expected_tokens[:, :1], crops], dim=1))


@torch.no_grad()
def test_second_look_sees_detail_that_the_first_does_not():
    """Stripes of one pixel vanish when the image is halved, and are there in crops of the delivered one."""
    images = torch.zeros(1, 3, 64, 64)
    images[..., ::2, :] = 1.0
    model = build(dict(scale=2), dict(type='CenterSelector', share=0.5))
    assert model.first_look(images)[..., 4:-4, :].std() < 1e-3
    assert model.encode(images)[1].crops.std() > 0.3


@torch.no_grad()
@pytest.mark.parametrize('scale', [1, 2])
def test_cheap_first_look(scale):
    model, side = build(dict(scale=scale, first=0.5)), 32 * scale
    images, seen = photos(side, side), []
    model.backbone.register_forward_hook(lambda _, args, __: seen.append(tuple(args[0].shape[-2:])))
    sequence, regions, tokens = model.encode(images)
    assert seen == [(16, 16), (32, 32)] and regions.grid == (2, 2) and tokens.shape[1] == 5
    assert regions.crops.shape[-2:] == (32, 32) and sequence.shape == (4, 2, 32)
    assert model.layout.patch_size == (16 * scale, 16 * scale)
    assert (regions.boxes >= 0).all() and (regions.boxes <= side).all()
    sample = model.predict(images)[0]
    assert sample.patch_size == (16 * scale, 16 * scale) and sample.similarity_map.shape == (2, 2)


def test_training_reaches_both_passes():
    model = build(dict(scale=2, first=0.5)).train()
    samples = [DataSample().set_gt_label(number % 3) for number in range(4)]
    loss = model.loss(photos(64, 64), samples)['loss']
    loss.backward()
    assert torch.isfinite(loss) and all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_adaptive_crops_and_annotated_boxes():
    images = photos(64, 64)
    adaptive = build(dict(scale=2), test_cfg=dict(crop='adaptive', threshold=1.0)).predict(images)
    always = build(dict(scale=2)).predict(images)
    for one, other in zip(adaptive, always):
        torch.testing.assert_close(one.pred_score, other.pred_score)
    samples = [DataSample(gt_bboxes=torch.tensor([[10.0, 20.0, 30.5, 61.0]])) for _ in images]
    regions = build(dict(scale=2), dict(type='OracleSelector')).encode(images, data_samples=samples)[1]
    assert regions.boxes.tolist() == [[10, 20, 31, 61]] * 4, 'in pixels of the delivered image'


@torch.no_grad()
@pytest.mark.parametrize(
    'box, expected',
    [
        ([-20.0, -5.0, 24.0, 90.0], [0, 0, 24, 64]),  # what lies in the photo is left of it
        ([100.0, 10.0, 140.0, 40.0], [63, 10, 64, 40]),  # beside the photo: the pixels next to it
        ([-40.0, -30.0, -10.0, -20.0], [0, 0, 1, 1]),
        ([30.0, 10.0, 20.0, 40.0], [0, 0, 64, 64]),  # an empty one stands for the whole photo
    ],
)
def test_boxes_outside_the_photo(box, expected):
    model = build(dict(scale=2), dict(type='OracleSelector'))
    samples = [DataSample(gt_bboxes=torch.tensor([box])) for _ in range(4)]
    sequence, regions, _ = model.encode(photos(64, 64), data_samples=samples)
    assert regions.boxes.tolist() == [expected] * 4 and regions.crops.shape[-2:] == (32, 32)
    assert sequence.isfinite().all() and regions.crops.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize('height, width', [(33, 61), (64, 250), (32, 35)])
def test_sizes_that_do_not_divide(height, width):
    """Inputs of many sizes, panoramas among them: patches are padded as ever, boxes stay inside."""
    model = build(dict(scale=2, first=0.5))
    _, regions, _ = model.encode(photos(height, width))
    assert (regions.boxes[:, :2] >= 0).all() and (regions.boxes[:, 2] <= width).all()
    assert (regions.boxes[:, 3] <= height).all() and (regions.boxes[:, 2:] > regions.boxes[:, :2]).all()
    assert regions.crops.shape[-2:] == (-(-height // 2), -(-width // 2))


@pytest.mark.parametrize(
    'second_look, message',
    [
        (dict(scale=0.5), r'second_look.scale .* from 1 to 16, got 0.5: 1 crops'),
        (dict(scale=99), 'second_look.scale'),
        (dict(scale='2'), 'second_look.scale'),
        (dict(scale=float('nan')), 'second_look.scale'),
        (dict(first=0), 'second_look.first .* above 0 and at most 1, got 0'),
        (dict(first=1.5), 'second_look.first'),
        (dict(scale=1.3), r'8 x scale 1.3 / first 1 are 10.4: choose'),
        (dict(zoom=2), "no field 'zoom'; it has scale, first"),
    ],
)
def test_values_out_of_range(second_look, message):
    with pytest.raises(GLSimError, match=message):
        build(second_look)


def test_what_the_loader_did_not_deliver():
    model = build(dict(scale=2))
    with pytest.raises(GLSimError, match=r'scale=2 needs images of 64x64 pixels, and the pipeline delivered the 32x32'):
        model.encode(photos(32, 32))
    with pytest.raises(GLSimError, match='smaller than one patch of 8x8'):
        model.encode(photos(10, 10))


def test_no_crop_no_scale():
    with pytest.raises(GLSimError, match="out_type='none' makes no crop: set model.second_look.scale=1"):
        build(dict(scale=2), dict(type='GLSimSelector', out_type='none'))
