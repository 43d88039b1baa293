"""Pictures, (H, W, 3) uint8 RGB, beside and above each other on white."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .boxes import ANNOTATED_COLOR, SELECTED_COLOR
from .heatmap import color_bar
from .text import BACKGROUND, draw_text, line_height, load_font

GAP = 6
BAR_LENGTH = 96


def join(pictures: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Lay out pictures side by side, their tops in line.

    Args:
        pictures: At least one.
        gap: Pixels between them. Defaults to 6.

    Returns:
        (H, W, 3) uint8.
    """
    height = max(len(picture) for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    canvas, x = np.full((height, width, 3), BACKGROUND, np.uint8), 0
    for picture in pictures:
        canvas[: len(picture), x : x + picture.shape[1]] = picture
        x += picture.shape[1] + gap
    return canvas


def stack(pictures: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    """Lay out pictures below each other, their left sides in line.

    Args:
        pictures: At least one.
        gap: Pixels between them.

    Returns:
        (H, W, 3) uint8.
    """
    return join([picture.transpose(1, 0, 2) for picture in pictures], gap).transpose(1, 0, 2)


def with_margin(picture: np.ndarray, margin: int = GAP) -> np.ndarray:
    """Put white around a picture.

    Args:
        picture: (H, W, 3) uint8.
        margin: In pixels. Defaults to 6.

    Returns:
        (H + 2 * margin, W + 2 * margin, 3) uint8.
    """
    return np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)


def contact_sheet(pictures: Sequence[np.ndarray], columns: int = 2, footer: np.ndarray | None = None) -> np.ndarray:
    """Lay out pictures, which may differ in size, in rows.

    Args:
        pictures: At least one (H, W, 3) uint8 picture.
        columns: Pictures per row.
        footer: Picture to put below, a legend.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If there is no picture.
    """
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
    width: int, size: int, colormap: str | None, scaling: str = 'rank', selected: bool = True, annotated: bool = True
) -> np.ndarray | None:
    """Explain the colours of heat maps and boxes in as many lines as the width needs.

    Args:
        width: In pixels.
        size: Of the font in pixels.
        colormap: Of the heat maps, None if there are none.
        scaling: Of the heat maps.
        selected: Whether selected boxes are drawn.
        annotated: Whether annotated boxes are drawn.

    Returns:
        (H, width, 3) uint8 RGB, None if there is nothing to explain.
    """
    items = []
    if colormap is not None:
        words = 'patch rank: low' if scaling == 'rank' else 'patch score: low'
        items.append(_item([words, color_bar(round(0.8 * size), BAR_LENGTH, colormap), 'high'], size))
    frames = (selected, SELECTED_COLOR, 'selected box'), (annotated, ANNOTATED_COLOR, 'annotated box')
    items += [_item([_swatch(color, size), words], size) for is_drawn, color, words in frames if is_drawn]
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
