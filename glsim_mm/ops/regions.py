"""From selected patches to a pixel box (arXiv 2407.12891, section 3.3, and the authors' code for the box end)."""

import torch
from torch import Tensor

BOX_ENDS = ('exclusive', 'inclusive')


def patch_grid(image_size: tuple[int, int], patch_size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of patches that an encoder makes of an image.

    Args:
        image_size: Height and width in pixels.
        patch_size: Patch height and width in pixels.

    Returns:
        (h, w). An image that the patch size does not divide is padded at its bottom and right, as mmcv's ``PatchEmbed``
        and timm's ``dynamic_img_pad`` do, so the last row or column counts as a whole patch.
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
            last selected patch.

    Returns:
        int64, shape (B, 4), ``x0, y0, x1, y1`` in pixels, end exclusive: the region is ``image[:, y0:y1, x0:x1]`` and
        never empty.

    Raises:
        ValueError: If ``box_end`` is unknown.
    """
    check_box_end(box_end)
    rows = torch.div(indices, grid[1], rounding_mode='floor')
    cols = indices % grid[1]
    y0, y1 = _interval(rows, patch_size[0], image_size[0], box_end)
    x0, x1 = _interval(cols, patch_size[1], image_size[1], box_end)
    return torch.stack([x0, y0, x1, y1], dim=1)


def masks_to_boxes(
    masks: Tensor,
    grid: tuple[int, int],
    patch_size: tuple[int, int],
    image_size: tuple[int, int],
    box_end: str = 'exclusive',
) -> Tensor:
    """Smallest pixel box around the marked patches; :func:`patches_to_boxes` for any number of patches.

    Args:
        masks: bool, (B, N), row-major, at least one patch marked each.
        grid: Rows and columns of patches.
        patch_size: Patch height and width in pixels.
        image_size: Image height and width in pixels; boxes are clamped to it.
        box_end: As for :func:`patches_to_boxes`.

    Returns:
        int64, (B, 4), ``x0, y0, x1, y1`` in pixels, end exclusive.

    Raises:
        ValueError: If ``box_end`` is unknown.
    """
    check_box_end(box_end)
    numbers = torch.arange(grid[0] * grid[1], device=masks.device)
    # A patch that is not marked stands for the first that is, which moves no corner.
    first = masks.long().argmax(dim=1, keepdim=True)
    return patches_to_boxes(torch.where(masks, numbers, first), grid, patch_size, image_size, box_end)


def check_box_end(box_end: str) -> None:
    """Raise ``ValueError`` unless ``box_end`` names one of :data:`BOX_ENDS`."""
    if box_end not in BOX_ENDS:
        raise ValueError(f'box_end must be one of {", ".join(BOX_ENDS)}, got {box_end!r}')


def _interval(positions: Tensor, patch: int, limit: int, box_end: str) -> tuple[Tensor, Tensor]:
    """First and end pixel, each (B,), along one axis for patch positions (B, O)."""
    first = positions.amin(dim=1) * patch
    last = positions.amax(dim=1)
    end = (last + 1) * patch if box_end == 'inclusive' else torch.maximum(last * patch, first + patch)
    return first, end.clamp(max=limit)
