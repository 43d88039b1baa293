"""Crop a different box out of every image of a batch and resize it, without a loop over the images."""

import torch
import torch.nn.functional as F
from torch import Tensor


def crop_and_resize(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop one box, or several, out of every image, and resize the crops: bilinear, corners aligned.

    It equals slicing each image and calling ``F.interpolate`` on it.

    Row ``i`` of the output samples row ``y0 + i * (y1 - y0 - 1) / (H_out - 1)`` of the image (columns likewise), which
    is what ``F.interpolate(image[:, y0:y1, x0:x1], size, mode='bilinear', align_corners=True)`` does. One
    ``grid_sample`` serves the whole batch: no Python loop, no device synchronisation, one shape for the compiler.

    Args:
        images: Shape (B, 3, H, W), any float dtype.
        boxes: ``x0, y0, x1, y1`` in pixels with exclusive end, inside the image and not empty; shape (B, 4), or (B, R,
            4) for R boxes per image.
        size: Height and width of the crops in pixels.

    Returns:
        Shape (B, 3, *size), or (B, R, 3, *size), dtype of ``images``; differentiable with respect to ``images``.
    """
    height, width = images.shape[-2:]
    boxes = boxes.to(torch.float32)
    y = _sample_positions(boxes[..., 1], boxes[..., 3], size[0], height)
    x = _sample_positions(boxes[..., 0], boxes[..., 2], size[1], width)
    grid = torch.stack(torch.broadcast_tensors(x.unsqueeze(-2), y.unsqueeze(-1)), dim=-1)
    if boxes.dim() == 3:  # one below the other, so that the images need not be copied for each box
        grid = grid.flatten(1, 2)
    # float32 throughout: pixel positions beyond 256 have no exact bfloat16.
    crops = F.grid_sample(images.float(), grid, mode='bilinear', padding_mode='border', align_corners=True)
    if boxes.dim() == 3:
        crops = crops.unflatten(2, (-1, size[0])).transpose(1, 2)
    return crops.to(images.dtype)


def _sample_positions(start: Tensor, end: Tensor, steps: int, extent: int) -> Tensor:
    """Positions (..., steps) from the first to the last pixel, normalised to [-1, 1] over ``extent`` pixels."""
    fraction = torch.arange(steps, device=start.device, dtype=torch.float32) / max(steps - 1, 1)
    pixels = start[..., None] + (end - start - 1)[..., None] * fraction
    return 2 * pixels / max(extent - 1, 1) - 1
