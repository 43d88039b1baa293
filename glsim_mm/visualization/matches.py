"""Patches of two photos that are alike: where they and the lines between them are drawn, and the picture of it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from .layout import BACKGROUND, GAP, load_font, stack, text_strip
from .overlays import SELECTED_COLOR, Box

STRONGEST = 8
_WIDTH, _MIDDLE, _LABEL_HEIGHT, _FONT_SIZE = 440, 60, 20, 14
_FINER = 2  # drawn so many times as large, for smooth lines


class PatchPair(NamedTuple):
    """Two patches that are alike, of a query and of a hit.

    Attributes:
        similarity: -1 to 1.
        weight: Share of it in the similarity of the regions, 0 to 1.
        query_box, box: Where they lie, ``x0, y0, x1, y1`` as shares of width and height of their photos.
    """

    similarity: float
    weight: float
    query_box: Box
    box: Box


class Line(NamedTuple):
    """What is drawn of a pair, in units of the picture: two boxes and a line between them, past a number.

    Attributes:
        pair: The pair.
        boxes: That of the query and that of the hit.
        points: Ends of the line, and of its piece between the photos, where the number stands: (4, 2).
        label: Where the middle of the number stands.
        width: Of the line, 1 to 5, the more alike the wider.
        opacity: Of the line, 0.4 to 1.
    """

    pair: PatchPair
    boxes: tuple[np.ndarray, np.ndarray]
    points: np.ndarray
    label: tuple[float, float]
    width: float
    opacity: float


class MatchLayout(NamedTuple):
    """Two photos side by side with lines between them.

    Attributes:
        width, height: Of the picture.
        photos: ``x0, y0, x1, y1`` of the query and of the hit.
        lines: Those of the pairs that are most alike, the most alike first.
    """

    width: float
    height: float
    photos: tuple[np.ndarray, np.ndarray]
    lines: list[Line]


def lay_out_matches(
    pairs: Sequence[PatchPair], query_size: Sequence[float], size: Sequence[float], strongest: int = STRONGEST
) -> MatchLayout:
    """Place two photos, of width and height in any unit, side by side at one height, and lines between their patches.

    The numbers stand one below the other between the photos, in the order of the lines' heights, so that none hides
    another.
    """
    chosen = sorted(pairs, key=lambda pair: -pair.similarity)[:strongest]
    ratios = query_size[0] / query_size[1], size[0] / size[1]
    side = (_WIDTH - _MIDDLE) / sum(ratios)
    height = max(side, len(chosen) * _LABEL_HEIGHT)
    top, start = (height - side) / 2, side * ratios[0] + _MIDDLE
    photos = np.array([0, top, side * ratios[0], top + side]), np.array([start, top, _WIDTH, top + side])
    boxes = [(_placed(one.query_box, photos[0]), _placed(one.box, photos[1])) for one in chosen]
    ends = [np.array([(box[:2] + box[2:]) / 2 for box in both]) for both in boxes]
    middles = np.array([one[:, 1].mean() for one in ends])
    lines = []
    for number, (pair, both, (first, last)) in enumerate(zip(chosen, boxes, ends)):
        # Labels are spread evenly over the height: the more lines lie above this one, the lower its label.
        place = np.flatnonzero(np.argsort(middles, kind='stable') == number)[0]
        y = (place + 0.5) * height / len(chosen)
        left, right = photos[0][2] + 0.15 * _MIDDLE, photos[1][0] - 0.15 * _MIDDLE
        level = float(np.clip(pair.similarity, 0, 1))
        points = np.array([first, (left, y), (right, y), last])
        lines.append(Line(pair, both, points, ((left + right) / 2, y), 1 + 4 * level, 0.4 + 0.6 * level))
    return MatchLayout(_WIDTH, height, photos, lines)


def _placed(box: Box, photo: np.ndarray) -> np.ndarray:
    """A box, shares of a photo, in units of the picture."""
    size = photo[2:] - photo[:2]
    return np.asarray(box, np.float64) * np.tile(size, 2) + np.tile(photo[:2], 2)


def draw_matches(query: np.ndarray, hit: np.ndarray, pairs: Sequence[PatchPair], caption: str = '') -> np.ndarray:
    """Draw two photos, (H, W, 3) uint8 RGB of any sizes, and lines between their patches that are most alike."""
    layout = lay_out_matches(pairs, query.shape[1::-1], hit.shape[1::-1])
    canvas = Image.new('RGB', (round(layout.width * _FINER), round(layout.height * _FINER)), BACKGROUND)
    for image, place in zip((query, hit), layout.photos):
        x0, y0, x1, y1 = (place * _FINER).round().astype(int).tolist()
        canvas.paste(
            Image.fromarray(image).resize((max(x1 - x0, 1), max(y1 - y0, 1)), Image.Resampling.LANCZOS), (x0, y0)
        )
    for line in reversed(layout.lines):  # the most alike on top
        layer = Image.new('RGBA', canvas.size, (0, 0, 0, 0))
        draw = ImageDraw.Draw(layer)
        points = [tuple(point) for point in (line.points * _FINER).tolist()]
        alpha = round(255 * line.opacity)
        for color, more in (((255, 255, 255, alpha), 2), ((*SELECTED_COLOR, alpha), 0)):
            draw.line(points, color, round((line.width + more) * _FINER), 'curve')
            for box in line.boxes:
                draw.rectangle((box * _FINER).tolist(), None, color, round((2 + more / 2) * _FINER))
        canvas.paste(layer, mask=layer)
    draw, font = ImageDraw.Draw(canvas), load_font(_FONT_SIZE * _FINER, bold=True)
    for line in layout.lines:
        x, y = (_FINER * value for value in line.label)
        text = similarity_text(line.pair.similarity)
        half = font.getlength(text) / 2 + 3 * _FINER
        draw.rounded_rectangle((x - half, y - 9 * _FINER, x + half, y + 9 * _FINER), 4 * _FINER, BACKGROUND)
        draw.text((x, y), text, (0, 0, 0), font, anchor='mm')
    size = round(layout.width), round(layout.height)
    picture = np.asarray(canvas.resize(size, Image.Resampling.LANCZOS))
    return stack([text_strip(caption, size[0], _FONT_SIZE, bold=True), picture], GAP) if caption else picture


def similarity_text(value: float) -> str:
    """A similarity with two digits, and a proper minus sign."""
    return f'{value:.2f}'.replace('-', '−')
