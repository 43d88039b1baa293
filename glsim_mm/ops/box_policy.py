"""From scores of patches to the boxes of a second look: the paper's way, and what helps where its region is too small.

The paper cuts out the box around the O best patches (arXiv 2407.12891, section 3.3), whatever the size of the object.
:class:`BoxPolicy` says what else may happen on the way from scores to boxes; its defaults change nothing. None of it
loops over images, waits for the device, or has shapes that depend on data.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .region_boxes import BOX_ENDS, REGION_METHODS, finite_scores, patches_to_boxes, region_boxes
from .similarity import check_choice, top_patches

ASPECTS = ('free', 'image', 'square')
BOX_SHAPES = ('smoothing', 'coverage', 'margin', 'aspect', 'min_share', 'max_share')
"""Fields of :class:`BoxPolicy` that the paper does not have."""


class BoxPolicy(NamedTuple):
    """How scores of patches become boxes; :func:`select_regions` follows it, step by step.

    Attributes:
        top_o: Best patches that the box spans; several values make a box each.
        box_end: See :func:`glsim_mm.ops.patches_to_boxes`.
        num_regions: Regions for each value of ``top_o``.
        region_method: See :func:`glsim_mm.ops.region_boxes`.
        smoothing: Standard deviation, in patches, of a Gaussian that blurs the map of scores first; 0 for none.
        coverage: Share, in (0, 1], of the map's mass that the box holds, in place of ``top_o``; see
            :func:`covering_boxes`. None for ``top_o``.
        margin: Widening at each side, as a share of the box's own height and width, >= 0.
        aspect: ``'free'``, ``'image'``, the image's ratio of sides, or ``'square'``: boxes grow to it.
        min_share: Least share of the image's height and width, from 0 to ``max_share``; smaller boxes grow to it.
        max_share: Largest share of them, up to 1; larger boxes shrink to it.

    Example::

        BoxPolicy(coverage=0.7, margin=0.1, min_share=0.4)
    """

    top_o: int | tuple[int, ...] = 8
    box_end: str = 'exclusive'
    num_regions: int = 1
    region_method: str = 'components'
    smoothing: float = 0.0
    coverage: float | None = None
    margin: float = 0.0
    aspect: str = 'free'
    min_share: float = 0.0
    max_share: float = 1.0

    @property
    def scales(self) -> tuple[int, ...]:
        """The values of ``top_o``."""
        return (self.top_o,) if isinstance(self.top_o, int) else tuple(self.top_o)

    @property
    def num_boxes(self) -> int:
        """Boxes per image."""
        return len(self.scales) * self.num_regions

    def check(self) -> 'BoxPolicy':
        """The policy itself; ``ValueError``, which names the field, if a value is out of range."""
        if not self.scales or min(self.scales) < 1:
            raise ValueError(f'top_o must be at least 1, got {self.top_o}')
        if self.num_regions < 1:
            raise ValueError(f'num_regions must be at least 1, got {self.num_regions}')
        check_choice('box_end', self.box_end, BOX_ENDS)
        check_choice('region_method', self.region_method, REGION_METHODS)
        check_choice('aspect', self.aspect, ASPECTS)
        for name in ('smoothing', 'margin'):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f'{name} must be 0 or more, got {getattr(self, name)}')
        if not 0 <= self.min_share <= self.max_share <= 1 or self.max_share == 0:
            raise ValueError(
                'min_share and max_share are shares of the image, the least not above the largest, '
                f'got {self.min_share} and {self.max_share}'
            )
        if self.coverage is not None and (not 0 < self.coverage <= 1 or self.num_boxes > 1):
            raise ValueError(f'coverage must be above 0 and at most 1, of a single region, got {self.coverage}')
        return self


class Regions(NamedTuple):
    """What :func:`select_regions` finds.

    Attributes:
        scores: float32, (B, N), as they were selected by: smoothed, if the policy says so.
        indices: int64, (B, O), the best patches, best first; O is the largest of ``top_o``.
        boxes: int64, (B, R, 4), ``x0, y0, x1, y1`` in pixels, end exclusive.
    """

    scores: Tensor
    indices: Tensor
    boxes: Tensor


def select_regions(
    scores: Tensor,
    grid: tuple[int, int],
    patch_size: tuple[int, int],
    image_size: tuple[int, int],
    policy: BoxPolicy,
    boxes: Tensor | None = None,
) -> Regions:
    """Select patches and boxes by a policy.

    The map is smoothed; the box spans the best patches, or holds a share of the map's mass; then it is fitted, see
    :func:`fit_boxes`. Where no patch stands out, because all scores of an image are equal or NaN, the box is the image.

    Args:
        scores: float32, (B, N), larger is better.
        grid: Rows and columns of patches, N = rows * columns.
        patch_size: Patch height and width in pixels.
        image_size: Image height and width in pixels.
        policy: See :class:`BoxPolicy`.
        boxes: int64, (B, R, 4), boxes that are known, such as annotated ones, to be fitted only.
    """
    raw, place = scores, (grid, patch_size, image_size)
    if policy.smoothing:
        scores = smooth_scores(scores, grid, policy.smoothing)
    indices = top_patches(scores, max(policy.scales))
    if boxes is not None:
        return Regions(scores, indices, fit_boxes(boxes, image_size, policy))
    if policy.coverage is not None:
        boxes = covering_boxes(scores, *place, policy.coverage)[:, None]
    elif policy.num_regions == 1:
        found = [patches_to_boxes(indices[:, :top_o], *place, policy.box_end)[:, None] for top_o in policy.scales]
        boxes = torch.cat(found, dim=1)
    else:
        settings = policy.box_end, policy.num_regions, policy.region_method
        boxes = torch.cat(
            [region_boxes(scores, indices[:, :top_o], *place, *settings) for top_o in policy.scales], dim=1
        )
    boxes = fit_boxes(boxes, image_size, policy)
    raw = torch.nan_to_num(raw, nan=float('-inf'))
    is_flat = raw.amax(dim=1, keepdim=True) == raw.amin(dim=1, keepdim=True)
    height, width = image_size
    # One masked_fill each: a tensor made of Python numbers would have to be copied to the device.
    whole = zip(boxes.unbind(dim=2), (0, 0, width, height))
    return Regions(scores, indices, torch.stack([corner.masked_fill(is_flat, value) for corner, value in whole], dim=2))


def smooth_scores(scores: Tensor, grid: tuple[int, int], sigma: float) -> Tensor:
    """Blur maps of scores (B, N) by a Gaussian, cut off at three standard deviations ``sigma``, in patches, > 0.

    Patches beyond the border have no weight, so that the border is not darkened. NaN counts as the least finite score
    of its image. float32 (B, N).
    """
    maps = finite_scores(scores).unflatten(1, grid)
    return (_blur(grid[0], sigma, maps) @ maps @ _blur(grid[1], sigma, maps).T).flatten(1)


def _blur(length: int, sigma: float, like: Tensor) -> Tensor:
    """Weights (length, length) of a Gaussian along one axis; rows sum to 1."""
    positions = torch.arange(length, device=like.device, dtype=like.dtype)
    distances = positions[:, None] - positions
    weights = torch.where(distances.abs() <= 3 * sigma, (-0.5 * (distances / sigma) ** 2).exp(), 0)
    return weights / weights.sum(dim=1, keepdim=True)


def covering_boxes(
    scores: Tensor,
    grid: tuple[int, int],
    patch_size: tuple[int, int],
    image_size: tuple[int, int],
    coverage: float,
) -> Tensor:
    """The smallest box of whole patches that holds a share of the map's mass, int64 (B, 4).

    Mass is what lies above the mean of the map, so that a large object has a large box, and single patches far from it
    do not stretch the box. Of equally small boxes that with the most mass is taken. All boxes are tried: two matrix
    products per image, with (h (h + 1) / 2) x (w (w + 1) / 2) sums.

    Args:
        scores: (B, N), larger is better; NaN counts as the least finite score of its image.
        grid: Rows h and columns w of patches, N = h * w.
        patch_size: Patch height and width in pixels.
        image_size: Image height and width in pixels; boxes are clamped to it.
        coverage: Share of the mass, in (0, 1].
    """
    maps = finite_scores(scores)
    mass = (maps - maps.mean(dim=1, keepdim=True)).clamp(min=0)
    mass = (mass / mass.sum(dim=1, keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)).unflatten(1, grid)
    rows, columns = _intervals(grid[0], mass.device), _intervals(grid[1], mass.device)
    held = _members(rows, grid[0]) @ mass @ _members(columns, grid[1]).T
    area = ((rows[:, 1] - rows[:, 0])[:, None] * (columns[:, 1] - columns[:, 0])) / (grid[0] * grid[1])
    # Areas differ by a patch at least; less than that is left to the mass. Rounding must not refuse the whole image.
    enough = held >= coverage - 1e-5
    value = torch.where(enough, 2 - area + held / (2 * grid[0] * grid[1]), 0)
    best = value.flatten(1).argmax(dim=1)
    row = rows[torch.div(best, len(columns), rounding_mode='floor')]
    column = columns[best % len(columns)]
    corners = [(column[:, 0], 1), (row[:, 0], 0), (column[:, 1], 1), (row[:, 1], 0)]
    return torch.stack([(corner * patch_size[axis]).clamp(max=image_size[axis]) for corner, axis in corners], dim=1)


def _intervals(length: int, device: torch.device) -> Tensor:
    """All intervals ``[start, end)`` of ``length`` positions that hold at least one, int64 (n, 2)."""
    positions = torch.arange(length, device=device)
    start = torch.cat([positions[:1].expand(length - first) + first for first in range(length)])
    end = torch.cat([positions[first:] + 1 for first in range(length)])
    return torch.stack([start, end], dim=1)


def _members(intervals: Tensor, length: int) -> Tensor:
    """Which positions each interval holds, float32 (n, length)."""
    positions = torch.arange(length, device=intervals.device)
    return ((positions >= intervals[:, :1]) & (positions < intervals[:, 1:])).float()


def fit_boxes(boxes: Tensor, image_size: tuple[int, int], policy: BoxPolicy) -> Tensor:
    """Give boxes (..., 4) the margin, the aspect and the size that a policy asks for, within the image.

    A box keeps its centre as far as the image allows. First it is widened by the margin, then its shorter side grows to
    the aspect, then both sides are brought between the least and the largest share; squares take shares of the image's
    shorter side. int64, at least one pixel; the same boxes if the policy asks for none of it.
    """
    is_free = policy.aspect == 'free'
    if policy.margin == 0 and is_free and policy.min_share == 0 and policy.max_share == 1:
        return boxes
    height, width = image_size
    frame_y, frame_x = (min(image_size),) * 2 if policy.aspect == 'square' else image_size
    x0, y0, x1, y1 = boxes.float().unbind(dim=-1)
    high, wide = ((end - start) * (1 + 2 * policy.margin) for start, end in ((y0, y1), (x0, x1)))
    high, wide = high / frame_y, wide / frame_x
    if not is_free:
        high = wide = torch.maximum(high, wide)
    first_y, end_y = _place(y0 + y1, high.clamp(policy.min_share, policy.max_share) * frame_y, height)
    first_x, end_x = _place(x0 + x1, wide.clamp(policy.min_share, policy.max_share) * frame_x, width)
    return torch.stack([first_x, first_y, end_x, end_y], dim=-1)


def _place(twice_centre: Tensor, side: Tensor, extent: int) -> tuple[Tensor, Tensor]:
    """First and end pixel, int64, of a side within ``extent`` pixels, as near to its centre as they allow."""
    side = side.round().clamp(1, extent)
    first = torch.minimum(((twice_centre - side) / 2).round().clamp(min=0), extent - side)
    return first.long(), (first + side).long()


def union_of_maps(first: Tensor, second: Tensor) -> Tensor:
    """Patches that stand out in either of two maps (B, N): the larger of both, each scaled to [0, 1], float32 (B, N).

    NaN counts as the least; a map of equal scores says nothing.
    """
    scaled = []
    for scores in (first, second):
        scores = finite_scores(scores)
        low, high = scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True)
        scaled.append((scores - low) / (high - low).clamp(min=torch.finfo(scores.dtype).tiny))
    return torch.maximum(*scaled)
