"""Search results as files: JSON, a page of HTML, or a sheet of photos with the regions in which the model looked."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from PIL import Image

from retrieval.answers import SearchHit, SearchResult, results_to_json, text_of
from retrieval.errors import RetrievalError
from retrieval.gallery import Manifest, Record, Roots
from retrieval.gallery.roots import Moves

from ..images.photos import ImageItem, UnreadableImageError, read_photo
from ..images.selection_strength import Strength
from ..output_files import write_file, write_json
from ..visualization import FoundImage, SearchRow, draw_search_sheet, write_search_pages
from ..visualization.html_report import ReportSettings
from ..visualization.matches import PatchPair

SIDE = 320
ReadRow: TypeAlias = Callable[[Record], np.ndarray | None]
_BLANK = np.full((SIDE // 2, SIDE // 2, 3), 255, np.uint8)  # in place of a photo, above a query's text


def write_results(
    results: Sequence[SearchResult],
    path: str | Path,
    manifest: Manifest,
    root: Moves = None,
    columns: int = 5,
    heatmaps: bool = False,
    read: ReadRow | None = None,
) -> None:
    """Write results to a file of the kind that its name says.

    Args:
        results: Results of one gallery.
        path: ``.json``; ``.html``, pages of at most 20 MiB that hold their pictures; or a picture such as ``.png``.
        manifest: What that gallery says of itself.
        root: Where photos of the gallery's roots lie, if elsewhere than it says.
        columns: Hits in a row of a picture.
        heatmaps: Lay similarity maps over the photos of a picture.
        read: Gives the photo of a row, (h, w, 3) uint8 RGB, or None if it is lost, where it lies in no folder.

    Raises:
        RetrievalError: If there is nothing to draw, the file cannot be written, or a root is not there.
    """
    path, kind = Path(path), Path(path).suffix.lower()
    if not results and kind not in ('.json', '.html'):
        raise RetrievalError('there are no results to draw; give at least one query')
    roots = Roots.of(manifest.origin).moved(root)
    try:
        if kind == '.json':
            write_json(path, results_to_json(results))
        elif kind == '.html':
            facts = [('Rows in the gallery', f'{manifest.counts.get("rows", 0):,}'), ('Metric', manifest.metric)]
            if manifest.fingerprint is not None and manifest.fingerprint.description:
                facts.append(('Model', manifest.fingerprint.description))
            settings = ReportSettings(title='Image search', side=256)
            write_search_pages(path, _rows(results, roots, read), len(results), settings, facts)
        else:
            sheet = draw_search_sheet(list(_rows(results, roots, read)), columns=columns, heatmaps=heatmaps)
            buffer = io.BytesIO()
            Image.fromarray(sheet).save(buffer, Image.registered_extensions().get(kind, kind))
            write_file(path, buffer.getvalue())
    except (OSError, KeyError) as error:  # KeyError: a kind of picture that Pillow does not write
        raise RetrievalError(f'{path} cannot be written ({error}); choose another file, such as results.png') from error


def _rows(results: Sequence[SearchResult], roots: Roots, read: ReadRow | None) -> Iterator[SearchRow]:
    for result in results:
        truth = result.query.label
        hits = [
            replace(
                _shown(hit.record, roots, read, hit.score, None if truth is None else hit.record.label == truth),
                matches=_pairs(result.query, hit),
                unexplained=hit.unexplained,
            )
            for hit in result.hits
        ]
        text = text_of(result.query)
        query = _shown(result.query, roots, read) if text is None else FoundImage(_BLANK, label=text)
        yield SearchRow(replace(query, error=result.error), hits)


def _shown(record: Record, roots: Roots, read: ReadRow | None, *facts: Any) -> FoundImage:
    """As :func:`found_image`, with a photo from elsewhere where there is ``read``."""
    found = found_image(record, roots, *facts)
    return (
        found if read is None or record.id < 0 else replace(found, image=partial(read, record), key=f'row {record.id}')
    )


def found_image(record: Record, roots: Roots, score: float | None = None, is_right: bool | None = None) -> FoundImage:
    """A row of a gallery, or a query, as pages show it; its photo is read when it is drawn."""
    # Queries from outside have paths of their own.
    path = Path(roots.file(record.path) if record.id >= 0 else record.path)
    size: Sequence[int] | None = record.image_size
    if size is None and (record.box is not None or record.map_area is not None):
        size = _size(path)
    extent = np.array([*(size or (1, 1))] * 2, np.float64)
    return FoundImage(
        image=partial(_read, path),
        path=roots.shown(record.path) if os.path.isabs(record.path) else record.path,
        label=record.label,
        score=score,
        number=record.id if record.id >= 0 else None,
        box=None if record.box is None else (np.asarray(record.box) / extent).tolist(),
        similarity_map=record.similarity_map,
        map_area=None if record.map_area is None else (np.asarray(record.map_area) / extent).tolist(),
        strength='' if record.map_range is None else f'scores {Strength(*record.map_range).words}',
        is_right=is_right,
        key=str(path) if record.path else None,
    )


def _pairs(query: Record, hit: SearchHit) -> list[PatchPair] | None:
    """Matches with places, in shares of the sides of the photos."""
    if hit.matches is None or query.image_size is None or hit.record.image_size is None:
        return None
    extents = [np.array([*record.image_size] * 2, np.float64) for record in (query, hit.record) if record.image_size]
    return [
        PatchPair(one.similarity, one.weight, np.divide(one.query_box, extents[0]), np.divide(one.box, extents[1]))
        for one in hit.matches
        if one.query_box is not None and one.box is not None
    ] or None


def _read(path: Path) -> np.ndarray | None:
    """A photo, not larger than it is shown, because pages of full-size photos would need gigabytes; None if lost."""
    image = _pixels(path)
    if image is None:
        return None
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image


def _size(path: Path) -> Sequence[int] | None:
    """Width and height of the photo of a row that does not say them."""
    image = _pixels(path)
    return None if image is None else image.shape[1::-1]


def _pixels(path: Path) -> np.ndarray | None:
    try:
        return np.ascontiguousarray(read_photo(ImageItem(str(path))).pixels[..., ::-1])
    except UnreadableImageError:  # gone or damaged
        return None
