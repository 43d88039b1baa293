"""From a file to pixels: what is no photo, or would fill the memory, is refused before it is decoded."""

import hashlib
import io
import os
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmengine import fileio
from PIL import Image, ImageOps

from glsim_mm.errors import GLSimError
from glsim_mm.images.decoding import UnreadableImageError, decode_image
from glsim_mm.images.sources import to_bgr
from retrieval.errors import RetrievalError

MAX_PIXELS = 178_956_970
"""Pixels of the largest photo that is decoded, Pillow's own limit: 512 MiB as 8-bit RGB."""

MAX_ASPECT = 500
"""A photo whose one side is so many times the other would become huge where its short side is enlarged."""

MAX_BYTES = 1 << 30
_HEADER_ERRORS = (OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, EOFError)


class Photo(NamedTuple):
    """A decoded photo.

    Attributes:
        pixels: (H, W, 3) uint8 BGR, EXIF orientation applied.
        content_hash: SHA-256 of the file, hexadecimal; None for an array.
    """

    pixels: np.ndarray
    content_hash: str | None


class UnreadablePhotoError(Exception):
    """A photo cannot be used; its message says why, without the path."""


def read_content(path: str) -> bytes:
    """Bytes of a file.

    Args:
        path: Path, or an address that mmengine's file backends know.

    Returns:
        All of it.

    Raises:
        UnreadablePhotoError: If it cannot be read, or has more than 1 GiB.
    """
    try:
        if '://' not in path and os.path.getsize(path) > MAX_BYTES:
            raise UnreadablePhotoError(f'the file has more than {MAX_BYTES >> 30} GiB')
        return fileio.get(path)
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise UnreadablePhotoError(getattr(error, 'strerror', None) or ' '.join(str(error).split())) from error


def hash_content(content: bytes) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read_photo(path: str, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read and decode a photo as training does.

    Args:
        path: See :func:`read_content`.
        max_pixels: Photos with more are not decoded. Defaults to :data:`MAX_PIXELS`.

    Returns:
        Upright.

    Raises:
        UnreadablePhotoError: If it cannot be read, is no image, or is too large.
    """
    content = read_content(path)
    check_size(content, max_pixels)
    try:
        return Photo(decode_image(content), hash_content(content))
    except (UnreadableImageError, MemoryError) as error:
        raise UnreadablePhotoError(str(error) or 'not enough memory') from error


def check_size(content: bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse an image file by the width and height that its header states.

    Args:
        content: The file.
        max_pixels: Largest number of pixels. Defaults to :data:`MAX_PIXELS`.

    Raises:
        UnreadablePhotoError: If it states more pixels, or sides of very different length.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:  # reads the header alone
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise UnreadablePhotoError(str(error).partition(',')[0]) from error
    except _HEADER_ERRORS:
        return  # the decoder says what is wrong, or knows the format
    if width * height > max_pixels:
        raise UnreadablePhotoError(f'{width} x {height} pixels are more than the limit of {max_pixels}')
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadablePhotoError(f'of {width} x {height} pixels, one side is over {MAX_ASPECT} times the other')


def photo_from_array(image: np.ndarray | Image.Image) -> Photo:
    """A photo that is decoded already.

    Args:
        image: (H, W), (H, W, 3) BGR or (H, W, 4) BGRA of uint8, or a Pillow image, whose EXIF orientation is applied.

    Returns:
        Without a content hash.

    Raises:
        RetrievalError: If it is no image.
    """
    if isinstance(image, Image.Image):
        image = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))[..., ::-1]
    try:
        return Photo(to_bgr(image), None)
    except GLSimError as error:
        raise RetrievalError(str(error)) from error


def crop_photo(pixels: np.ndarray, box: Sequence[float]) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of a photo in a box.

    Args:
        pixels: (H, W, 3).
        box: ``x0, y0, x1, y1`` in pixels; rounded outwards and cut off at the border.

    Returns:
        The part, and x and y of its upper left corner in pixels.

    Raises:
        RetrievalError: If the box is no box, or nothing of it lies in the photo.
    """
    corners = np.asarray(box, np.float64)
    if corners.shape != (4,) or not np.isfinite(corners).all():
        raise RetrievalError(f'a box is four numbers x0, y0, x1, y1, got {list(box)}')
    height, width = pixels.shape[:2]
    x0, y0 = (int(np.floor(value)) for value in np.maximum(corners[:2], 0))
    x1, y1 = (int(np.ceil(min(value, limit))) for value, limit in zip(corners[2:], (width, height)))
    if x1 <= x0 or y1 <= y0:
        raise RetrievalError(
            f'box {[round(float(value), 1) for value in corners]} holds nothing of the photo, which is {width} x '
            f'{height} pixels: give x0, y0, x1, y1 in pixels of the upright photo'
        )
    return np.ascontiguousarray(pixels[y0:y1, x0:x1]), (x0, y0)
