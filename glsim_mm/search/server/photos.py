"""Photos of a gallery as they are sent out: small, upright, and without what cameras write into them."""

from __future__ import annotations

import io
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from retrieval.gallery import Record

from ...images.decoding import LOGGER, UnreadableImageError, decode_reduced
from ...images.photos import hash_content, read_content
from .problems import Problem

SIDES = (320, 800, 1600)
_QUALITY = 80
_VERSION = 1  # of what is written into the cache


def default_cache() -> Path:
    """Folder of the thumbnails: below ``$XDG_CACHE_HOME``, by default ``~/.cache``."""
    cache = os.environ.get('XDG_CACHE_HOME') or ''
    return (Path(cache) if os.path.isabs(cache) else Path.home() / '.cache') / 'glsim_mm' / 'thumbnails'


class Thumbnails:
    """WebP files of photos, which are kept on disk by the hash of the photo.

    Args:
        folder: Where they are kept. Where it cannot be written to, they are made each time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, file: str, side: int, known: str | None = None) -> tuple[str, bytes | None]:
        """Hash and thumbnail of a photo, whose longer side has at most ``side`` pixels.

        Args:
            file: The photo.
            side: One of :data:`SIDES`.
            known: The hash of which the caller has the thumbnail, which is then left out.

        Raises:
            Problem: If the photo cannot be read.
        """
        try:
            content = read_content(file)
            tag = f'{hash_content(content)}-{side}-{_VERSION}'
            if tag == known:
                return tag, None
            kept = self._folder / tag[:2] / f'{tag}.webp'
            with suppress(OSError):
                return tag, kept.read_bytes()
            made = shrink(content, side)
        except UnreadableImageError as error:
            raise Problem(404, 'photo-unreadable', f'the photo of this row cannot be read: {error}') from error
        self._keep(kept, made)
        return tag, made

    def _keep(self, path: Path, content: bytes) -> None:
        """Write a file as a whole or not at all."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as written:
                written.write(content)
            os.replace(written.name, path)
        except OSError as error:
            LOGGER.debug('thumbnails are not kept: %s', error.strerror)


def shrink(content: bytes, side: int) -> bytes:
    """A photo as WebP, upright and without EXIF data, at most ``side`` pixels long; small ones keep their size.

    Raises:
        UnreadableImageError: If it cannot be read.
    """
    pixels, (height, width) = decode_reduced(content, side)
    factor = min(1.0, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size != (pixels.shape[1], pixels.shape[0]):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return _to_file(pixels[..., ::-1], 'WEBP', quality=_QUALITY)


def draw_map(record: Record) -> bytes:
    """The similarity map of a row as a grey PNG, a pixel for each patch.

    Raises:
        Problem: If it has none.
    """
    if record.similarity_map is None:
        raise Problem(404, 'no-map', f'row {record.id} has no similarity map')
    return _to_file(record.similarity_map, 'PNG')


def _to_file(pixels: np.ndarray, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()
