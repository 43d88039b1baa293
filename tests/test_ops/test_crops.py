import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.ops import crop_and_resize


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
