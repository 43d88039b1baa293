"""Heat maps of patch scores.

Scores of different selectors have different ranges and distributions. By default a colour stands for the rank of a
patch among the patches of its image, so that it means the same in every heat map.
"""

import cv2
import numpy as np

COLORMAPS = {
    'cividis': cv2.COLORMAP_CIVIDIS,
    'viridis': cv2.COLORMAP_VIRIDIS,
    'magma': cv2.COLORMAP_MAGMA,
    'inferno': cv2.COLORMAP_INFERNO,
    'plasma': cv2.COLORMAP_PLASMA,
    'turbo': cv2.COLORMAP_TURBO,
}
"""Names of colour maps; in all but turbo lightness grows with the score. cividis looks alike to the colour-blind."""

SCALINGS = 'rank', 'linear'
OPACITY = 0.6


def patch_levels(scores: np.ndarray, scaling: str = 'rank') -> np.ndarray:
    """Scores of patches as levels of a colour map.

    Args:
        scores: (h, w) numbers, the larger the likelier selected. NaN counts as the least.
        scaling: ``'rank'``: the share of the other patches with a lower score, patches of one score sharing their mean;
            ``'linear'``: from the least finite score to the largest, infinite ones at the ends.

    Returns:
        (h, w) float64, 0..1; 0.5 everywhere if all scores are equal or NaN.

    Raises:
        ValueError: If ``scaling`` is unknown.
    """
    if scaling not in SCALINGS:
        raise ValueError(f'scaling must be one of {", ".join(SCALINGS)}, got {scaling!r}')
    scores = np.where(np.isnan(scores), -np.inf, np.asarray(scores, np.float64))
    if scores.max() == scores.min():
        return np.full(scores.shape, 0.5)
    return _ranks(scores) if scaling == 'rank' else _fractions(scores)


def overlay_heatmap(
    image: np.ndarray,
    scores: np.ndarray,
    colormap: str = 'cividis',
    scaling: str = 'rank',
    opacity: float = OPACITY,
) -> np.ndarray:
    """Lay scores of patches over an image in shades of grey, each patch in one colour.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: (h, w) numbers; see :func:`patch_levels`.
        colormap: One of :data:`COLORMAPS`. Defaults to ``'cividis'``, dark blue (least) to yellow (most).
        scaling: See :func:`patch_levels`.
        opacity: Of the colours, 0..1. Defaults to 0.6.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    levels = cv2.resize(patch_levels(scores, scaling), image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return _blend(grey, levels, colormap, opacity)


def color_bar(height: int, width: int, colormap: str = 'cividis', opacity: float = OPACITY) -> np.ndarray:
    """Colours of a heat map over medium grey, least on the left.

    Args:
        height: In pixels.
        width: In pixels.
        colormap: One of :data:`COLORMAPS`.
        opacity: As of the heat map. Defaults to 0.6.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    levels = np.tile(np.linspace(0, 1, width), (height, 1))
    return _blend(np.full((height, width, 1), 128, np.uint8), levels, colormap, opacity)


def _blend(grey: np.ndarray, levels: np.ndarray, colormap: str, opacity: float) -> np.ndarray:
    colors = cv2.applyColorMap(np.round(255 * levels).astype(np.uint8), COLORMAPS[colormap])[..., ::-1]
    return np.round(grey * (1 - opacity) + colors * opacity).astype(np.uint8)


def _ranks(scores: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts + 1) / 2
    return mean_rank[place].reshape(scores.shape) / (scores.size - 1)


def _fractions(scores: np.ndarray) -> np.ndarray:
    finite = scores[np.isfinite(scores)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    # Halves, for the range of two large numbers may be infinite.
    span = high / 2 - low / 2
    between = (np.clip(scores, low, high) / 2 - low / 2) / (span if span > 0 else 1.0)
    return np.where(scores == np.inf, 1.0, np.where(scores == -np.inf, 0.0, between))
