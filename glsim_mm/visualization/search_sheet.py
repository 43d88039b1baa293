"""Results of an image search: each query with its hits, and where the model looked in all of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.names import pretty_name

from .html_pages import PAGE_BYTES, Piece, data_url, render_piece, small_url, write_pages
from .html_report import ReportSettings
from .layout import BACKGROUND, GAP, MUTED_COLOR, join, legend_strip, stack, text_strip, with_margin
from .matches import PatchPair, draw_matches, lay_out_matches, similarity_text
from .overlays import DIMMEST, SELECTED_COLOR, Box, draw_outlined_box, overlay_heatmap, shade
from .panel import MIN_SIDE, RIGHT_COLOR, WRONG_COLOR, fit_height, font_size

THUMBNAIL_QUALITY = 80
_HITS_AT_ONCE = 100
_MISSING = np.full((320, 320, 3), 228, np.uint8)
_BAND = 4  # pixels
_BANDS = {None: (BACKGROUND, ''), True: (RIGHT_COLOR, '✓'), False: (WRONG_COLOR, '✗')}


@dataclass
class FoundImage:
    """A query, or an image that was found.

    Attributes:
        image: Upright photo in any size, (H, W, 3) uint8 RGB, or a function that reads it, or gives None where it
            cannot be read.
        path: Of its file, for captions.
        label: Name of its class, if known.
        score: Similarity of a hit; None for a query.
        number: Id in the gallery; None for a query from outside.
        box: Where the model looked, ``x0, y0, x1, y1`` as shares of width and height, 0..1.
        similarity_map: (h, w) scores of patches, the larger the likelier selected.
        map_area: The part of the photo that the map covers, as :attr:`box`. Defaults to the whole photo.
        strength: Figures of the map in words.
        is_right: Whether a hit is of its query's class, None where that is not known.
        error: Why a query cannot be read; then nothing was searched.
        matches: Patches of a hit that are like some of its query, if that was asked for.
        unexplained: Why these are not known.
        key: What tells photos apart, so that a page holds each of them once; None for a photo that comes once.

    Example::

        FoundImage(photo, 'a.jpg', label='Fish Crow', score=0.93)
    """

    image: np.ndarray | Callable[[], np.ndarray | None]
    path: str = ''
    label: str | None = None
    score: float | None = None
    number: int | None = None
    box: Box | None = None
    similarity_map: np.ndarray | None = None
    map_area: Box | None = None
    strength: str = ''
    is_right: bool | None = None
    key: Any = None
    error: str = ''
    matches: Sequence[PatchPair] | None = None
    unexplained: str = ''

    @property
    def name(self) -> str:
        """Class, else file, else number."""
        return (
            pretty_name(self.label or '')
            or Path(self.path).name
            or ('' if self.number is None else f'id {self.number}')
        )


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
        first, found = loaded(row.query), [loaded(hit) for hit in row.hits]
        query = _tile(first, 'query', side, heatmaps)
        hits = [_tile(hit, f'{rank}', side, heatmaps) for rank, hit in enumerate(found, start=1)]
        lines = [join(hits[start : start + columns], GAP) for start in range(0, len(hits), columns)]
        parts.append(join([query, stack(lines, GAP)], 3 * GAP) if lines else query)
        matches = [
            draw_matches(
                np.asarray(first.image), np.asarray(hit.image), hit.matches, f'query and hit {rank}: {hit.name}'
            )
            for rank, hit in enumerate(found, start=1)
            if hit.matches
        ]
        if matches:
            parts.append(stack(matches, 3 * GAP))
    sheet = stack(parts, 3 * GAP)
    items = [item for row in rows for item in [row.query, *row.hits]]
    has_boxes, has_maps = (any(getattr(item, name) is not None for item in items) for name in ('box', 'similarity_map'))
    if has_boxes or has_maps and heatmaps:
        scaling = 'linear' if has_maps and heatmaps else None
        legend = legend_strip(sheet.shape[1], font_size(side), scaling, selected=has_boxes, annotated=False)
        sheet = sheet if legend is None else stack([sheet, legend], GAP)
    return with_margin(sheet, 2 * GAP)


def write_search_pages(
    path: str | Path,
    rows: Iterable[SearchRow],
    total: int,
    settings: ReportSettings | None = None,
    facts: Sequence[tuple[str, str]] = (),
    limit: int = PAGE_BYTES,
) -> list[Path]:
    """Draw queries and their hits into pages of HTML that need no other file, no network and no scripts.

    A photo is embedded once on each page. Names, paths and labels are escaped.

    Args:
        path: The first page, see :func:`glsim_mm.visualization.html_pages.write_pages`, also for ``limit``.
        rows: Taken one by one, so that they need not be in memory together.
        total: How many they are.
        settings: How it looks.
        facts: What the head of the first page says of gallery and model.
        limit: Bytes of a page.

    Returns:
        The files.
    """
    settings = settings or ReportSettings(title='Image search')

    def pieces() -> Iterator[Piece]:
        for number, row in enumerate(rows, start=1):
            for start in range(0, max(len(row.hits), 1), _HITS_AT_ONCE):
                yield partial(_search_piece, number, row, start, settings)

    content = dict(settings=settings, facts=facts, total=total, dimmest=DIMMEST)
    return write_pages(path, 'search_results.html', pieces(), limit, **content)


def _search_piece(number: int, row: SearchRow, start: int, settings: ReportSettings, left: dict[Any, Any]) -> str:
    """A query with some of its hits, and the photos that are not on the page yet."""
    query, *hits = (
        place_photo(item, settings.side, left) for item in [row.query, *row.hits[start : start + _HITS_AT_ONCE]]
    )
    hits = [dict(hit, rank=rank) for rank, hit in enumerate(hits, start=start + 1)]
    told = [_explained(hit, query) for hit in hits if _is_told(hit['item'])]
    content = dict(number=number, query=query, hits=hits, groups=_by_class(hits), first=start + 1)
    return render_piece('search_query.html', **content, explained=told, new=take_new_photos(left))


def take_new_photos(left: dict[Any, Any]) -> list[dict[str, Any]]:
    """Photos that :func:`place_photo` has placed and that are not on the page yet; they are from now on."""
    waiting = [one for one in left.values() if isinstance(one, _Thumbnail) and one.url]
    new = [dict(vars(one)) for one in waiting]
    for one in waiting:
        one.url = ''
    return new


def _by_class(hits: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Hits by class, that of the best hit first, those without one under ``''``; empty if none has a class."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for hit in hits:
        groups.setdefault(hit['item'].label or '', []).append(hit)
    return list(groups.items()) if any(groups) else []


@dataclass
class _Thumbnail:
    """A photo on a page: number, sides in pixels, and until it is written its picture."""

    number: int
    width: int
    height: int
    url: str
    is_lost: bool


def place_photo(item: FoundImage, side: int, left: dict[Any, Any]) -> dict[str, Any]:
    """What a template shows of an image; its photo, at most ``side`` pixels high, goes among those of the page."""
    key = item.key if item.key is not None else (id(left), len(left))
    thumbnail = left.get(key)
    if thumbnail is None:
        one = loaded(item)
        image = np.asarray(one.image)
        picture = fit_height(image, min(side, image.shape[0]))  # browsers enlarge small ones
        height, width = picture.shape[:2]
        url = data_url(picture, THUMBNAIL_QUALITY)
        thumbnail = left[key] = _Thumbnail(len(left), width, height, url, one is not item and one.path != item.path)
    width, height = thumbnail.width, thumbnail.height
    if thumbnail.is_lost:
        item = as_lost(item)
    shown = dict(item=item, number=thumbnail.number, width=width, height=height, box=None, heat=None)
    if item.box is not None:
        shown['box'] = _rectangle(item.box, width, height)
    if item.similarity_map is not None:
        area = _rectangle(item.map_area or (0, 0, 1, 1), width, height)
        shown['heat'] = dict(area, url=small_url(shade(item.similarity_map)))
    return shown


def _is_told(item: FoundImage) -> bool:
    return item.matches is not None or bool(item.unexplained)


def _explained(hit: dict[str, Any], query: dict[str, Any]) -> dict[str, Any]:
    """What the template shows of the matches of a hit."""
    item, rank = hit['item'], hit['rank']
    shown = dict(rank=rank, is_open=rank == 1, reason=item.unexplained.rstrip('.'))
    if item.matches is None:
        return shown
    sizes = [(one['width'], one['height']) for one in (query, hit)]
    layout = lay_out_matches(item.matches, sizes[0], sizes[1])
    photos = [
        dict(
            number=one['number'],
            x=place[0].round(1),
            y=place[1].round(1),
            scale=round((place[2] - place[0]) / width, 4),
        )
        for one, place, (width, _) in zip((query, hit), layout.photos, sizes)
    ]
    lines = [
        dict(
            similarity=similarity_text(line.pair.similarity),
            share=line.pair.weight,
            width=round(line.width, 1),
            opacity=round(line.opacity, 2),
            points=' '.join(f'{x:.1f},{y:.1f}' for x, y in line.points),
            boxes=[_rectangle(box, 1, 1) for box in line.boxes],
            label=[round(value, 1) for value in line.label],
            places=[_in_words(box) for box in (line.pair.query_box, line.pair.box)],
        )
        for line in layout.lines
    ]
    similarity = similarity_text(sum(pair.weight * pair.similarity for pair in item.matches))
    words = (
        f'The {len(lines)} most similar of {len(item.matches)} pairs of patches. The table says where their middles '
        f'lie, from the left and from the top, and how much each counts in the similarity of the regions, {similarity}.'
    )
    size = dict(width=round(layout.width, 1), height=round(layout.height, 1))
    return dict(shown, **size, photos=photos, lines=lines, words=words, similarity=similarity)


def _in_words(box: Box) -> str:
    x0, y0, x1, y1 = (float(value) for value in box)
    return f'{50 * (x0 + x1):.0f} %, {50 * (y0 + y1):.0f} %'


def _rectangle(box: Box, width: int, height: int) -> dict[str, float]:
    """A box, shares of the sides, as SVG has it, in pixels."""
    x0, y0, x1, y1 = (round(float(value) * side, 1) for value, side in zip(box, (width, height, width, height)))
    return dict(x=x0, y=y0, width=round(max(x1 - x0, 0.1), 1), height=round(max(y1 - y0, 0.1), 1))


def loaded(item: FoundImage) -> FoundImage:
    """An image whose photo is read; one that cannot be read is grey and says so."""
    if not callable(item.image):
        return item
    image = item.image()
    return as_lost(item) if image is None else replace(item, image=image)


def as_lost(item: FoundImage) -> FoundImage:
    """An image whose photo cannot be read."""
    path = f'{item.path} (cannot be read)' if item.path else item.path
    return replace(item, image=_MISSING, path=path, box=None, similarity_map=None, matches=None)


def show_region(item: FoundImage, side: int, heatmap: bool = False) -> np.ndarray:
    """A photo of a height in pixels with the box in which the model looked and, if asked for, its similarity map."""
    image = fit_height(np.asarray(item.image), side)
    size = np.array(image.shape[1::-1] * 2)
    if heatmap and item.similarity_map is not None:
        image = overlay_heatmap(image, item.similarity_map, area=np.asarray(item.map_area or (0, 0, 1, 1)) * size)
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
