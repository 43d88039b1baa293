"""Attention maps over a convolutional feature map: pooling by them, and looking again where they point.

The operations of WS-DAN (arXiv 1901.09891), on which CAL (arXiv 2108.08728) builds. Resizing is bilinear with aligned
corners throughout, as in both authors' code.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_EPS = 1e-6


def bilinear_attention_pooling(features: Tensor, attention: Tensor) -> Tensor:
    """Average features (B, C, h, w) under every attention map (B, M, h, w): float32 (B, M * C), rows of norm 1.

    One map's C channels come after the other; signed square roots and the L2 norm follow the mean (arXiv 1901.09891
    and 2108.08728). The arithmetic is float32 whatever the input: a sum over the feature map of a 448 px image can
    leave the range of float16.
    """
    with torch.autocast(device_type=features.device.type, enabled=False):
        pooled = torch.einsum('bmhw,bchw->bmc', attention.float(), features.float())
    pooled = (pooled / (features.shape[-2] * features.shape[-1])).flatten(1)
    return F.normalize(pooled.sign() * (pooled.abs() + _EPS).sqrt(), dim=1)


def sample_attention_maps(attention: Tensor, num_maps: int) -> Tensor:
    """Draw ``num_maps`` maps of every image, with replacement, out of (B, M, h, w).

    A map's probability is proportional to the square root of its sum. Random numbers come from torch's generator of the
    maps' device.
    """
    weights = (attention.float().sum(dim=(2, 3)) + _EPS).sqrt()
    # A diverged model is reported by its loss, not by the sampler.
    weights = torch.nan_to_num(weights, nan=1.0, posinf=1.0)
    chosen = torch.multinomial(weights, num_maps, replacement=True)
    return attention.gather(1, chosen[:, :, None, None].expand(-1, -1, *attention.shape[2:]))


def attention_crop_boxes(
    attention: Tensor, image_size: tuple[int, int], threshold: float | Tensor, padding: float
) -> Tensor:
    """Box around the pixels that are attended to, widened on every side. No loop over images, no synchronisation.

    As in the authors' code the box ends ``padding`` after the last attended row and column, which are themselves left
    out without padding. Where nothing is above the threshold (NaN), the box is the whole image.

    Args:
        attention: One map per image, (B, h, w), not negative, any float dtype.
        image_size: Height and width of the images in pixels.
        threshold: Share of each map's maximum from which a pixel counts, in [0, 1]; a tensor (B,) has one for each
            image.
        padding: Widening on each side as a share of the image's side, >= 0.

    Returns:
        int64, (B, 4), ``x0, y0, x1, y1`` in pixels, end exclusive, inside the image and not empty.
    """
    is_attended = _enlarge(attention, image_size) >= _limits(attention, threshold)
    y0, y1 = _interval(is_attended.any(dim=2), padding)
    x0, x1 = _interval(is_attended.any(dim=1), padding)
    return torch.stack([x0, y0, x1, y1], dim=1)


def drop_attended(images: Tensor, attention: Tensor, threshold: float | Tensor) -> Tensor:
    """Set the attended pixels of images (B, 3, H, W) to 0, the mean colour of a normalised image.

    See :func:`attention_crop_boxes` for maps and threshold.
    """
    size = (images.shape[-2], images.shape[-1])
    is_kept = _enlarge(attention, size) < _limits(attention, threshold)
    return images * is_kept[:, None].to(images.dtype)


def _enlarge(attention: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps at the size of the images, float32 (B, H, W)."""
    return F.interpolate(attention[:, None].float(), size, mode='bilinear', align_corners=True)[:, 0]


def _limits(attention: Tensor, threshold: float | Tensor) -> Tensor:
    """Value of each map from which a pixel counts, float32 (B, 1, 1)."""
    return (threshold * attention.float().amax(dim=(1, 2)))[:, None, None]


def _interval(is_attended: Tensor, padding: float) -> tuple[Tensor, Tensor]:
    """First and end pixel, each (B,), along one axis for flags (B, extent)."""
    extent = is_attended.shape[1]
    positions = torch.arange(extent, device=is_attended.device).expand_as(is_attended)
    first = positions.masked_fill(~is_attended, extent).amin(dim=1)
    last = positions.masked_fill(~is_attended, -1).amax(dim=1)
    is_empty = last < 0
    start = (first - math.ceil(padding * extent)).clamp(min=0).masked_fill(is_empty, 0)
    end = (last + math.floor(padding * extent)).clamp(max=extent).masked_fill(is_empty, extent)
    return start, end.maximum(start + 1)
