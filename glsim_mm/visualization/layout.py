"""Text, legends and pictures, (H, W, 3) uint8 RGB, beside and below each other on white."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..images.selection_strength import Strength
from .overlays import ANNOTATED_COLOR, SELECTED_COLOR, light_bar

TEXT_COLOR = (32, 32, 32)
MUTED_COLOR = (96, 96, 96)
BACKGROUND = (255, 255, 255)
ELLIPSIS = '…'


@lru_cache(maxsize=32)
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings, of a size in pixels; it has no East Asian scripts."""
    import matplotlib  # here, for it is slow to import

    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', name)), size)


def one_line(text: str) -> str:
    """Text without line breaks and characters that do not print, which would shift what is drawn after them."""
    return ''.join(character if character.isprintable() else ' ' for character in text).strip()


def shorten(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Cut text to a width in pixels in its middle, because names of one genus differ at their end."""
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
    """A line of text on white, shortened to a width in pixels, (:func:`line_height`, width, 3) uint8 RGB."""
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
    """Draw a line of text, shortened to a width in pixels, and return the width that it takes.

    The position is the x of its left end and the y of the top of the line.
    """
    text = shorten(text, int(width), font)
    draw.text((position[0], position[1] + line_height(font.size) / 2), text, color, font, anchor='lm')
    return font.getlength(text)


def line_height(size: float) -> int:
    """Pixels from one line of text to the next, for a font of a size in pixels."""
    return round(1.45 * size)


def _without_middle(text: str, kept: int) -> str:
    start = (kept + 1) // 2
    return text[:start].rstrip() + ELLIPSIS + text[len(text) - (kept - start) :].lstrip()


GAP = 6
BAR_LENGTH = 96


def join(pictures: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Lay out pictures side by side, their tops in line, ``gap`` pixels apart."""
    height = max(len(picture) for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    canvas, x = np.full((height, width, 3), BACKGROUND, np.uint8), 0
    for picture in pictures:
        canvas[: len(picture), x : x + picture.shape[1]] = picture
        x += picture.shape[1] + gap
    return canvas


def stack(pictures: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    """Lay out pictures below each other, their left sides in line, ``gap`` pixels apart."""
    return join([picture.transpose(1, 0, 2) for picture in pictures], gap).transpose(1, 0, 2)


def with_margin(picture: np.ndarray, margin: int = GAP) -> np.ndarray:
    """Put white around a picture, ``margin`` pixels on each side."""
    return np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)


def contact_sheet(pictures: Sequence[np.ndarray], columns: int = 2, footer: np.ndarray | None = None) -> np.ndarray:
    """Lay out pictures of any sizes, at least one, in rows of so many columns, and a legend as footer below."""
    if not pictures:
        raise ValueError('a contact sheet needs at least one picture')
    gap = 3 * GAP
    height, width = np.max([picture.shape[:2] for picture in pictures], axis=0) + gap
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height, min(columns, len(pictures)) * width, 3), BACKGROUND, np.uint8)
    for index, picture in enumerate(pictures):
        y, x = index // columns * height, index % columns * width
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return with_margin(sheet if footer is None else stack([sheet, footer]))


def legend_strip(
    width: int,
    size: int,
    scaling: str | None,
    selected: bool = True,
    annotated: bool = True,
    strength: Strength | None = None,
    crops: bool = False,
    border: bool = False,
) -> np.ndarray | None:
    """Explain heat maps, boxes and crops in as many lines as the width needs; None if there are none.

    ``width`` and the ``size`` of the font are pixels. ``scaling``, see :func:`patch_levels`, is None if there are no
    heat maps, ``strength`` that of the only one; ``selected`` and ``annotated`` say which boxes are drawn, ``crops``
    and ``border`` whether crops are, and a part of photos that the model did not get.
    """
    items = []
    if scaling is not None:
        low, high = ('low', 'high') if strength is None or scaling == 'rank' else strength.ends
        what = 'patch rank:' if scaling == 'rank' else 'patch score:'
        items.append(_item([what, low, light_bar(round(0.8 * size), BAR_LENGTH), high], size))
    if strength is not None:
        words = f'contrast {strength.contrast:.2f}{" (flat)" if strength.is_flat else ""}'
        items.append(_item([f'scores {strength.words}' if scaling == 'rank' else words], size))
    if border:
        items.append(_item(['dark border: cut off before the model'], size))
    frames = (selected, SELECTED_COLOR, 'selected box'), (annotated, ANNOTATED_COLOR, 'annotated box')
    items += [_item([_swatch(color, size), words], size) for is_drawn, color, words in frames if is_drawn]
    if crops:
        items.append(_item(['crops: the model sees them as squares'], size))
    if not items:
        return None
    lines: list[list[np.ndarray]] = [[]]
    for item in items:
        used = sum(other.shape[1] + 3 * GAP for other in lines[-1])
        if lines[-1] and used + item.shape[1] > width:
            lines.append([])
        lines[-1].append(item[:, :width])
    strip = stack([join(line, 3 * GAP) for line in lines])
    return np.pad(strip, ((GAP, 0), (0, max(width - strip.shape[1], 0)), (0, 0)), constant_values=255)


def _swatch(color: tuple[int, int, int], size: int) -> np.ndarray:
    """A small frame as boxes have it."""
    swatch = np.full((round(0.9 * size), round(1.3 * size), 3), color, np.uint8)
    swatch[3:-3, 3:-3] = BACKGROUND
    return swatch


def _item(parts: Sequence[str | np.ndarray], size: int) -> np.ndarray:
    """Words and small pictures in one line."""
    font, height = load_font(size), line_height(size)
    widths = [int(np.ceil(font.getlength(part))) if isinstance(part, str) else part.shape[1] for part in parts]
    canvas = Image.new('RGB', (sum(widths) + GAP * (len(parts) - 1), height), BACKGROUND)
    x = 0
    for part, width in zip(parts, widths):
        if isinstance(part, str):
            draw_text(ImageDraw.Draw(canvas), (x, 0), part, width, font)
        else:
            canvas.paste(Image.fromarray(part), (x, (height - len(part)) // 2))
        x += width + GAP
    return np.asarray(canvas)
