"""Attention of patch tokens inside windows, with tokens that see the whole image (ViTDet, arXiv 2203.16527)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def partition_windows(patches: Tensor, window_size: int) -> Tensor:
    """Cut a grid of patch vectors, (B, ..., h, w, C), into square windows; what hangs over is zero.

    Gives (B * R * S, ..., window_size**2, C) with R = ceil(h / window_size) rows of S = ceil(w / window_size) windows,
    an image's windows one after another, row by row, as are the patches of a window.
    """
    height, width = patches.shape[-3:-1]
    padded = F.pad(patches, (0, 0, 0, -width % window_size, 0, -height % window_size))
    between = padded.shape[1:-3]
    rows, columns = padded.shape[-3] // window_size, padded.shape[-2] // window_size
    cut = padded.reshape(len(patches), -1, rows, window_size, columns, window_size, padded.shape[-1])
    cut = cut.permute(0, 2, 4, 1, 3, 5, 6)
    return cut.reshape(len(patches) * rows * columns, *between, window_size**2, padded.shape[-1])


def merge_windows(windows: Tensor, window_size: int, grid: tuple[int, int]) -> Tensor:
    """Undo :func:`partition_windows`: from (B * R * S, H, window_size**2, C) to (B, H, h * w, C)."""
    rows, columns = (-(-side // window_size) for side in grid)
    between, channels = windows.shape[1], windows.shape[-1]
    cut = windows.reshape(-1, rows, columns, between, window_size, window_size, channels)
    whole = cut.permute(0, 3, 1, 4, 2, 5, 6).reshape(-1, between, rows * window_size, columns * window_size, channels)
    return whole[:, :, : grid[0], : grid[1]].reshape(len(whole), between, grid[0] * grid[1], channels)


def window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    grid: tuple[int, int],
    window_size: int,
    num_extra_tokens: int,
    dropout: float = 0.0,
) -> Tensor:
    """Attention in which a patch sees its window and the extra tokens, and extra tokens see everything.

    ViTDet drops the CLS token. It is kept here, because global-local similarity needs it: as a query it costs one row
    of the attention matrix. With a window that covers the grid this is plain attention.

    Args:
        query, key, value: (B, H, P0 + h * w, D) of H heads, P0 extra tokens (CLS first) before the patches.
        grid: Height h and width w of the grid in patches.
        window_size: Side of a window in patches, >= 1.
        num_extra_tokens: P0 >= 0.
        dropout: Share of attention weights that are dropped.

    Returns:
        Shape of the queries.
    """
    windows, extras = [], []
    for tokens in (query, key, value):
        patches = tokens[:, :, num_extra_tokens:].unflatten(2, grid)
        windows.append(partition_windows(patches, window_size))
        extras.append(tokens[:, :, :num_extra_tokens])
    per_image = len(windows[0]) // len(query)
    keys, values = (
        torch.cat((extra.repeat_interleave(per_image, dim=0), window), dim=2)
        for extra, window in zip(extras[1:], windows[1:])
    )
    mask = _real_keys(grid, window_size, num_extra_tokens, len(query), query.device)
    inside = F.scaled_dot_product_attention(windows[0], keys, values, mask, dropout)
    inside = merge_windows(inside, window_size, grid)
    if not num_extra_tokens:
        return inside
    return torch.cat((F.scaled_dot_product_attention(extras[0], key, value, dropout_p=dropout), inside), dim=2)


def _real_keys(
    grid: tuple[int, int], window_size: int, num_extra_tokens: int, batch: int, device: torch.device
) -> Tensor | None:
    """Boolean mask of keys that are no padding; None where the windows fit, so that the fastest kernel may run."""
    if grid[0] % window_size == 0 and grid[1] % window_size == 0:
        return None
    real = partition_windows(torch.ones(1, 1, *grid, 1, dtype=torch.bool, device=device), window_size)[..., 0]
    real = F.pad(real, (num_extra_tokens, 0), value=True)
    return real.repeat(batch, 1, 1).unsqueeze(2)
