"""Results of an image search: each query with its hits, and where the model looked in all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .html_report import ReportSettings, data_url, render_page
from .layout import BACKGROUND, GAP, MUTED_COLOR, join, legend_strip, stack, text_strip, with_margin
from .overlays import SELECTED_COLOR, Box, draw_outlined_box, overlay_heatmap
from .panel import MIN_SIDE, RIGHT_COLOR, WRONG_COLOR, fit_height, font_size

_BAND = 4  # pixels
_BANDS = {None: (BACKGROUND, ''), True: (RIGHT_COLOR, '✓'), False: (WRONG_COLOR, '✗')}


@dataclass
class FoundImage:
    """A query, or an image that was found.

    Attributes:
        image: Upright photo in any size, (H, W, 3) uint8 RGB.
        path: Of its file, for captions.
        label: Name of its class, if known.
        score: Similarity of a hit; None for a query.
        number: Id in the gallery; None for a query from outside.
        box: Where the model looked, ``x0, y0, x1, y1`` as shares of width and height, 0..1.
        similarity_map: (h, w) scores of patches, the larger the likelier selected.
        map_area: The part of the photo that the map covers, as :attr:`box`. Defaults to the whole photo.
        is_right: Whether a hit is of its query's class, None where that is not known.

    Example::

        FoundImage(photo, 'a.jpg', label='Fish Crow', score=0.93)
    """

    image: np.ndarray
    path: str = ''
    label: str | None = None
    score: float | None = None
    number: int | None = None
    box: Box | None = None
    similarity_map: np.ndarray | None = None
    map_area: Box | None = None
    is_right: bool | None = None

    @property
    def name(self) -> str:
        """Class, else file, else number."""
        return self.label or Path(self.path).name or ('' if self.number is None else f'id {self.number}')


@dataclass
class SearchRow:
    """A query and what was found for it, best first.

    Example::

        rows = [SearchRow(FoundImage(photo, 'query.jpg'), [FoundImage(other, 'a.jpg', score=0.93)])]
        draw_search_sheet(rows)  # (H, W, 3) uint8 RGB
    """

    query: FoundImage
    hits: list[FoundImage] = field(default_factory=list)


def draw_search_sheet(
    rows: Sequence[SearchRow], side: int = 160, columns: int = 5, heatmaps: bool = False
) -> np.ndarray:
    """Draw queries, at least one, each with its hits beside it, boxes and scores among them.

    A band above a hit is green where it is of the query's class and vermilion where it is not; a mark says the same.
    ``side`` is that of an image in pixels, at least 96 for text to be legible; ``heatmaps`` lays similarity maps over.
    """
    if not rows or side < MIN_SIDE or columns < 1:
        raise ValueError(f'a sheet needs a query, a side of {MIN_SIDE} pixels and a column at least')
    parts = []
    for row in rows:
        query = _tile(row.query, 'query', side, heatmaps)
        hits = [_tile(hit, f'{rank}', side, heatmaps) for rank, hit in enumerate(row.hits, start=1)]
        lines = [join(hits[start : start + columns], GAP) for start in range(0, len(hits), columns)]
        parts.append(join([query, stack(lines, GAP)], 3 * GAP) if lines else query)
    sheet = stack(parts, 3 * GAP)
    if any(item.box is not None for row in rows for item in [row.query, *row.hits]):
        legend = legend_strip(sheet.shape[1], font_size(side), None, annotated=False)
        sheet = sheet if legend is None else stack([sheet, legend], GAP)
    return with_margin(sheet, 2 * GAP)


def render_search_page(
    rows: Sequence[SearchRow], settings: ReportSettings | None = None, facts: Sequence[tuple[str, str]] = ()
) -> str:
    """Draw queries and their hits into one page of HTML that needs no other file, no network and no scripts.

    Names, paths and labels are escaped. ``facts`` are what the head of the page says of gallery and model.
    """
    settings = settings or ReportSettings(title='Image search')

    def picture(item: FoundImage) -> tuple[FoundImage, str, str | None]:
        heat = None if item.similarity_map is None else data_url(show_region(item, settings.side, heatmap=True))
        return item, data_url(show_region(item, settings.side)), heat

    shown = [dict(query=picture(row.query), hits=[picture(hit) for hit in row.hits]) for row in rows]
    return render_page('search_results.html', settings, rows=shown, facts=facts, accuracy=None, total=len(rows))


def show_region(item: FoundImage, side: int, heatmap: bool = False) -> np.ndarray:
    """A photo of a height in pixels with the box in which the model looked and, if asked for, its similarity map."""
    image = fit_height(item.image, side)
    size = np.array(image.shape[1::-1] * 2)
    if heatmap and item.similarity_map is not None:
        image = image.copy()
        x0, y0, x1, y1 = (np.asarray(item.map_area or (0, 0, 1, 1)) * size).round().astype(int)
        part = np.ascontiguousarray(image[max(y0, 0) : y1, max(x0, 0) : x1])
        image[max(y0, 0) : y1, max(x0, 0) : x1] = overlay_heatmap(part, item.similarity_map)
    return image if item.box is None else draw_outlined_box(image, np.asarray(item.box) * size, SELECTED_COLOR)


def _tile(item: FoundImage, title: str, side: int, heatmap: bool) -> np.ndarray:
    """A photo in a square, a band above that says right or wrong, words below."""
    picture = show_region(item, side, heatmap)
    if picture.shape[1] > side:
        picture = fit_height(picture, max(round(side * side / picture.shape[1]), 1))
    canvas = np.full((side, side, 3), BACKGROUND, np.uint8)
    y, x = (side - picture.shape[0]) // 2, max(side - picture.shape[1], 0) // 2
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture[:, :side]
    color, mark = _BANDS[item.is_right]
    band, size = np.full((_BAND, side, 3), color, np.uint8), font_size(side)
    words = ' '.join(part for part in (mark, title, '' if item.score is None else f'{item.score:.3f}') if part)
    return stack(
        [band, canvas, text_strip(words, side, size, bold=True), text_strip(item.name, side, size, color=MUTED_COLOR)]
    )
