"""Crop a different box out of every image of a batch and resize it, without a loop over the images."""

import torch
import torch.nn.functional as F
from torch import Tensor


def crop_and_resize(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear crops with aligned corners, equal to slicing each image and calling ``F.interpolate`` on it.

    Row ``i`` of the output samples row ``y0 + i * (y1 - y0 - 1) / (H_out - 1)`` of the image (columns likewise), which
    is what ``F.interpolate(image[:, y0:y1, x0:x1], size, mode='bilinear', align_corners=True)`` does. One
    ``grid_sample`` serves the whole batch: no Python loop, no device synchronisation, one shape for the compiler.

    Args:
        images (Tensor): Shape (B, 3, H, W), any float dtype.
        boxes (Tensor): ``x0, y0, x1, y1`` in pixels with exclusive end, shape (B, 4), inside the image and not empty.
        size (tuple[int, int]): Height and width of the crops in pixels.

    Returns:
        Tensor: Shape (B, 3, *size), dtype of ``images``; differentiable with respect to ``images``.
    """
    height, width = images.shape[-2:]
    boxes = boxes.to(torch.float32)
    y = _sample_positions(boxes[:, 1], boxes[:, 3], size[0], height)
    x = _sample_positions(boxes[:, 0], boxes[:, 2], size[1], width)
    grid = torch.stack(
        [x[:, None, :].expand(-1, size[0], -1), y[:, :, None].expand(-1, -1, size[1])],
        dim=-1,
    )
    # float32 throughout: pixel positions beyond 256 have no exact bfloat16.
    crops = F.grid_sample(images.float(), grid, mode='bilinear', padding_mode='border', align_corners=True)
    return crops.to(images.dtype)


def _sample_positions(start: Tensor, end: Tensor, steps: int, extent: int) -> Tensor:
    """``steps`` positions (B, steps) from the first to the last pixel, normalised to [-1, 1] over ``extent`` pixels."""
    fraction = torch.arange(steps, device=start.device, dtype=torch.float32) / max(steps - 1, 1)
    pixels = start[:, None] + (end - start - 1)[:, None] * fraction
    return 2 * pixels / max(extent - 1, 1) - 1
