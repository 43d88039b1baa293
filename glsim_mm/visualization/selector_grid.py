"""What several selectors select in the same images: a row for each image, a column for each selector."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from retrieval.names import pretty_name

from .layout import GAP, MUTED_COLOR, join, legend_strip, load_font, stack, text_strip, with_margin
from .overlays import Box, box_share, overlay_heatmap, share_inside
from .panel import MIN_SIDE, Prediction, fit_height, font_size, percent, with_boxes


@dataclass
class Selection:
    """What one selector selects in one image.

    Attributes:
        scores: (h, w) scores of the patches, the larger the likelier selected.
        boxes: One or several, ``x0, y0, x1, y1`` in pixels of the image.

    Example::

        Selection(scores=np.random.rand(14, 14), boxes=[(40, 30, 180, 150)])
    """

    scores: np.ndarray
    boxes: Sequence[Box] | np.ndarray


@dataclass
class ComparedImage:
    """One row of the grid.

    Attributes:
        image: Upright photo, or network input before normalisation, (H, W, 3) uint8 RGB.
        name: What to write below.
        selections: By name of the selector.
        annotated_box: Where the object is.
        map_area: The part of the photo that the scores cover; None for the whole image.

    Example::

        row = ComparedImage(image, 'Fish Crow', {'gls': Selection(scores, [(40, 30, 180, 150)])})
        draw_selector_grid([row])  # (H, W, 3) uint8 RGB
    """

    image: np.ndarray
    name: str
    selections: dict[str, Selection]
    annotated_box: Box | None = None
    map_area: Box | None = None

    @property
    def prediction(self) -> Prediction:
        """The image with its annotated box, without what was selected."""
        return Prediction(self.image, self.name, 0.0, annotated_box=self.annotated_box, map_area=self.map_area)


def draw_selector_grid(rows: Sequence[ComparedImage], side: int = 160, scaling: str = 'linear') -> np.ndarray:
    """Draw heat map and box of every selector for every image, and the means over all images in a last row.

    Below each it says how much of the image the first box covers and, where the object is annotated, how much of the
    box lies on it. All rows have the same selectors; ``side`` is the height of the images in pixels, at least 96 for
    text to be legible.
    """
    if not rows:
        raise ValueError('a selector grid needs at least one image')
    if side < MIN_SIDE:
        raise ValueError(f'side must be at least {MIN_SIDE} pixels for text to be legible, got {side}')
    size, names = font_size(side), list(rows[0].selections)
    lines = [[_cell(row, name, side, size, scaling) for name in [None, *names]] for row in rows]
    widths = [max(cell.shape[1] for cell in column) for column in zip(*lines)]
    headers = [text_strip(name, width, size + 2, bold=True) for name, width in zip(['image', *names], widths)]
    means = ['mean', *(_mean(rows, name) for name in names)]
    footer = [text_strip(text, width, size) for text, width in zip(means, widths)]
    has_boxes = any(row.annotated_box is not None for row in rows)
    grid = stack([join(_padded(line, widths)) for line in [headers, *lines, footer]], GAP)
    border = any(row.prediction.has_border for row in rows)
    legend = legend_strip(grid.shape[1], size, scaling, annotated=has_boxes, border=border)
    notes = [text_strip(_NOTE if has_boxes else _NOTE.partition(';')[0], grid.shape[1], size, color=MUTED_COLOR)]
    return with_margin(stack([grid, *([] if legend is None else [legend]), *notes]))


_NOTE = 'box: share of the image it covers; inside: share of the box that lies in the annotated box'


def shares(row: ComparedImage, name: str) -> tuple[float, float | None]:
    """Share of the image that a selector's first box covers, and share of that box on an annotated object."""
    box = row.selections[name].boxes[0]
    on_object = None if row.annotated_box is None else share_inside(box, row.annotated_box)
    frame = np.asarray(row.prediction.frame, np.float64)
    corner, (width, height) = np.tile(frame[:2], 2), frame[2:] - frame[:2]
    return box_share(np.asarray(box) - corner, (height, width)), on_object


def _cell(row: ComparedImage, name: str | None, side: int, size: int, scaling: str) -> np.ndarray:
    """The image with its name, or the heat map of a selector with its boxes and shares."""
    image = fit_height(row.image, side)
    prediction = row.prediction
    words = load_font(size).getlength(_in_words(1.0, 1.0))
    width = max(image.shape[1], round(words) + 1)
    if name is None:
        return stack([with_boxes(image, prediction), text_strip(pretty_name(row.name), width, size)])
    selection = row.selections[name]
    area = np.asarray(prediction.frame) * (image.shape[0] / row.image.shape[0])
    heat = overlay_heatmap(image, selection.scores, scaling, area)
    framed = with_boxes(heat, replace(prediction, selected_boxes=selection.boxes))
    return stack([framed, text_strip(_in_words(*shares(row, name)), width, size)])


def _in_words(of_image: float, on_object: float | None) -> str:
    words = f'box {percent(of_image)}'
    return words if on_object is None else f'{words}, inside {percent(on_object)}'


def _mean(rows: Sequence[ComparedImage], name: str) -> str:
    of_image, on_object = zip(*(shares(row, name) for row in rows))
    known = [share for share in on_object if share is not None]
    return _in_words(float(np.mean(of_image)), float(np.mean(known)) if known else None)


def _padded(cells: Sequence[np.ndarray], widths: Sequence[int]) -> list[np.ndarray]:
    pads = [((0, 0), (0, width - cell.shape[1]), (0, 0)) for cell, width in zip(cells, widths)]
    return [np.pad(cell, pad, constant_values=255) for cell, pad in zip(cells, pads)]
