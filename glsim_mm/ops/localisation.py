"""How well a region selector finds an annotated object: pure functions on a batch.

Boxes are ``x0, y0, x1, y1`` in pixels of the network input, end exclusive; maps are scores of patches, row-major.
"""

import torch
from torch import Tensor


def patch_shares(boxes: Tensor, grid: tuple[int, int], patch_size: tuple[int, int]) -> Tensor:
    """Share of each patch that lies inside a box (B, 4), float32 (B, N) in [0, 1]."""
    boxes = boxes.float()
    rows = _overlap(boxes[:, 1], boxes[:, 3], grid[0], patch_size[0])
    columns = _overlap(boxes[:, 0], boxes[:, 2], grid[1], patch_size[1])
    return (rows[:, :, None] * columns[:, None, :]).flatten(1)


def energy_inside(scores: Tensor, shares: Tensor) -> Tensor:
    """Share of a map's energy that lies inside a box, float32 (B,) in [0, 1] (arXiv 1910.01279, section 4.2).

    Selectors' scores (B, N) differ in range and sign, so each map is shifted and scaled to [0, 1] first; what remains
    is the same for all maps that differ by a shift and a positive factor. NaN counts as the least. A map of equal
    scores has equal energy everywhere. ``shares`` (B, N) are those of :func:`patch_shares`.
    """
    scores = scores.float()
    is_finite = scores.isfinite()
    low = scores.masked_fill(~is_finite, float('inf')).amin(dim=1, keepdim=True)
    high = scores.masked_fill(~is_finite, float('-inf')).amax(dim=1, keepdim=True)
    flat = ~(high > low)
    energy = torch.where(is_finite, (scores - low) / (high - low), (scores == float('inf')).float())
    energy = torch.where(flat, 1.0, energy)
    return (energy * shares).sum(dim=1) / energy.sum(dim=1)


def pointing_hit(scores: Tensor, boxes: Tensor, grid: tuple[int, int], patch_size: tuple[int, int]) -> Tensor:
    """Whether the centre of the best of the scores (B, N) lies inside the box (B, 4), 0 or 1; NaN counts as the least.

    This is the pointing game (Zhang et al., arXiv 1608.00507).
    """
    best = torch.nan_to_num(scores.float(), nan=float('-inf')).argmax(dim=1)
    y = (torch.div(best, grid[1], rounding_mode='floor') + 0.5) * patch_size[0]
    x = (best % grid[1] + 0.5) * patch_size[1]
    x0, y0, x1, y1 = boxes.float().unbind(dim=1)
    return ((x >= x0) & (x < x1) & (y >= y0) & (y < y1)).float()


def box_overlap(selected: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How selected boxes (B, 4) and annotated ones (B, 4) overlap, each float32 (B,) in [0, 1].

    Share of the selected box that lies inside the annotated one, share of the annotated box that the selected one
    covers, and intersection over union. An empty box has no share of anything: 0.
    """
    selected, annotated = selected.float(), annotated.float()
    low = torch.maximum(selected[:, :2], annotated[:, :2])
    high = torch.minimum(selected[:, 2:], annotated[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (selected, annotated)]
    union = areas[0] + areas[1] - shared
    return _ratio(shared, areas[0]), _ratio(shared, areas[1]), _ratio(shared, union)


def clip_boxes(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Boxes (B, 4) cut off at the border of the image, float32."""
    height, width = image_size
    x0, y0, x1, y1 = boxes.float().unbind(dim=1)
    return torch.stack([x0.clamp(0, width), y0.clamp(0, height), x1.clamp(0, width), y1.clamp(0, height)], dim=1)


def _overlap(start: Tensor, end: Tensor, patches: int, size: int) -> Tensor:
    """Share of each patch along one axis that lies within [start, end), (B, patches)."""
    first = torch.arange(patches, device=start.device) * size
    inside = torch.minimum(end[:, None], first + size) - torch.maximum(start[:, None], first)
    return inside.clamp(min=0) / size


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=torch.finfo(whole.dtype).tiny), 0.0)
