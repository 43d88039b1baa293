"""Places in network inputs and in the photos from which these were made."""

from collections.abc import Sequence

import numpy as np


def map_box(matrix: np.ndarray, box: Sequence[float], shape: tuple[int, int]) -> list[float]:
    """Move a box ``x0, y0, x1, y1`` from the network input to the photo.

    Args:
        matrix: (2, 3) as :meth:`PhotoPipeline.to_photo` gives it.
        box: In pixels of the network input.
        shape: Height and width of the photo in pixels, beyond which the box is cut off.
    """
    x0, y0, x1, y1 = box
    corners = matrix @ np.array([[x0, x1, x0, x1], [y0, y0, y1, y1], [1, 1, 1, 1]], np.float64)
    limits = np.array(shape[::-1], np.float64)
    low, high = np.clip(corners.min(axis=1), 0, limits), np.clip(corners.max(axis=1), 0, limits)
    return [float(value) for value in np.round(np.concatenate([low, high]), 3)]
