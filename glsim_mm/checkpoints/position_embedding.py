"""Resizing of learned position embeddings to another grid of patches."""

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import GLSimError

MODES = ('bicubic', 'bilinear')


def resize_position_embedding(
    positions: Tensor,
    grid: tuple[int, int],
    new_grid: tuple[int, int],
    num_leading: int = 1,
    mode: str = 'bicubic',
) -> Tensor:
    """Interpolate the patches' positions; those of CLS token and registers are kept.

    Args:
        positions: (1, ``num_leading`` + h * w, C), patches row by row.
        grid: Rows h and columns w of ``positions``.
        new_grid: Rows and columns wanted, of any aspect ratio.
        num_leading: Entries before the first patch. Defaults to 1, the CLS token's.
        mode: ``'bicubic'`` with anti-aliasing, as timm does on loading, or ``'bilinear'`` without, as ``GLSimViT``
            does.

    Returns:
        (1, ``num_leading`` + rows * columns, C), the dtype of ``positions``.

    Raises:
        ValueError: If ``mode`` is unknown.
        GLSimError: If ``positions`` do not have that grid.
    """
    if mode not in MODES:
        raise ValueError(f'mode must be one of {", ".join(MODES)}, got {mode!r}')
    if positions.shape[1] != num_leading + grid[0] * grid[1]:
        raise GLSimError(
            f'the position embedding has {positions.shape[1] - num_leading} patches, not {grid[0]} x {grid[1]}; '
            'give the grid that it was made for'
        )
    if grid == new_grid:
        return positions
    leading, patches = positions[:, :num_leading], positions[:, num_leading:]
    image = patches.float().unflatten(1, grid).permute(0, 3, 1, 2)
    resized = functional.interpolate(image, size=new_grid, mode=mode, align_corners=False, antialias=mode == 'bicubic')
    flat = resized.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat([leading, flat], dim=1)
