"""Photos as users give them, and the one way in which they are read, checked and decoded."""

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from ..errors import GLSimError, explain_missing, one_line
from .decoding import (
    LOGGER,
    MAX_PIXELS,
    PILLOW_ERRORS,
    WHITE,
    UnreadableImageError,
    compose,
    decode_image,
    describe_error,
    image_to_bgr,
)
from .photo_folders import (
    EXCLUDED,
    PHOTO_SUFFIXES,
    LeftOut,
    PhotoList,
    check_patterns,
    fits_pattern,
    is_excluded,
    list_photos,
    sort_files,
)
from .remote_files import list_remote, read_remote

MAX_BYTES = 1 << 30
_ESCAPED_BYTE = re.compile(r'\\udc([89a-f][0-9a-f])')
_ESCAPES = str.maketrans({'\n': r'\n', '\r': r'\r', '\t': r'\t'})


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


ImageInput: TypeAlias = str | Path | bytes | np.ndarray | Image.Image | ImageItem
"""A photo: path or address of a file, a file's bytes, an array (H, W, 3) uint8 BGR as OpenMMLab has it (also (H, W), or
(H, W, 4) BGRA), a Pillow image, or one of these in an :class:`ImageItem`. A folder or a glob pattern stands for all
photos in it."""


class Photo(NamedTuple):
    """A decoded photo.

    Attributes:
        pixels: (H, W, 3) uint8 BGR, EXIF orientation applied.
        content_hash: SHA-256 of the file's bytes, hexadecimal; None for an array or a Pillow image.
    """

    pixels: np.ndarray
    content_hash: str | None


def find_images(
    images: ImageInput | Iterable[ImageInput], exclude: Sequence[str] = (), left_out: LeftOut | None = None
) -> Iterable[ImageItem]:
    """The photos that a call is about, in order.

    Args:
        images: A file, address, folder (searched recursively, in order of paths, see
            :func:`~glsim_mm.images.photo_folders.list_photos`), glob pattern (``'photos/**/*.jpg'``), photo in memory,
            or an iterable of these. Files that are named, or listed by the shell, may have any name and ending.
        exclude: Patterns of files and folders to leave out, see
            :func:`~glsim_mm.images.photo_folders.check_patterns`.
        left_out: Takes what is found beside photos. By default it goes to the log.

    Returns:
        A list, except for iterables other than list and tuple, which are read one by one while the result is.

    Raises:
        GLSimError: If a path does not exist, a folder or pattern holds no photo, or an input is of another kind.
    """
    check_patterns(exclude)
    if isinstance(images, (str, Path, bytes, np.ndarray, Image.Image, ImageItem)):
        images = [images]
    if not isinstance(images, Iterable):
        raise _no_image(images)
    if not isinstance(images, (list, tuple)):
        return (item for one in images for item in find_images([one], exclude, left_out))
    found = LeftOut() if left_out is None else left_out
    items = [item for one in images for item in _expand(one, exclude, found)]
    if found and left_out is None:
        LOGGER.warning('left out: %s', found.summary())
    return items


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


def on_one_line(name: str) -> str:
    r"""A file name for a list in which each line is a file: line ends and tabs in it are written ``\n``, ``\t``."""
    return name.translate(_ESCAPES)


def read_content(file: str) -> bytes:
    """All bytes of a file, given by its path or address (see :func:`~glsim_mm.images.remote_files.read_remote`).

    Raises:
        UnreadableImageError: If it cannot be read, or has more than 1 GiB.
        GLSimError: If the package for such addresses is not installed.
    """
    try:
        if is_address(file):
            return read_remote(file)
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
    try:
        corners = np.asarray(box, np.float64)
    except (TypeError, ValueError):
        corners = np.empty(0)
    if corners.shape != (4,) or not np.isfinite(corners).all():
        raise GLSimError(f'a box is four numbers x0, y0, x1, y1, got {box!r}')
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


def _expand(one: ImageInput, exclude: Sequence[str], left_out: LeftOut) -> Iterator[ImageItem]:
    if isinstance(one, ImageItem):
        yield one
        return
    if isinstance(one, (bytes, np.ndarray, Image.Image)):
        yield ImageItem(content=one)
        return
    if not isinstance(one, (str, Path)):
        raise _no_image(one)
    path = Path(one)
    remote = list_remote(str(one)) if is_address(str(one)) else None
    if remote is not None:
        yield from _found_remote(str(one), *remote, exclude, left_out)
    elif is_address(str(one)) or path.is_file():
        if is_excluded(path.name, exclude):
            left_out.add(EXCLUDED, str(one))
        else:
            yield ImageItem(str(one), str(one), name=path.name)
    elif path.is_dir():
        yield from _found(path, '', exclude, left_out)
    elif glob.has_magic(str(one)):
        root = _root_of(path)
        yield from _found(root, path.relative_to(root).as_posix(), exclude, left_out)
    else:
        raise GLSimError(explain_missing('', one))


def _found(root: Path, pattern: str, exclude: Sequence[str], left_out: LeftOut) -> Iterator[ImageItem]:
    where = root / pattern
    try:
        found = PhotoList() if pattern and not root.is_dir() else list_photos(str(root), exclude, pattern=pattern)
    except OSError as error:
        raise GLSimError(f'{root} cannot be read ({error.strerror}); check the path') from error
    yield from _items(found, lambda name: str(root / name), str(where), left_out)


def _found_remote(
    address: str, folder: str, files: Sequence[str], exclude: Sequence[str], left_out: LeftOut
) -> Iterator[ImageItem]:
    pattern = address[len(folder) + 1 :].rstrip('/')
    wanted = [file for file in files if fits_pattern(file, pattern)] if pattern else files
    yield from _items(sort_files(wanted, exclude, PHOTO_SUFFIXES), lambda name: f'{folder}/{name}', address, left_out)


def _items(found: PhotoList, file_of: Callable[[str], str], where: str, left_out: LeftOut) -> Iterator[ImageItem]:
    left_out.update(found.left_out)
    if not found.files:
        besides = f'; left out: {found.left_out.summary()}' if found.left_out else ''
        raise GLSimError(f'there is no image in {where}; images end in {", ".join(PHOTO_SUFFIXES)}{besides}')
    for name in found.files:
        file = file_of(name)
        yield ImageItem(file, file, name=name)


def _root_of(pattern: Path) -> Path:
    """The folder from which a pattern searches."""
    root = Path()
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        root /= part
    return root
