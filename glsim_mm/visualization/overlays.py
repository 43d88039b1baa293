"""Boxes and heat maps on images, which are (H, W, 3) uint8; boxes are ``x0, y0, x1, y1`` in their pixels.

A heat map is light on a photo: it keeps the photo's colours, and is dark where the model did not look.
"""

from collections.abc import Sequence

import cv2
import numpy as np

Box = Sequence[float] | np.ndarray

# Okabe and Ito's colours, which people with any form of colour blindness tell apart
# (https://jfly.uni-koeln.de/color/); RGB.
SELECTED_COLOR = (213, 94, 0)
ANNOTATED_COLOR = (86, 180, 233)
_OUTLINES = (255, 255, 255), (0, 0, 0)


def draw_box(image: np.ndarray, box: Box, color: tuple[int, int, int], width: int = 2) -> np.ndarray:
    """A new image with a frame of ``width`` pixels just within a box, cut off at the border of the image."""
    x0, y0, x1, y1 = _to_pixels(box, image.shape)
    drawn = image.copy()
    drawn[y0:y1, x0:x1] = color
    inner = slice(y0 + width, max(y1 - width, y0 + width)), slice(x0 + width, max(x1 - width, x0 + width))
    drawn[inner] = image[inner]
    return drawn


def draw_outlined_box(image: np.ndarray, box: Box, color: tuple[int, int, int], width: int = 2) -> np.ndarray:
    """A new image with a frame of ``width`` pixels between a black and a white line, which stands out on any image."""
    x0, y0, x1, y1 = _to_pixels(box, image.shape)
    inner, outer = _OUTLINES
    drawn = draw_box(image, (x0, y0, x1, y1), outer, width + 2)
    drawn = draw_box(drawn, (x0 + 1, y0 + 1, x1 - 1, y1 - 1), color, width)
    ring = np.array([width + 1, width + 1, -width - 1, -width - 1]) + (x0, y0, x1, y1)
    if ring[2] - ring[0] > 2 and ring[3] - ring[1] > 2:
        drawn = draw_box(drawn, ring, inner, 1)
    return drawn


def crop_box(image: np.ndarray, box: Box, size: int | tuple[int, int]) -> np.ndarray:
    """Cut out a box, at least one pixel, and resize it to height and width in pixels; one number makes a square."""
    height, width = (size, size) if isinstance(size, int) else size
    x0, y0, x1, y1 = _to_pixels(box, image.shape)
    return cv2.resize(np.ascontiguousarray(image[y0:y1, x0:x1]), (width, height), interpolation=cv2.INTER_LINEAR)


def box_share(box: Box, shape: tuple[int, ...]) -> float:
    """Share of an image, given its shape (height and width first), that a box covers, 0..1."""
    return _area(_clip(box, (0, 0, shape[1], shape[0]))) / (shape[0] * shape[1])


def share_inside(box: Box, other: Box) -> float:
    """Share of a box that lies inside another one, 0..1; 0 for an empty box."""
    area = _area(box)
    return _area(_clip(box, other)) / area if area > 0 else 0.0


def _clip(box: Box, other: Box) -> np.ndarray:
    return np.concatenate([np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])])


def _area(box: Box) -> float:
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def _to_pixels(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Whole pixels within the image, at least one each way."""
    x0, y0, x1, y1 = (int(round(float(value))) for value in box)
    x0, y0 = min(max(x0, 0), shape[1] - 1), min(max(y0, 0), shape[0] - 1)
    return x0, y0, min(max(x1, x0 + 1), shape[1]), min(max(y1, y0 + 1), shape[0])


SCALINGS = 'linear', 'rank'
DIMMEST = 0.25
"""How much light of a photo is left where its patches have the least score, 0..1."""
_FINER = 2  # a map is enlarged so many times before browsers, which do so linearly, enlarge it further


def patch_levels(scores: np.ndarray, scaling: str = 'linear') -> np.ndarray:
    """Scores of patches (h, w) as levels of light, 0..1; 1 everywhere if all scores are equal or NaN.

    ``scaling`` is ``'linear'``, from the least finite score to the largest, infinite ones at the ends, or ``'rank'``,
    the share of the other patches with a lower score, patches of one score sharing their mean. NaN counts as the least.
    """
    if scaling not in SCALINGS:
        raise ValueError(f'scaling must be one of {", ".join(SCALINGS)}, got {scaling!r}')
    scores = np.where(np.isnan(scores), -np.inf, np.asarray(scores, np.float64))
    if scores.max() == scores.min():
        return np.ones(scores.shape)
    return _ranks(scores) if scaling == 'rank' else _fractions(scores)


def overlay_heatmap(
    image: np.ndarray, scores: np.ndarray, scaling: str = 'linear', area: Box | None = None
) -> np.ndarray:
    """Show scores of patches (h, w) as light on an image, (H, W, 3) uint8, whose colours stay what they are.

    Patches of the largest score have the light of the photo, those of the least a quarter; in between it changes
    smoothly. For ``scaling`` see :func:`patch_levels`; ``area`` is the part of the image that the patches cover, by
    default the whole, outside of which nothing was looked at.
    """
    x0, y0, x1, y1 = (0, 0, *image.shape[1::-1]) if area is None else _to_pixels(area, image.shape)
    light = np.full(image.shape[:2], DIMMEST)
    light[y0:y1, x0:x1] = DIMMEST + (1 - DIMMEST) * _enlarged(patch_levels(scores, scaling), (x1 - x0, y1 - y0))
    return np.round(image * light[..., None]).astype(np.uint8)


def shade(scores: np.ndarray, scaling: str = 'linear') -> np.ndarray:
    """What :func:`overlay_heatmap` takes away, as black and its opacity to lay over a photo, (H, W, 2) uint8."""
    levels = patch_levels(scores, scaling)
    size = levels.shape[1] * _FINER, levels.shape[0] * _FINER
    black = np.zeros((*size[::-1], 2), np.uint8)
    black[..., 1] = np.round(255 * (1 - DIMMEST) * (1 - _enlarged(levels, size)))
    return black


def light_bar(height: int, width: int) -> np.ndarray:
    """The light of patches, least on the left, (height, width, 3) uint8 RGB."""
    grey = np.linspace(DIMMEST, 1, width) * 230
    return np.tile(np.round(grey).astype(np.uint8)[None, :, None], (height, 1, 3))


def _enlarged(levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Levels of patches between their middles too, for width and height in pixels."""
    return np.clip(cv2.resize(levels, size, interpolation=cv2.INTER_CUBIC), 0, 1)


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
