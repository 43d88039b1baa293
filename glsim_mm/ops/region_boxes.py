"""From selected patches to pixel boxes (arXiv 2407.12891, section 3.3).

GLSim crops one region; the authors' code says where its box ends. Where an object's telling parts lie apart, one box
around all of them holds much that tells nothing; here are functions that give several boxes, too. None loops over
images, waits for the device, or has shapes that depend on data.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .similarity import check_choice

BOX_ENDS = ('exclusive', 'inclusive')


def patch_grid(image_size: tuple[int, int], patch_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of patches that an encoder makes of an image; sizes are height and width in pixels.

    An image that the patch size does not divide is padded at its bottom and right, as mmcv's ``PatchEmbed`` and timm's
    ``dynamic_img_pad`` do, so the last row or column counts as a whole patch.
    """
    return -(-image_size[0] // patch_size[0]), -(-image_size[1] // patch_size[1])


def patches_to_boxes(
    indices: Tensor,
    grid: tuple[int, int],
    patch_size: tuple[int, int],
    image_size: tuple[int, int],
    box_end: str = 'exclusive',
) -> Tensor:
    """Smallest pixel box around the selected patches of each image.

    Args:
        indices: int64, shape (B, O), row-major indices of patches on the grid.
        grid: Rows and columns of patches.
        patch_size: Patch height and width in pixels.
        image_size: Image height and width in pixels; boxes are clamped to it.
        box_end: ``'exclusive'`` ends at the top-left corner of the last selected row and column (at least one patch
            wide and high), as the authors' code does and their published numbers need; ``'inclusive'`` ends after the
            last selected patch. Another one is a ``ValueError``.

    Returns:
        int64, shape (B, 4), ``x0, y0, x1, y1`` in pixels, end exclusive: the region is ``image[:, y0:y1, x0:x1]`` and
        never empty.
    """
    check_choice('box_end', box_end, BOX_ENDS)
    rows = torch.div(indices, grid[1], rounding_mode='floor')
    cols = indices % grid[1]
    y0, y1 = _interval(rows, patch_size[0], image_size[0], box_end)
    x0, x1 = _interval(cols, patch_size[1], image_size[1], box_end)
    return torch.stack([x0, y0, x1, y1], dim=1)


def centre_box(image_size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    """Box ``x0, y0, x1, y1``, end exclusive, in the middle of an image that has a share, in (0, 1], of its sides.

    Sizes, height and width, are in pixels; the box has at least one.
    """
    sides = [max(1, round(extent * share)) for extent in image_size]
    y0, x0 = ((extent - side) // 2 for extent, side in zip(image_size, sides))
    return x0, y0, x0 + sides[1], y0 + sides[0]


def masks_to_boxes(
    masks: Tensor,
    grid: tuple[int, int],
    patch_size: tuple[int, int],
    image_size: tuple[int, int],
    box_end: str = 'exclusive',
) -> Tensor:
    """Smallest pixel boxes around marked patches, bool (B, N) with at least one each; see :func:`patches_to_boxes`."""
    check_choice('box_end', box_end, BOX_ENDS)
    numbers = torch.arange(grid[0] * grid[1], device=masks.device)
    # A patch that is not marked stands for the first that is, which moves no corner.
    first = masks.long().argmax(dim=1, keepdim=True)
    return patches_to_boxes(torch.where(masks, numbers, first), grid, patch_size, image_size, box_end)


def _interval(positions: Tensor, patch: int, limit: int, box_end: str) -> tuple[Tensor, Tensor]:
    """First and end pixel, each (B,), along one axis for patch positions (B, O)."""
    first = positions.amin(dim=1) * patch
    last = positions.amax(dim=1)
    end = (last + 1) * patch if box_end == 'inclusive' else torch.maximum(last * patch, first + patch)
    return first, end.clamp(max=limit)


REGION_METHODS = ('components', 'windows')


def component_masks(indices: Tensor, grid: tuple[int, int], num_regions: int) -> Tensor:
    """Connected components of the selected patches, the largest first: bool (B, R, N), none of which is empty.

    Patches that touch, also at a corner, belong together. Components are ordered by their number of patches, equal ones
    by their best patch. Where there are fewer than wanted, the rest are all selected patches together.

    Args:
        indices: int64, (B, O), selected patches, best first, as :func:`glsim_mm.ops.top_patches` gives them.
        grid: Rows and columns of patches, N = rows * columns.
        num_regions: Regions R per image, >= 1.
    """
    _check_num_regions(num_regions)
    num_selected = indices.shape[1]
    # The number of a component is the largest of its patches' numbers: O for the best patch, 1 for the last selected.
    numbers = torch.arange(num_selected, 0, -1, device=indices.device).expand_as(indices)
    background = indices.new_zeros(indices.shape[0], grid[0] * grid[1])
    labels = background.scatter(1, indices, numbers).float().unflatten(1, grid)[:, None]
    inside = labels > 0
    for _ in range(num_selected - 1):  # no path between selected patches is longer
        labels = torch.where(inside, F.max_pool2d(labels, 3, stride=1, padding=1), 0)
    flat, selected = labels.flatten(1).long(), inside.flatten(1)
    sizes = indices.new_zeros(indices.shape[0], num_selected + 1).scatter_add(1, flat, selected.long())
    # Size first, then number of the best patch: both fit into one whole number.
    order = sizes * (num_selected + 1) + torch.arange(num_selected + 1, device=indices.device)
    order = torch.where(sizes > 0, order, 0)
    wanted = torch.topk(order, min(num_regions, num_selected), dim=1)
    masks = (flat[:, None] == wanted.indices[:, :, None]) & (wanted.values > 0)[:, :, None]
    # Not torch.where, which ONNX Runtime lacks for booleans.
    masks = masks | (selected[:, None] & ~masks.any(dim=2, keepdim=True))
    missing = num_regions - masks.shape[1]
    return torch.cat([masks, selected[:, None].expand(-1, missing, -1)], dim=1) if missing > 0 else masks


def window_masks(scores: Tensor, grid: tuple[int, int], top_o: int, num_regions: int) -> Tensor:
    """Square windows that do not overlap, taken greedily by their mean score, best first: bool (B, R, N).

    Windows have ``ceil(sqrt(top_o))`` patches a side, at most the grid's. After each choice all windows that overlap it
    drop out. Where none is left, the first is repeated.

    Args:
        scores: (B, N), larger is better; NaN counts as the least finite score of its image.
        grid: Rows and columns of patches, N = rows * columns.
        top_o: Patches that a window holds at least, >= 1.
        num_regions: Windows R per image, >= 1.
    """
    _check_num_regions(num_regions)
    side = math.isqrt(max(top_o, 1) - 1) + 1
    height, width = min(side, grid[0]), min(side, grid[1])
    means = F.avg_pool2d(finite_scores(scores).unflatten(1, grid)[:, None], (height, width), stride=1)
    rows, columns = means.shape[-2:]
    means = means.flatten(1)
    row = torch.arange(rows, device=scores.device).repeat_interleave(columns)
    column = torch.arange(columns, device=scores.device).repeat(rows)
    first: Tensor | None = None
    masks = []
    for _ in range(num_regions):
        best = means.max(dim=1, keepdim=True)
        first = best.indices if first is None else first
        chosen = torch.where(best.values == float('-inf'), first, best.indices)
        top, left = row[chosen], column[chosen]
        masks.append(_window(top, left, (height, width), grid))
        overlaps = ((row - top).abs() < height) & ((column - left).abs() < width)
        means = means.masked_fill(overlaps, float('-inf'))
    return torch.stack(masks, dim=1)


def region_boxes(
    scores: Tensor,
    indices: Tensor,
    grid: tuple[int, int],
    patch_size: tuple[int, int],
    image_size: tuple[int, int],
    box_end: str = 'exclusive',
    num_regions: int = 1,
    method: str = 'components',
) -> Tensor:
    """Pixel boxes of several regions of each image, int64 (B, R, 4), ``x0, y0, x1, y1``, end exclusive.

    Args:
        scores: (B, N), larger is better.
        indices: int64, (B, O), the selected patches, best first; O is also the size of windows.
        grid: Rows and columns of patches.
        patch_size: Patch height and width in pixels.
        image_size: Image height and width in pixels.
        box_end: See :func:`patches_to_boxes`. Windows always end after their last patch.
        num_regions: Regions R per image, >= 1.
        method: ``'components'`` or ``'windows'``.
    """
    check_choice('region_method', method, REGION_METHODS)
    if method == 'windows':
        masks, box_end = window_masks(scores, grid, indices.shape[1], num_regions), 'inclusive'
    else:
        masks = component_masks(indices, grid, num_regions)
    boxes = masks_to_boxes(masks.flatten(0, 1), grid, patch_size, image_size, box_end)
    return boxes.unflatten(0, (-1, num_regions))


def _check_num_regions(num_regions: int) -> None:
    if num_regions < 1:
        raise ValueError(f'num_regions must be at least 1, got {num_regions}')


def finite_scores(scores: Tensor) -> Tensor:
    """Scores (B, N) as float32; NaN and infinities are the image's least and largest finite score, or 0 without one."""
    scores = scores.float()
    is_finite = scores.isfinite()
    low = scores.masked_fill(~is_finite, float('inf')).amin(dim=1, keepdim=True)
    high = scores.masked_fill(~is_finite, float('-inf')).amax(dim=1, keepdim=True)
    filled = torch.where(is_finite, scores, torch.where(scores == float('inf'), high, low))
    return torch.where(is_finite.any(dim=1, keepdim=True), filled, 0.0)


def _window(top: Tensor, left: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Patches of the window at row ``top`` and column ``left``, each (B, 1), as bool (B, N)."""
    rows, columns = torch.arange(grid[0], device=top.device), torch.arange(grid[1], device=top.device)
    in_rows = (rows >= top) & (rows < top + size[0])
    in_columns = (columns >= left) & (columns < left + size[1])
    return (in_rows[:, :, None] & in_columns[:, None, :]).flatten(1)
