"""From a detector's boxes to the parts of a photo that a classifier sees."""

import numpy as np

from retrieval.errors import RetrievalError


def check_boxes(boxes: np.ndarray) -> np.ndarray:
    """Boxes as an array.

    Args:
        boxes: (n, 4), ``x0, y0, x1, y1`` in pixels; an empty list for none.

    Returns:
        float32, (n, 4).

    Raises:
        RetrievalError: If they have another shape, are not finite, or end before they begin.
    """
    array = np.asarray(boxes, np.float32)
    array = array.reshape(0, 4) if array.size == 0 else array
    if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
        raise RetrievalError(f'boxes must be (n, 4) finite numbers, x0, y0, x1, y1 in pixels, got shape {array.shape}')
    if (array[:, 2:] < array[:, :2]).any():
        raise RetrievalError('a box ends before it begins: give x0, y0, x1, y1, not x, y, width, height')
    return array


def crop_areas(
    boxes: np.ndarray, shape: tuple[int, int], margin: float = 0.1, square: bool = True, min_side: float = 16
) -> np.ndarray:
    """Boxes with some of what is around them, inside the photo.

    Args:
        boxes: float32, (n, 4), ``x0, y0, x1, y1`` in pixels.
        shape: Height and width of the photo.
        margin: Share of a box's sides that is added at each of them, >= 0.
        square: Lengthen the shorter side, so that resizing to a square distorts nothing, as far as the photo reaches.
        min_side: Least side in pixels.

    Returns:
        float32, (n, 4), inside the photo; a box outside of it is moved to its border.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = (boxes[:, 2:] - boxes[:, :2]) * (1 + 2 * margin)
    if square:
        sides = np.repeat(sides.max(axis=1, keepdims=True), 2, axis=1)
    limits = np.array([shape[1], shape[0]], np.float32)
    sides = np.minimum(np.maximum(sides, min_side), limits)
    # An area that would hang over the border is moved inside, with its sides kept.
    starts = np.clip(centres - sides / 2, 0, limits - sides)
    return np.concatenate([starts, starts + sides], axis=1).astype(np.float32)
