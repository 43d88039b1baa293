"""What is drawn of one image: where the model looked, what it saw there, and what it took it for."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from retrieval.names import pretty_name

from ..images.places import map_box
from ..images.selection_strength import map_strength
from ..output_files import write_file
from .layout import (
    BACKGROUND,
    GAP,
    MUTED_COLOR,
    draw_text,
    join,
    legend_strip,
    line_height,
    load_font,
    shorten,
    stack,
    text_strip,
)
from .overlays import ANNOTATED_COLOR, SELECTED_COLOR, Box, crop_box, draw_outlined_box, overlay_heatmap


@dataclass
class Prediction:
    """What is drawn of one image. Boxes are ``x0, y0, x1, y1`` in pixels of :attr:`image`.

    Attributes:
        image: Upright photo, or the network input before normalisation, (H, W, 3) uint8 RGB.
        predicted: Name of the predicted class.
        score: Its probability, 0..1.
        truth: Name of the true class, if known.
        selected_box: Where the model took its crop. Defaults to None, for models without.
        similarity_map: (h, w) scores of the patches, the larger the likelier selected.
        annotated_box: Where the object is.
        top: Names and probabilities of the likeliest classes, likeliest first.
        selected_boxes: All boxes, (R, 4), of a model with several crops.
        path: Path of the image file, for captions and file names.
        map_area: The part of the photo that the map covers; None for the whole image.
        is_photo: Whether :attr:`image` is the photo, see :func:`in_photo`.

    Example::

        prediction = Prediction(image, 'Fish Crow', 0.87, truth='Common Raven', selected_box=(40, 30, 180, 150))
        draw_panel(prediction)  # (H, W, 3) uint8 RGB
    """

    image: np.ndarray
    predicted: str
    score: float
    truth: str | None = None
    selected_box: Box | None = None
    similarity_map: np.ndarray | None = None
    annotated_box: Box | None = None
    top: Sequence[tuple[str, float]] = ()
    selected_boxes: Sequence[Box] | np.ndarray | None = None
    path: str | None = None
    map_area: Box | None = None
    is_photo: bool = False

    @property
    def is_right(self) -> bool | None:
        """Whether predicted and true class agree, None where the true class is unknown."""
        return None if self.truth is None else self.truth == self.predicted

    @property
    def boxes(self) -> list[Box]:
        """Every selected box: none, one or several."""
        if self.selected_boxes is not None:
            return list(self.selected_boxes)
        return [] if self.selected_box is None else [self.selected_box]

    @property
    def frame(self) -> Box:
        """The part of the image in which boxes were chosen."""
        return (0, 0, *self.image.shape[1::-1]) if self.map_area is None else self.map_area

    @property
    def has_border(self) -> bool:
        """Whether the image has parts of more than a pixel that the model did not get."""
        return bool(np.abs(np.subtract(self.frame, (0, 0, *self.image.shape[1::-1]))).max() > 1)


PHOTO_SIDE = 1280  # pixels; larger photos are not kept for pictures


def shrunk(photo: np.ndarray) -> np.ndarray:
    """A photo of at most 1,280 pixels along each side, as pictures are drawn of it."""
    scale = PHOTO_SIDE / max(photo.shape[:2])
    if scale >= 1:
        return photo
    size = max(round(photo.shape[1] * scale), 1), max(round(photo.shape[0] * scale), 1)
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA)


def in_photo(
    prediction: Prediction,
    photo: np.ndarray,
    matrix: np.ndarray | None,
    part: tuple[int, int, int, int] | None = None,
) -> Prediction:
    """A prediction on a network input as one on the photo from which that was made.

    It stays as it is where its boxes and map have no place in the photo: where the way back is not known, or the input
    is turned, mirrored or padded.

    Args:
        prediction: On the network input.
        photo: Upright, (H, W, 3) uint8 RGB; what is drawn is :func:`shrunk`.
        matrix: (2, 3) map from pixels of the network input to pixels of :attr:`part`, see
            :class:`glsim_mm.images.preparing.PhotoPipeline`.
        part: x, y, height and width of the part of the photo that was looked at; None for the whole.
    """
    x, y, height, width = part or (0, 0, *photo.shape[:2])
    boxes = [*prediction.boxes, *([] if prediction.annotated_box is None else [prediction.annotated_box])]
    if not boxes and prediction.similarity_map is None:
        return replace(prediction, image=shrunk(photo), is_photo=True)
    if matrix is None or matrix[0, 1] or matrix[1, 0] or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        return prediction
    corners = matrix @ np.array([[0, prediction.image.shape[1]], [0, prediction.image.shape[0]], [1, 1]], np.float64)
    if corners.min() < -1 or (corners[:, 1] > (width + 1, height + 1)).any():
        return prediction

    drawn = shrunk(photo)
    scale = np.divide(drawn.shape[1::-1], photo.shape[1::-1])

    def placed(box: Box) -> np.ndarray:
        return np.add(map_box(matrix, list(box), (height, width)), (x, y, x, y)) * np.tile(scale, 2)

    def maybe(box: Box | None) -> np.ndarray | None:
        return None if box is None else placed(box)

    several = prediction.selected_boxes
    return replace(
        prediction,
        image=drawn,
        is_photo=True,
        map_area=placed((0, 0, *prediction.image.shape[1::-1])),
        selected_box=maybe(prediction.selected_box),
        annotated_box=maybe(prediction.annotated_box),
        selected_boxes=None if several is None else np.array([placed(box) for box in several]),
    )


MIN_SIDE = 96
RIGHT_COLOR, WRONG_COLOR = (0, 158, 115), (213, 94, 0)  # Okabe and Ito's bluish green and vermilion
BAR_COLOR, TRACK_COLOR = (0, 114, 178), (228, 228, 228)
NUM_BARS = 5
_BADGES = {None: ('', BACKGROUND), True: ('✓ right', RIGHT_COLOR), False: ('✗ wrong', WRONG_COLOR)}


def draw_panel(
    prediction: Prediction,
    side: int = 192,
    scaling: str = 'linear',
    legend: bool = True,
    words: bool = True,
) -> np.ndarray:
    """Draw an image, its heat map, its boxes, its crops and its likeliest classes side by side.

    What a prediction does not have is left out: a model without selection has neither heat map nor crop. Several crops
    share their place in a grid.

    Args:
        prediction: What to draw.
        side: Height of the images in pixels, at least 96, for text to be legible.
        scaling: See :func:`patch_levels`.
        legend: Explain light, boxes and crops below.
        words: Write headline and likeliest classes; without, the pictures alone are drawn.
    """
    if side < MIN_SIDE:
        raise ValueError(f'side must be at least {MIN_SIDE} pixels for text to be legible, got {side}')
    size, tiles = font_size(side), panel_tiles(prediction, side, scaling)
    columns = [
        stack([text_strip(name.partition(':')[0], tile.shape[1], size, color=MUTED_COLOR), tile])
        for name, tile in tiles
    ]
    row = join([*columns, _bars(prediction, side, size)] if words else columns)
    parts = [_headline(prediction, row.shape[1], size + 2), row] if words else [row]
    if legend:
        heat = prediction.similarity_map
        marks = dict(selected=bool(prediction.boxes), annotated=prediction.annotated_box is not None)
        strength = None if heat is None else map_strength(heat)
        how = None if heat is None else scaling
        marks.update(crops=bool(prediction.boxes), border=heat is not None and prediction.has_border)
        strip = legend_strip(row.shape[1], size, how, **marks, strength=strength)
        parts += [] if strip is None else [strip]
    return stack(parts)


def panel_tiles(
    prediction: Prediction, side: int = 192, scaling: str = 'linear', padded: bool = True
) -> list[tuple[str, np.ndarray]]:
    """The pictures of a panel, see :func:`draw_panel`: photo, heat map, boxes and crops.

    Each has a name, and after a colon perhaps what else there is to say. ``padded`` gives a single crop the shape of
    the photo, as pictures need and pages, which have backgrounds of their own, do not.
    """
    image = fit_height(prediction.image, side)
    tiles = [('photo' if prediction.is_photo else 'network input', image)]
    heat = prediction.similarity_map
    if heat is not None:
        area = _scaled(prediction.frame, prediction, image)
        tiles.append((f'heat map: {map_strength(heat).words}', overlay_heatmap(image, heat, scaling, area)))
    if prediction.boxes or prediction.annotated_box is not None:
        tiles.append(('box', with_boxes(image, prediction)))
    if prediction.boxes:
        label = 'crop' if len(prediction.boxes) == 1 else f'{len(prediction.boxes)} crops'
        tiles.append((f'{label}: the model sees a square', _crops(prediction, image.shape, padded)))
    return tiles


def font_size(side: int) -> int:
    """Size of text, 11 to 18, beside images of a height, both in pixels."""
    return int(np.clip(side // 15, 11, 18))


def fit_height(image: np.ndarray, side: int) -> np.ndarray:
    """Resize an image to a height in pixels, its shape kept."""
    width = max(round(image.shape[1] * side / image.shape[0]), 1)
    method = cv2.INTER_CUBIC if side > image.shape[0] else cv2.INTER_AREA
    return cv2.resize(image, (width, side), interpolation=method)


def with_boxes(image: np.ndarray, prediction: Prediction) -> np.ndarray:
    """Draw the annotated box (sky blue) and the selected ones (vermilion) on an image or a heat map of any size."""
    if prediction.annotated_box is not None:
        image = draw_outlined_box(image, _scaled(prediction.annotated_box, prediction, image), ANNOTATED_COLOR)
    for box in prediction.boxes:
        image = draw_outlined_box(image, _scaled(box, prediction, image), SELECTED_COLOR)
    return image


def _scaled(box: object, prediction: Prediction, image: np.ndarray) -> np.ndarray:
    """A box in pixels of another size of the image."""
    y, x = np.divide(image.shape[:2], prediction.image.shape[:2])
    return np.asarray(box, np.float64) * (x, y, x, y)


def _crops(prediction: Prediction, shape: tuple[int, ...], padded: bool) -> np.ndarray:
    """Crops in their own shape, in a grid of the shape of the image."""
    per_row = int(np.ceil(np.sqrt(len(prediction.boxes))))
    canvas = np.full(shape, BACKGROUND, np.uint8)
    ys, xs = (np.linspace(0, extent, per_row + 1).round().astype(int) for extent in shape[:2])
    for index, box in enumerate(prediction.boxes):
        row, column = divmod(index, per_row)
        room = np.array([ys[row + 1] - ys[row], xs[column + 1] - xs[column]]) - (per_row > 1)
        own = np.maximum(np.subtract(box[2:], box[:2])[::-1].astype(np.float64), 1)
        height, width = np.maximum((own * (room / own).min()).round().astype(int), 1)
        y, x = np.array([ys[row], xs[column]]) + (room - (height, width)) // 2
        canvas[y : y + height, x : x + width] = crop_box(prediction.image, box, (int(height), int(width)))
    if len(prediction.boxes) == 1 and not padded:
        return canvas[y : y + height, x : x + width]
    return canvas


def _headline(prediction: Prediction, width: int, size: int) -> np.ndarray:
    """Right or wrong as a word, a mark and a colour, then the names; the true one on a second line for want of room."""
    bold, plain, score = load_font(size, bold=True), load_font(size), percent(prediction.score)
    badge, color = _BADGES[prediction.is_right]
    start = bold.getlength(badge) + 3 * GAP if badge else 0.0
    predicted = pretty_name(prediction.predicted)
    truth = f'is: {pretty_name(prediction.truth or "")}' if prediction.is_right is False else ''
    taken = start + sum(bold.getlength(part) + 2 * GAP for part in (predicted, score))
    is_long = bool(truth) and taken + plain.getlength(truth) > width
    height = line_height(size)
    canvas = Image.new('RGB', (width, height * (2 if is_long else 1) + GAP), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    if badge:
        draw.rounded_rectangle((0, 0, start - GAP, height), 4, color)
        draw_text(draw, (GAP, 0), badge, start, bold, (0, 0, 0))
    room = width - start - bold.getlength(score) - GAP
    x = start + draw_text(draw, (start, 0), predicted, room, bold) + GAP
    draw_text(draw, (x, 0), score, bold.getlength(score) + 1, bold)
    x, y = (0, height) if is_long else (taken, 0)
    draw_text(draw, (x, y), truth, width - x, plain)
    return np.asarray(canvas)


def _bars(prediction: Prediction, side: int, size: int) -> np.ndarray:
    """The likeliest classes with their probabilities; the true class is marked."""
    top = list(prediction.top)[:NUM_BARS] or [(prediction.predicted, prediction.score)]
    width, header, row = round(1.35 * side), line_height(size), side / NUM_BARS
    canvas = Image.new('RGB', (width, header + side), BACKGROUND)
    draw, font = ImageDraw.Draw(canvas), load_font(size)
    label = 'likeliest class' if len(top) == 1 else f'likeliest {len(top)} classes'
    draw_text(draw, (0, 0), label, width, font, MUTED_COLOR)
    thickness = max(min(row - header - 2, size * 0.6), 2)
    for index, (name, score) in enumerate(top):
        y, is_truth, number = header + index * row, name == prediction.truth, percent(score)
        font = load_font(size, bold=is_truth)
        room = width - font.getlength(number)
        draw_text(draw, (room, y), number, width, font)
        draw_text(draw, (0, y), f'✓ {pretty_name(name)}' if is_truth else pretty_name(name), room - GAP, font)
        y += min(header, row - thickness - 1)
        draw.rectangle((0, y, width - 1, y + thickness - 1), TRACK_COLOR)
        if round(width * score) > 0:
            draw.rectangle((0, y, round(width * score) - 1, y + thickness - 1), RIGHT_COLOR if is_truth else BAR_COLOR)
    return np.asarray(canvas)


def percent(share: float) -> str:
    """A share, 0..1, in words, such as ``'93 %'``; small and large ones do not round to nothing or everything."""
    if not np.isfinite(share):
        return '? %'
    if 0 < share < 0.005:
        return '<1 %'
    if 0.995 <= share < 1:
        return '>99 %'
    return f'{100 * share:.0f} %'


class DrawnObject(NamedTuple):
    """An object to draw, its box in pixels of the photo, and within it the region where the model looked closer."""

    box: Box
    caption: str
    region: Box | None = None


def draw_objects(photo: np.ndarray, objects: Sequence[DrawnObject]) -> np.ndarray:
    """Draw boxes with captions on a photo, (H, W, 3) uint8 RGB, and within them the selected regions."""
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
        caption = shorten(pretty_name(one.caption), photo.shape[1] - 6, font)
        length = font.getlength(caption) + 6
        # Above the box, or inside it at the upper border; never beyond the right one.
        left = min(max(0, one.box[0]), max(0, photo.shape[1] - length))
        top = one.box[1] - height if one.box[1] >= height else max(0, one.box[1])
        draw.rectangle((left, top, left + length, top + height), fill='black')
        draw.text((left + 3, top + height / 2), caption, 'white', font, anchor='lm')
    return np.asarray(canvas)


def write_picture(path: str | Path, picture: np.ndarray) -> Path:
    """Write a picture, (H, W, 3) uint8 RGB, as a whole PNG file; see :func:`glsim_mm.output_files.replace_with`."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'PNG')
    return write_file(path, buffer.getvalue())
