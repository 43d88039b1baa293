import pytest
import torch
import torch.nn.functional as F

from glsim_mm.ops import attention_crop_boxes, bilinear_attention_pooling, drop_attended, sample_attention_maps


def test_pooling_is_an_average_per_map_and_channel():
    torch.manual_seed(0)
    features, attention = torch.randn(2, 5, 3, 4), torch.rand(2, 3, 3, 4)
    pooled = torch.zeros(2, 3, 5)
    for image in range(2):
        for m in range(3):
            for c in range(5):
                pooled[image, m, c] = (attention[image, m] * features[image, c]).mean()
    rooted = torch.where(pooled < 0, -1.0, 1.0) * (pooled.abs() + 1e-6).sqrt()
    expected = torch.stack([row / row.norm() for row in rooted.view(2, 15)])
    torch.testing.assert_close(bilinear_attention_pooling(features, attention), expected)


def test_pooling_is_not_lowered_by_autocast():
    features, attention = torch.randn(1, 3, 6, 5).half(), torch.rand(1, 2, 6, 5).half()
    expected = bilinear_attention_pooling(features.float(), attention.float())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        pooled = bilinear_attention_pooling(features, attention)
    assert pooled.dtype == torch.float32
    assert torch.equal(pooled, expected)
    large = bilinear_attention_pooling(torch.full((1, 1, 40, 40), 100.0).half(), torch.ones(1, 1, 40, 40).half())
    assert large.item() == pytest.approx(1.0)


def test_pooling_of_nothing_is_finite():
    features = torch.randn(1, 2, 3, 3, requires_grad=True)
    bilinear_attention_pooling(features, torch.zeros(1, 2, 3, 3)).sum().backward()
    assert torch.isfinite(features.grad).all()


def test_maps_are_drawn_by_the_root_of_their_sum():
    attention = torch.tensor([0.0, 1.0, 9.0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2)
    torch.manual_seed(0)
    drawn = sample_attention_maps(attention, 4000)[0, :, 0, 0]
    assert (drawn == 9).float().mean() == pytest.approx(0.75, abs=0.03)
    assert (drawn == 0).float().mean() < 0.01
    torch.manual_seed(0)
    assert torch.equal(sample_attention_maps(attention, 4000)[0, :, 0, 0], drawn)


def test_maps_of_a_diverged_model_can_be_drawn():
    attention = torch.full((1, 2, 2, 2), float('nan'))
    assert sample_attention_maps(attention, 2).shape == (1, 2, 2, 2)


def crop_box_by_loop(attention, height, width, threshold, padding):
    """As the authors say it: enlarge, compare, pad, cut off decimals."""
    large = F.interpolate(attention[None, None], (height, width), mode='bilinear', align_corners=True)[0, 0]
    hits = [(y, x) for y in range(height) for x in range(width) if large[y, x] >= threshold * attention.max()]
    rows, columns = [y for y, _ in hits], [x for _, x in hits]
    y0, y1 = max(int(min(rows) - padding * height), 0), min(int(max(rows) + padding * height), height)
    x0, x1 = max(int(min(columns) - padding * width), 0), min(int(max(columns) + padding * width), width)
    return [x0, y0, x1, y1]


@pytest.mark.parametrize('padding', [0.05, 0.1])
def test_crop_boxes_are_those_of_a_loop(padding):
    torch.manual_seed(1)
    attention, thresholds = torch.rand(8, 4, 6) ** 3, torch.linspace(0.2, 0.9, 8)
    boxes = attention_crop_boxes(attention, (40, 56), thresholds, padding)
    expected = [crop_box_by_loop(a, 40, 56, t, padding) for a, t in zip(attention, thresholds)]
    assert boxes.dtype == torch.int64 and boxes.tolist() == expected
    assert len({tuple(box) for box in expected}) > 4
    one = attention_crop_boxes(attention, (40, 56), 0.5, padding)
    assert one.tolist() == [crop_box_by_loop(a, 40, 56, 0.5, padding) for a in attention]


@pytest.mark.parametrize('value', [0.0, 2.0, float('nan')])
def test_flat_attention_crops_the_whole_image(value):
    assert attention_crop_boxes(torch.full((1, 2, 3), value), (20, 30), 0.5, 0.1).tolist() == [[0, 0, 30, 20]]


def test_crop_box_of_one_pixel_is_not_empty():
    attention = torch.zeros(1, 20, 20)
    attention[0, 19, 0] = 1.0
    assert attention_crop_boxes(attention, (20, 20), 0.99, 0.0).tolist() == [[0, 19, 1, 20]]


def test_attended_pixels_are_dropped():
    attention = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    images = torch.ones(2, 3, 4, 5)
    dropped = drop_attended(images, attention, torch.tensor([0.5, 0.9]))
    # Enlarged, the first map rises over rows 0, 1/3, 2/3, 1; the second over columns 0, 1/4, 1/2, 3/4, 1.
    assert dropped[0, 0, :, 0].tolist() == [1, 1, 0, 0]
    assert dropped[1, 2, 0].tolist() == [1, 1, 1, 1, 0]
    assert drop_attended(images.half(), attention, 0.5).dtype == torch.float16
