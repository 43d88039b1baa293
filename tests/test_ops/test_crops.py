import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glsim_mm.ops import crop_and_resize, shrink


@st.composite
def images_and_boxes(draw):
    """A batch of smooth images with one valid box each, and an output size."""
    batch, height, width = draw(st.integers(1, 4)), draw(st.integers(2, 40)), draw(st.integers(2, 40))
    boxes = []
    for _ in range(batch):
        x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        boxes.append([x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))])
    size = (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    return torch.rand(batch, 3, height, width), torch.tensor(boxes), size


@given(images_and_boxes())
@settings(max_examples=100, deadline=None)
def test_equals_slicing_and_interpolating_each_image(case):
    images, boxes, size = case
    expected = [
        F.interpolate(image[None, :, y0:y1, x0:x1], size, mode='bilinear', align_corners=True)
        for image, (x0, y0, x1, y1) in zip(images, boxes.tolist())
    ]
    torch.testing.assert_close(crop_and_resize(images, boxes, size), torch.cat(expected), atol=2e-5, rtol=0)


def test_whole_image_at_its_own_size_is_the_image():
    images = torch.rand(2, 3, 30, 50)
    boxes = torch.tensor([[0, 0, 50, 30]] * 2)
    torch.testing.assert_close(crop_and_resize(images, boxes, (30, 50)), images, atol=1e-5, rtol=0)


def test_large_image_keeps_its_precision():
    images = torch.rand(1, 3, 1024, 1024)
    (x0, y0, x1, y1) = box = [512, 768, 1008, 1008]
    expected = F.interpolate(images[:, :, y0:y1, x0:x1], (224, 224), mode='bilinear', align_corners=True)
    assert (crop_and_resize(images, torch.tensor([box]), (224, 224)) - expected).abs().max() < 5e-4


def test_half_precision_images_and_gradients():
    boxes = torch.tensor([[4, 2, 20, 18]])
    images = torch.rand(1, 3, 24, 24)
    half = crop_and_resize(images.bfloat16(), boxes, (8, 8))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, crop_and_resize(images.bfloat16().float(), boxes, (8, 8)).bfloat16())
    images.requires_grad_()
    crop_and_resize(images, boxes, (8, 8)).sum().backward()
    inside = torch.zeros(24, 24, dtype=torch.bool)
    inside[2:18, 4:20] = True
    assert (images.grad[..., ~inside] == 0).all() and images.grad.sum() > 0


def test_samples_are_averaged_around_each_pixel():
    """Against single samples at each place, taken one by one."""
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[4, 6, 34, 30], [10, 10, 40, 40]])  # steps of 4 to 5 pixels
    found = crop_and_resize(images, boxes, (7, 7), samples=2)
    for image, (x0, y0, x1, y1), crop in zip(images, boxes.tolist(), found):
        for row, column in ((0, 0), (3, 5), (6, 6)):
            total = torch.zeros(3)
            for dy in (-0.25, 0.25):
                for dx in (-0.25, 0.25):
                    y = min(max(y0 + (y1 - y0 - 1) * (row + dy) / 6, 0), 39)
                    x = min(max(x0 + (x1 - x0 - 1) * (column + dx) / 6, 0), 39)
                    top, left = min(int(y), 38), min(int(x), 38)
                    patch, fy, fx = image[:, top : top + 2, left : left + 2], y - top, x - left
                    weights = torch.tensor([[(1 - fy) * (1 - fx), (1 - fy) * fx], [fy * (1 - fx), fy * fx]])
                    total += (patch * weights).sum(dim=(1, 2)) / 4
            torch.testing.assert_close(crop[:, row, column], total, atol=1e-5, rtol=1e-5)
    assert torch.equal(crop_and_resize(images, boxes, (7, 7), 1), crop_and_resize(images, boxes, (7, 7)))
    enlarged = crop_and_resize(images, boxes, (30, 30), samples=2)
    torch.testing.assert_close(enlarged, crop_and_resize(images, boxes, (30, 30)), atol=1e-5, rtol=0)


def test_shrink_is_pillows_resize():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 84), dtype=np.uint8)
    found = shrink(torch.from_numpy(pixels).float().expand(1, 3, -1, -1), (30, 42))[0, 0]
    exact = np.asarray(Image.fromarray(pixels.astype(np.float32), mode='F').resize((42, 30), Image.Resampling.BICUBIC))
    assert np.abs(found.numpy() - exact).max() < 1e-2
    rounded = np.asarray(Image.fromarray(pixels).resize((42, 30), Image.Resampling.BICUBIC)).astype(np.float32)
    assert np.abs(found.numpy().clip(0, 255) - rounded).max() <= 1
    images = torch.rand(1, 3, 8, 8)
    assert shrink(images, (8, 8)) is images and shrink(images.bfloat16(), (4, 4)).dtype == torch.bfloat16
