"""Several objects in one photo, with their names."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from .boxes import ANNOTATED_COLOR, SELECTED_COLOR, draw_outlined_box
from .prediction import Box
from .text import line_height, load_font, shorten


class DrawnObject(NamedTuple):
    """An object to draw.

    Attributes:
        box: ``x0, y0, x1, y1`` in pixels of the photo.
        caption: Its name.
        region: Where the model looked closer.
    """

    box: Box
    caption: str
    region: Box | None = None


def draw_objects(photo: np.ndarray, objects: Sequence[DrawnObject]) -> np.ndarray:
    """Draw boxes with captions, and within them the selected regions.

    Args:
        photo: (H, W, 3) uint8 RGB.
        objects: Any number.

    Returns:
        (H, W, 3) uint8 RGB, a new image.
    """
    drawn = np.ascontiguousarray(photo).copy()
    size = max(11, min(photo.shape[:2]) // 28)
    width = max(2, min(photo.shape[:2]) // 200)
    for one in objects:
        drawn = draw_outlined_box(drawn, one.box, ANNOTATED_COLOR, width)
        if one.region is not None:
            drawn = draw_outlined_box(drawn, one.region, SELECTED_COLOR, width)
    canvas = Image.fromarray(drawn)
    draw, font, height = ImageDraw.Draw(canvas), load_font(size, bold=True), line_height(size)
    for one in objects:
        caption = shorten(one.caption, photo.shape[1] - 6, font)
        length = font.getlength(caption) + 6
        # Above the box, or inside it at the upper border; never beyond the right one.
        left = min(max(0, one.box[0]), max(0, photo.shape[1] - length))
        top = one.box[1] - height if one.box[1] >= height else max(0, one.box[1])
        draw.rectangle((left, top, left + length, top + height), fill='black')
        draw.text((left + 3, top + height / 2), caption, 'white', font, anchor='lm')
    return np.asarray(canvas)
