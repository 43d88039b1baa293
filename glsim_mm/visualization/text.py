"""Text in pictures."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEXT_COLOR = (32, 32, 32)
MUTED_COLOR = (96, 96, 96)
BACKGROUND = (255, 255, 255)
ELLIPSIS = '…'


@lru_cache(maxsize=32)
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings: Latin, Greek, Cyrillic, Arabic, Hebrew, no East Asian scripts.

    Args:
        size: In pixels.

    Returns:
        The font.
    """
    import matplotlib  # here, for it is slow to import

    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', name)), size)


def one_line(text: str) -> str:
    """Text without line breaks and characters that do not print, which would shift what is drawn after them.

    Args:
        text: Any text.

    Returns:
        One line.
    """
    return ''.join(character if character.isprintable() else ' ' for character in text).strip()


def shorten(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Cut text to a width, its middle replaced by an ellipsis: names of one genus differ at their end.

    Args:
        text: Any text.
        width: In pixels.
        font: In which it will be drawn.

    Returns:
        The text, or as much of its start and end as fits; at least the ellipsis.
    """
    text = one_line(text)
    if font.getlength(text) <= width:
        return text
    fits, too_many = 0, len(text)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if font.getlength(_without_middle(text, middle)) <= width:
            fits = middle
        else:
            too_many = middle
    return _without_middle(text, fits)


def text_strip(text: str, width: int, size: int, bold: bool = False, color: tuple = TEXT_COLOR) -> np.ndarray:
    """A line of text on white, shortened to fit.

    Args:
        text: Any text.
        width: In pixels.
        size: Of the font in pixels.
        color: RGB.

    Returns:
        (H, width, 3) uint8 RGB, H = :func:`line_height`.
    """
    canvas = Image.new('RGB', (width, line_height(size)), BACKGROUND)
    draw_text(ImageDraw.Draw(canvas), (0, 0), text, width, load_font(size, bold), color)
    return np.asarray(canvas)


def draw_text(
    draw: ImageDraw.ImageDraw,
    position: tuple[float, float],
    text: str,
    width: float,
    font: ImageFont.FreeTypeFont,
    color: tuple = TEXT_COLOR,
) -> float:
    """Draw a line of text, shortened to fit.

    Args:
        draw: Where to draw.
        position: x of the left end and y of the top of the line.
        text: Any text.
        width: Most pixels that it may take.
        font: The font.
        color: RGB.

    Returns:
        Width of what was drawn in pixels.
    """
    text = shorten(text, int(width), font)
    draw.text((position[0], position[1] + line_height(font.size) / 2), text, color, font, anchor='lm')
    return font.getlength(text)


def line_height(size: float) -> int:
    """Pixels from a line of text to the next.

    Args:
        size: Of the font in pixels.

    Returns:
        Pixels.
    """
    return round(1.45 * size)


def _without_middle(text: str, kept: int) -> str:
    start = (kept + 1) // 2
    return text[:start].rstrip() + ELLIPSIS + text[len(text) - (kept - start) :].lstrip()
