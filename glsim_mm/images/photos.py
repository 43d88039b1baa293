"""Photos as users give them, and the one way in which they are read, checked and decoded."""

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, features

from ..errors import GLSimError, one_line
from .decoding import (
    MAX_PIXELS,
    PILLOW_ERRORS,
    WHITE,
    UnreadableImageError,
    compose,
    decode_image,
    describe_error,
    image_to_bgr,
)

_OPTIONAL_SUFFIXES = {'webp': ('.webp',), 'avif': ('.avif',), 'jpg_2000': ('.j2k', '.jp2')}

PHOTO_SUFFIXES = (
    *('.bmp', '.gif', '.jfif', '.jpe', '.jpeg', '.jpg', '.mpo', '.pbm', '.pgm', '.png', '.pnm', '.ppm'),
    *('.tif', '.tiff'),
    *(suffix for name, suffixes in _OPTIONAL_SUFFIXES.items() if features.check(name) for suffix in suffixes),
)
"""Endings, in small letters, of the files that are looked for in folders, as far as the installed Pillow reads them."""

MAX_BYTES = 1 << 30
_ESCAPED_BYTE = re.compile(r'\\udc([89a-f][0-9a-f])')

ImageInput: TypeAlias = str | Path | bytes | np.ndarray | Image.Image
"""A photo: path or address of a file, a file's bytes, an array (H, W, 3) uint8 BGR as OpenMMLab has it (also (H, W), or
(H, W, 4) BGRA), or a Pillow image. A folder or a glob pattern stands for all photos in it."""


@dataclass
class ImageItem:
    """One photo that is not read yet, and what is known of it.

    ``ImageItem('photos/wren/1.jpg', path='wren/1.jpg', label='wren')`` is a row of a gallery to be.

    Attributes:
        file: Path or address to read; empty for a photo in memory.
        path: What results and galleries call it, such as its path below the folder of all photos.
        label: Name of its class.
        split: For example ``'test'``.
        metadata: Further columns of a gallery, str to int, float, str or None.
        content: The photo itself, if it is no file; see :data:`ImageInput`.
        box: Look at this part alone, ``x0, y0, x1, y1`` in pixels of the upright photo.
        name: Its path below the folder in which it was found, else the file name; empty for a photo in memory.
    """

    file: str = ''
    path: str = ''
    label: str | None = None
    split: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    content: bytes | np.ndarray | Image.Image | None = None
    box: Sequence[float] | None = None
    name: str = ''


class Photo(NamedTuple):
    """A decoded photo.

    Attributes:
        pixels: (H, W, 3) uint8 BGR, EXIF orientation applied.
        content_hash: SHA-256 of the file's bytes, hexadecimal; None for an array or a Pillow image.
    """

    pixels: np.ndarray
    content_hash: str | None


def find_images(images: ImageInput | Iterable[ImageInput]) -> Iterable[ImageItem]:
    """The photos that a call is about, in order.

    Args:
        images: A file, address, folder (searched recursively, in order of paths, for files with one of
            :data:`PHOTO_SUFFIXES`), glob pattern (``'photos/**/*.jpg'``), photo in memory, or an iterable of these.

    Returns:
        A list, except for iterables other than list and tuple, which are read one by one while the result is.

    Raises:
        GLSimError: If a path does not exist, a folder or pattern holds no photo, or an input is of another kind.
    """
    if isinstance(images, (str, Path, bytes, np.ndarray, Image.Image)):
        return list(_expand(images))
    if not isinstance(images, Iterable):
        raise _no_image(images)
    items = (item for one in images for item in _expand(one))
    return list(items) if isinstance(images, (list, tuple)) else items


def is_address(file: str) -> bool:
    """Whether a file is an address, such as ``s3://...``, and no path."""
    return '://' in file


def join_written_path(folder: str, path: str) -> str:
    """Path of a photo as a table names it: an address, absolute, with ``~``, or relative to a folder.

    On other systems than Windows its backslashes are separators, unless there is a file of that name.

    Raises:
        GLSimError: If it has a drive of Windows.
    """
    if is_address(path):
        return path
    path = os.path.expanduser(path)
    if os.sep == '/' and '\\' in path and not os.path.exists(os.path.join(folder, path)):
        if re.match(r'[A-Za-z]:\\', path):
            raise GLSimError(f'{path} is a path of Windows; write it relative to the folder of the photos')
        path = path.replace('\\', '/')
    return os.path.join(folder, path)


