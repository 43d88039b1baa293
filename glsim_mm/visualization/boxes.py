"""Boxes on images, and what they cut out. Images are (H, W, 3) uint8, boxes ``x0, y0, x1, y1`` in their pixels."""

import cv2
import numpy as np

from .prediction import Box

# Okabe and Ito's colours, which people with any form of colour blindness tell apart
# (https://jfly.uni-koeln.de/color/); RGB.
SELECTED_COLOR = (213, 94, 0)
ANNOTATED_COLOR = (86, 180, 233)
_OUTLINES = (255, 255, 255), (0, 0, 0)


def draw_box(image: np.ndarray, box: Box, color: tuple[int, int, int], width: int = 2) -> np.ndarray:
    """Draw a frame just within a box, cut off at the border of the image.

    Args:
        image: (H, W, 3) uint8.
        box: ``x0, y0, x1, y1`` in pixels.
        color: In the image's order of channels.
        width: Of the frame in pixels.

    Returns:
        A new image.
    """
    x0, y0, x1, y1 = _to_pixels(box, image.shape)
    drawn = image.copy()
    drawn[y0:y1, x0:x1] = color
    inner = slice(y0 + width, max(y1 - width, y0 + width)), slice(x0 + width, max(x1 - width, x0 + width))
    drawn[inner] = image[inner]
    return drawn


def draw_outlined_box(image: np.ndarray, box: Box, color: tuple[int, int, int], width: int = 2) -> np.ndarray:
    """Draw a frame that stands out on any image: the colour between a black and a white line of one pixel.

    Args:
        image: (H, W, 3) uint8.
        box: ``x0, y0, x1, y1`` in pixels.
        color: In the image's order of channels.
        width: Of the coloured frame in pixels; the lines lie within it and without.

    Returns:
        A new image.
    """
    x0, y0, x1, y1 = _to_pixels(box, image.shape)
    inner, outer = _OUTLINES
    drawn = draw_box(image, (x0, y0, x1, y1), outer, width + 2)
    drawn = draw_box(drawn, (x0 + 1, y0 + 1, x1 - 1, y1 - 1), color, width)
    ring = np.array([width + 1, width + 1, -width - 1, -width - 1]) + (x0, y0, x1, y1)
    if ring[2] - ring[0] > 2 and ring[3] - ring[1] > 2:
        drawn = draw_box(drawn, ring, inner, 1)
    return drawn


def crop_box(image: np.ndarray, box: Box, size: int | tuple[int, int]) -> np.ndarray:
    """Cut out a box and resize it.

    Args:
        image: (H, W, 3) uint8.
        box: ``x0, y0, x1, y1`` in pixels; at least one pixel is taken.
        size: Height and width of the result in pixels; one number makes a square.

    Returns:
        (height, width, 3) uint8.
    """
    height, width = (size, size) if isinstance(size, int) else size
    x0, y0, x1, y1 = _to_pixels(box, image.shape)
    return cv2.resize(np.ascontiguousarray(image[y0:y1, x0:x1]), (width, height), interpolation=cv2.INTER_LINEAR)


def box_share(box: Box, shape: tuple[int, ...]) -> float:
    """Share of an image that a box covers.

    Args:
        box: ``x0, y0, x1, y1`` in pixels; what lies outside of the image does not count.
        shape: Of the image, height and width first.

    Returns:
        0..1.
    """
    return _area(_clip(box, (0, 0, shape[1], shape[0]))) / (shape[0] * shape[1])


def share_inside(box: Box, other: Box) -> float:
    """Share of a box that lies inside another.

    Args:
        box: ``x0, y0, x1, y1`` in pixels.

    Returns:
        0..1; 0 for an empty box.
    """
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
