"""Search results as files: JSON, a page of HTML, or a sheet of photos with the regions in which the model looked."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from retrieval.answers import SearchResult, results_to_json
from retrieval.errors import RetrievalError
from retrieval.gallery import Manifest, Record

from ..images.photos import ImageItem, UnreadablePhotoError, read_photo
from ..visualization import FoundImage, SearchRow, draw_search_sheet, render_search_page
from ..visualization.html_report import ReportSettings

SIDE = 320
_MISSING = np.full((SIDE, SIDE, 3), 228, np.uint8)

ReadPhoto = Callable[[Record], np.ndarray | None]


def write_results(
    results: Sequence[SearchResult],
    path: str | Path,
    manifest: Manifest,
    root: str | Path | None = None,
    columns: int = 5,
    heatmaps: bool = False,
) -> None:
    """Write results to a file of the kind that its name says.

    Args:
        results: Of one gallery.
        path: ``.json``, ``.html``, or a picture such as ``.png``.
        manifest: Of the gallery.
        root: Where relative paths of photos begin. Defaults to the folder that was encoded.
        columns: Hits beside each other in a picture.
        heatmaps: Lay similarity maps over the photos of a picture.

    Raises:
        RetrievalError: If there is nothing to draw, or the file cannot be written.
    """
    kind = Path(path).suffix.lower()
    if kind == '.json':
        try:
            Path(path).write_text(json.dumps(results_to_json(results), indent=1), encoding='utf-8')
        except OSError as error:
            raise RetrievalError(f'{path} cannot be written ({error.strerror}); choose another file') from error
        return
    read = photo_reader(manifest.origin.get('root', '') if root is None else root)
    if kind != '.html':
        write_sheet(results, path, read, columns, heatmaps)
        return
    facts = [('Rows in the gallery', f'{manifest.counts.get("rows", 0):,}'), ('Metric', manifest.metric)]
    if manifest.fingerprint is not None and manifest.fingerprint.description:
        facts.append(('Model', manifest.fingerprint.description))
    write_page(results, path, read, facts)


def write_sheet(
    results: Sequence[SearchResult], path: str | Path, read: ReadPhoto, columns: int = 5, heatmaps: bool = False
) -> None:
    """Write results as one picture.

    Args:
        results: At least one.
        path: Of the picture; its suffix says the format.
        read: See :func:`photo_reader`.
        columns: Hits beside each other.
        heatmaps: Lay similarity maps over the photos.

    Raises:
        RetrievalError: If there are no results, or the file cannot be written.
    """
    if not results:
        raise RetrievalError('there are no results to draw; give at least one query')
    sheet = Image.fromarray(draw_search_sheet(_rows(results, read), columns=columns, heatmaps=heatmaps))
    try:
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise RetrievalError(f'{path} cannot be written ({error}); choose another file, such as results.png') from error


def write_page(
    results: Sequence[SearchResult], path: str | Path, read: ReadPhoto, facts: Sequence[tuple[str, str]] = ()
) -> None:
    """Write results as one page of HTML, which holds its pictures.

    Args:
        path: Of the page.
        read: See :func:`photo_reader`.
        facts: What its head says of gallery and model. Defaults to nothing.

    Raises:
        RetrievalError: If the file cannot be written.
    """
    page = render_search_page(_rows(results, read), ReportSettings(title='Image search', side=256), facts)
    try:
        Path(path).write_text(page, encoding='utf-8')
    except OSError as error:
        raise RetrievalError(f'{path} cannot be written ({error.strerror}); choose another file') from error


def photo_reader(root: str | Path = '') -> ReadPhoto:
    """How the photo of a record is read.

    Args:
        root: Where relative paths of the gallery's rows begin. Defaults to the current folder.

    Returns:
        Gives (H, W, 3) uint8 RGB, EXIF orientation applied; None if the file is gone or damaged.
    """

    def read(record: Record) -> np.ndarray | None:
        path = Path(root if record.id >= 0 else '', record.path)  # queries from outside have paths of their own
        if not record.path or not path.is_file():
            return None
        try:
            return np.ascontiguousarray(read_photo(ImageItem(str(path))).pixels[..., ::-1])
        except UnreadablePhotoError:
            return None

    return read


def _rows(results: Sequence[SearchResult], read: ReadPhoto) -> list[SearchRow]:
    rows = []
    for result in results:
        truth = result.query.label
        hits = [
            _found(hit.record, read, hit.score, None if truth is None else hit.record.label == truth)
            for hit in result.hits
        ]
        rows.append(SearchRow(_found(result.query, read), hits))
    return rows


def _found(record: Record, read: ReadPhoto, score: float | None = None, is_right: bool | None = None) -> FoundImage:
    photo = read(record)
    lost = photo is None
    image = _MISSING if photo is None else photo
    height, width = image.shape[:2]
    if max(height, width) > SIDE:  # a sheet of full-size photos would need gigabytes
        scale = SIDE / max(height, width)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    extent = np.array([width, height] * 2, np.float64)
    return FoundImage(
        image=image,
        path=f'{record.path} (cannot be read)' if lost and record.path else record.path,
        label=record.label,
        score=score,
        number=record.id if record.id >= 0 else None,
        box=None if lost or record.box is None else (np.asarray(record.box) / extent).tolist(),
        similarity_map=None if lost else record.similarity_map,
        map_area=None if record.map_area is None else (np.asarray(record.map_area) / extent).tolist(),
        is_right=is_right,
    )