def read_photo(item: ImageItem, max_pixels: int = MAX_PIXELS, background: Sequence[int] = WHITE) -> Photo:
    """Read and decode a photo as training does, see :func:`~glsim_mm.images.decoding.decode_image`.

    Raises:
        UnreadableImageError: If a file or bytes cannot be read, are no image, or too large.
        GLSimError: If an array has no shape or type of an image, which is a mistake of the caller.
    """
    if isinstance(item.content, np.ndarray):
        return Photo(to_bgr(item.content, background), None)
    if isinstance(item.content, Image.Image):
        try:
            return Photo(image_to_bgr(item.content, background), None)
        except PILLOW_ERRORS as error:  # Pillow reads the file only now
            raise UnreadableImageError(describe_error(error)) from error
    content = read_content(item.file) if item.content is None else item.content
    return Photo(decode_image(content, max_pixels, background), hash_content(content))


def to_text(name: str) -> str:
    r"""A file name as text that can be stored, in which bytes that are no UTF-8 become ``\udc80`` to ``\udcff``.

    Names that are UTF-8 stay as they are; :func:`read_content` finds files by such a text too.
    """
    return name.encode('utf-8', 'backslashreplace').decode()


def read_content(file: str) -> bytes:
    """All bytes of a file, given by its path or by an address that mmengine's file backends know.

    Raises:
        UnreadableImageError: If it cannot be read, or has more than 1 GiB.
    """
    try:
        if is_address(file):
            from mmengine import fileio  # paths need no mmengine

            return fileio.get(file)
        if _ESCAPED_BYTE.search(file) and not os.path.exists(file):
            file = _ESCAPED_BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), file)
        if os.path.getsize(file) > MAX_BYTES:
            raise UnreadableImageError(f'the file has more than {MAX_BYTES >> 30} GiB')
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise UnreadableImageError(getattr(error, 'strerror', None) or one_line(error)) from error


def hash_content(content: bytes) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def to_bgr(pixels: np.ndarray, background: Sequence[int] = WHITE) -> np.ndarray:
    """An array (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA of uint8 as (H, W, 3) BGR; else a GLSimError."""
    image = pixels[..., None] if pixels.ndim == 2 else pixels
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise GLSimError(
            f'an image array must be (H, W), (H, W, 3) BGR or (H, W, 4) BGRA of uint8, got {pixels.shape} of '
            f'{pixels.dtype}; convert it'
        )
    if image.shape[2] == 4:
        return compose(image, background)
    return np.ascontiguousarray(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)


def crop_photo(pixels: np.ndarray, box: Sequence[float]) -> tuple[np.ndarray, tuple[int, int]]:
    """The part of a photo (H, W, 3) in a box, and x and y of its upper left corner in pixels.

    The box ``x0, y0, x1, y1`` is rounded outwards and cut off at the border.

    Raises:
        GLSimError: If the box is no box, or nothing of it lies in the photo.
    """
    corners = np.asarray(box, np.float64)
    if corners.shape != (4,) or not np.isfinite(corners).all():
        raise GLSimError(f'a box is four numbers x0, y0, x1, y1, got {list(box)}')
    height, width = pixels.shape[:2]
    x0, y0 = (int(np.floor(value)) for value in np.maximum(corners[:2], 0))
    x1, y1 = (int(np.ceil(min(value, limit))) for value, limit in zip(corners[2:], (width, height)))
    if x1 <= x0 or y1 <= y0:
        raise GLSimError(
            f'box {[round(float(value), 1) for value in corners]} holds nothing of the photo, which is {width} x '
            f'{height} pixels: give x0, y0, x1, y1 in pixels of the upright photo'
        )
    return np.ascontiguousarray(pixels[y0:y1, x0:x1]), (x0, y0)


def _no_image(one: Any) -> GLSimError:
    kinds = 'paths, arrays, Pillow images, bytes, or iterables of them'
    return GLSimError(f'images are {kinds}, not {type(one).__name__}; convert the input')


def _expand(one: ImageInput) -> Iterator[ImageItem]:
    if isinstance(one, (bytes, np.ndarray, Image.Image)):
        yield ImageItem(content=one)
        return
    if not isinstance(one, (str, Path)):
        raise _no_image(one)
    path = Path(one)
    if is_address(str(one)) or path.is_file():
        yield ImageItem(str(one), str(one), name=path.name)
    elif path.is_dir():
        yield from _found(path.rglob('*'), path)
    elif glob.has_magic(str(one)):
        yield from _found(map(Path, glob.glob(str(one), recursive=True)), _root_of(path), str(one))
    else:
        raise GLSimError(f'{one} does not exist; check the path')


def _found(files: Iterable[Path], root: Path, where: str = '') -> Iterator[ImageItem]:
    images = sorted(file for file in files if file.suffix.lower() in PHOTO_SUFFIXES and file.is_file())
    if not images:
        raise GLSimError(f'there is no image in {where or root}; images end in {", ".join(PHOTO_SUFFIXES)}')
    for image in images:
        yield ImageItem(str(image), str(image), name=image.relative_to(root).as_posix())


def _root_of(pattern: Path) -> Path:
    """The folder from which a pattern searches."""
    root = Path()
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        root /= part
    return root
