"""The pixels of both looks: the image made smaller for the first, and regions cut out of it for the second.

None loops over images, waits for the device, or has shapes that depend on data.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def shrink(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Make images (B, 3, H, W) smaller, (B, 3, *size): bicubic and antialiased, as Pillow resizes.

    It differs from Pillow by less than 1e-3 of 255 grey levels, which rounds them to whole ones besides. An image that
    the pipeline resized to twice the size and this halves is, on average, within half a grey level of one that the
    pipeline resized at once. The dtype stays; ``size`` that the images have gives the images themselves.
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    with torch.autocast(images.device.type, enabled=False):
        smaller = F.interpolate(images.float(), size, mode='bicubic', align_corners=False, antialias=True)
    return smaller.to(images.dtype)


def crop_and_resize(images: Tensor, boxes: Tensor, size: tuple[int, int], samples: int = 1) -> Tensor:
    """Crop one box, or several, out of every image, and resize the crops: bilinear, corners aligned.

    Row ``i`` of the output samples row ``y0 + i * (y1 - y0 - 1) / (H_out - 1)`` of the image (columns likewise), which
    is what ``F.interpolate(image[:, y0:y1, x0:x1], size, mode='bilinear', align_corners=True)`` does. One
    ``grid_sample`` serves the whole batch: no Python loop, no device synchronisation, one shape for the compiler.

    Args:
        images: Shape (B, 3, H, W), any float dtype.
        boxes: ``x0, y0, x1, y1`` in pixels with exclusive end, inside the image and not empty; shape (B, 4), or (B, R,
            4) for R boxes per image.
        size: Height and width of the crops in pixels.
        samples: Where a box is larger than the crop, average so many samples a side for each pixel of the crop, of
            which a single one would leave pixels of the box out. 1 is the paper's, whose boxes are smaller.

    Returns:
        Shape (B, 3, *size), or (B, R, 3, *size), dtype of ``images``; differentiable with respect to ``images``.
    """
    height, width = images.shape[-2:]
    boxes = boxes.to(torch.float32)
    y = _sample_positions(boxes[..., 1], boxes[..., 3], size[0], height, samples)
    x = _sample_positions(boxes[..., 0], boxes[..., 2], size[1], width, samples)
    grid = torch.stack(torch.broadcast_tensors(x.unsqueeze(-2), y.unsqueeze(-1)), dim=-1)
    if boxes.dim() == 3:  # one below the other, so that the images need not be copied for each box
        grid = grid.flatten(1, 2)
    # float32 throughout: pixel positions beyond 256 have no exact bfloat16.
    crops = F.grid_sample(images.float(), grid, mode='bilinear', padding_mode='border', align_corners=True)
    if samples > 1:
        crops = F.avg_pool2d(crops, samples)
    if boxes.dim() == 3:
        crops = crops.unflatten(2, (-1, size[0])).transpose(1, 2)
    return crops.to(images.dtype)


def _sample_positions(start: Tensor, end: Tensor, steps: int, extent: int, samples: int) -> Tensor:
    """Positions (..., steps * samples) from the first to the last pixel, normalised to [-1, 1] over ``extent`` pixels.

    The samples of a step spread over it where it is two pixels long or more, and coincide where it is one or less.
    """
    fraction = torch.arange(steps, device=start.device, dtype=torch.float32) / max(steps - 1, 1)
    pixels = start[..., None] + (end - start - 1)[..., None] * fraction
    if samples > 1:
        step = (end - start - 1)[..., None] / max(steps - 1, 1)
        places = (torch.arange(samples, device=start.device, dtype=torch.float32) - (samples - 1) / 2) / samples
        spread = places * step * (step - 1).clamp(min=0, max=1)
        pixels = (pixels[..., None] + spread[..., None, :]).flatten(-2)
    return 2 * pixels / max(extent - 1, 1) - 1
