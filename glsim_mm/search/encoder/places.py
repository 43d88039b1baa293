"""Places in the network input in pixels of the photo."""

from collections.abc import Sequence

import numpy as np

from glsim_mm.images.geometry import map_box


def move_box(
    matrix: np.ndarray, box: Sequence[float], shape: tuple[int, int], offset: tuple[int, int] = (0, 0)
) -> tuple[float, float, float, float]:
    """A box of the network input in pixels of the photo.

    Args:
        matrix: (2, 3) of :meth:`TestPipeline.to_photo`.
        box: ``x0, y0, x1, y1`` in pixels of the network input.
        shape: Height and width of what went into the pipeline.
        offset: Where in the photo its upper left corner lies, x and y. Defaults to the photo's own.

    Returns:
        ``x0, y0, x1, y1``.
    """
    x0, y0, x1, y1 = map_box(matrix, box, shape)
    return x0 + offset[0], y0 + offset[1], x1 + offset[0], y1 + offset[1]
