"""Drawing of predictions: pure functions on images, (H, W, 3) uint8 RGB.

Boxes are ``x0, y0, x1, y1`` in pixels of the image they are drawn on, which for GLSim's selected box is the network
input.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Box = Sequence[float] | np.ndarray

SELECTED_COLOR = (255, 196, 0)
ANNOTATED_COLOR = (120, 220, 255)
TEXT_COLOR = (30, 30, 30)
RIGHT_COLOR, WRONG_COLOR = (20, 120, 40), (190, 30, 30)
BACKGROUND = (255, 255, 255)
GAP = 6
LINE_HEIGHT = 16


@dataclass
class Prediction:
    """What is drawn of one image.

    Attributes:
        image (np.ndarray): Network input before normalisation, (H, W, 3) uint8 RGB.
        predicted (str): Name of the predicted class.
        score (float): Its probability, 0..1.
        truth (str): Name of the true class, if known. Defaults to None.
        selected_box (Box): Where the model took its crop. Defaults to None, for models without.
        similarity_map (np.ndarray): (h, w) scores of the patches, the larger the likelier selected. Defaults to None.
        annotated_box (Box): Where the object is. Defaults to None.
    """

    image: np.ndarray
    predicted: str
    score: float
    truth: str | None = None
    selected_box: Box | None = None
    similarity_map: np.ndarray | None = None
    annotated_box: Box | None = None


def to_rgb_image(inputs: Tensor) -> np.ndarray:
    """Network input before the data preprocessor as an image.

    Args:
        inputs (Tensor): (3, H, W) BGR as OpenMMLab's pipelines pack it, values 0..255.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    return np.ascontiguousarray(inputs.flip(0).permute(1, 2, 0).cpu().numpy().astype(np.uint8))


def draw_box(image: np.ndarray, box: Box, color: tuple[int, int, int], width: int = 2) -> np.ndarray:
    """Draw a frame just within a box, cut off at the border of the image.

    Args:
        image (np.ndarray): (H, W, 3) uint8.
        box (Box): ``x0, y0, x1, y1`` in pixels.
        color (tuple[int, int, int]): In the image's order of channels.
        width (int): Of the frame in pixels. Defaults to 2.

    Returns:
        np.ndarray: A new image.
    """
    x0, y0, x1, y1 = _to_pixels(box, image.shape)
    drawn = image.copy()
    drawn[y0:y1, x0:x1] = color
    inner = slice(y0 + width, max(y1 - width, y0 + width)), slice(x0 + width, max(x1 - width, x0 + width))
    drawn[inner] = image[inner]
    return drawn


def crop_box(image: np.ndarray, box: Box, side: int) -> np.ndarray:
    """Cut out a box and enlarge it to a square.

    Args:
        image (np.ndarray): (H, W, 3) uint8.
        box (Box): ``x0, y0, x1, y1`` in pixels; at least one pixel is taken.
        side (int): Of the result in pixels.

    Returns:
        np.ndarray: (side, side, 3) uint8.
    """
    x0, y0, x1, y1 = _to_pixels(box, image.shape)
    return cv2.resize(np.ascontiguousarray(image[y0:y1, x0:x1]), (side, side), interpolation=cv2.INTER_LINEAR)


def overlay_heatmap(image: np.ndarray, scores: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """Lay scores of patches over an image, from blue (least) to red (most).

    Args:
        image (np.ndarray): (H, W, 3) uint8 RGB.
        scores (np.ndarray): (h, w) numbers; those that are not finite count as the least.
        opacity (float): Of the colours, 0..1. Defaults to 0.55.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    scores = np.asarray(scores, np.float64)
    finite = np.isfinite(scores)
    low, high = (scores[finite].min(), scores[finite].max()) if finite.any() else (0.0, 0.0)
    level = np.where(finite, (scores - low) / (high - low) if high > low else 0.0, 0.0)
    level = cv2.resize(np.round(255 * level).astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    colors = cv2.applyColorMap(level, cv2.COLORMAP_TURBO)[..., ::-1]
    return np.round(image * (1 - opacity) + colors * opacity).astype(np.uint8)


def draw_prediction(prediction: Prediction, side: int = 192) -> np.ndarray:
    """One image in a row: with its boxes, under its heat map, its crop, and the prediction in words.

    Args:
        prediction (Prediction): What to draw.
        side (int): Height of the panels in pixels. Defaults to 192.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    image, box = prediction.image, prediction.selected_box
    scale = side / image.shape[0]
    image = _enlarge(image, scale)
    framed = image
    if prediction.annotated_box is not None:
        framed = draw_box(framed, np.multiply(prediction.annotated_box, scale), ANNOTATED_COLOR)
    panels = []
    if box is not None:
        framed = draw_box(framed, np.multiply(box, scale), SELECTED_COLOR, 3)
    if prediction.similarity_map is not None:
        panels.append(overlay_heatmap(image, prediction.similarity_map))
    if box is not None:
        panels.append(crop_box(image, np.multiply(box, scale), side))
    row = _join([framed, *panels])
    return np.concatenate([row, _caption(prediction, row.shape[1])])


def contact_sheet(pictures: Sequence[np.ndarray], columns: int = 2) -> np.ndarray:
    """Lay out pictures, which may differ in size, in rows.

    Args:
        pictures (Sequence[np.ndarray]): At least one (H, W, 3) uint8 picture.
        columns (int): Pictures per row. Defaults to 2.

    Returns:
        np.ndarray: (H, W, 3) uint8.

    Raises:
        ValueError: If there is no picture.
    """
    if not pictures:
        raise ValueError('a contact sheet needs at least one picture')
    height, width = np.max([picture.shape[:2] for picture in pictures], axis=0) + GAP
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height + GAP, min(columns, len(pictures)) * width + GAP, 3), BACKGROUND, np.uint8)
    for index, picture in enumerate(pictures):
        y, x = GAP + index // columns * height, GAP + index % columns * width
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def _to_pixels(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Whole pixels within the image, at least one each way."""
    x0, y0, x1, y1 = (int(round(float(value))) for value in box)
    x0, y0 = min(max(x0, 0), shape[1] - 1), min(max(y0, 0), shape[0] - 1)
    return x0, y0, min(max(x1, x0 + 1), shape[1]), min(max(y1, y0 + 1), shape[0])


def _enlarge(image: np.ndarray, scale: float) -> np.ndarray:
    size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def _join(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Panels of one height side by side."""
    gap = np.full((len(panels[0]), GAP, 3), BACKGROUND, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def _caption(prediction: Prediction, width: int) -> np.ndarray:
    """The prediction in words, (H, width, 3): green where it is right, red where it is wrong."""
    is_right = prediction.truth in (None, prediction.predicted)
    color = TEXT_COLOR if prediction.truth is None else RIGHT_COLOR if is_right else WRONG_COLOR
    lines = [(f'{prediction.predicted}  {100 * prediction.score:.0f} %', color)]
    if not is_right:
        lines.append((f'is: {prediction.truth}', TEXT_COLOR))
    font = ImageFont.load_default()
    canvas = Image.new('RGB', (width, 2 * LINE_HEIGHT), BACKGROUND)
    for index, (words, color) in enumerate(lines):
        # The default font of a Pillow without FreeType knows Latin-1 only.
        words = words.encode('latin-1', 'replace').decode('latin-1')
        ImageDraw.Draw(canvas).text((2, LINE_HEIGHT * index), words, fill=color, font=font)
    return np.asarray(canvas)
