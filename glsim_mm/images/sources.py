"""Where images come from: files, folders, glob patterns, arrays, and any mixture of them."""

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from mmengine import fileio

from ..errors import GLSimError
from .decoding import UnreadableImageError, decode_image

ImageInput: TypeAlias = str | Path | np.ndarray
PHOTO_SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
"""Endings, in small letters, of the files that are looked for in folders."""


class ImageSource(NamedTuple):
    """One image, not read yet.

    Attributes:
        path: Its file or URL; None for an array.
        name: Name for what is written about it: the path below the folder in which it was found, else the file name;
            empty for an array.
        pixels: The array; None for a file.
    """

    path: str | None
    name: str = ''
    pixels: np.ndarray | None = None


def find_sources(inputs: ImageInput | Iterable[ImageInput]) -> Iterable[ImageSource]:
    """Images that an inferencer is asked for, in order.

    Args:
        inputs: A file, URL, folder (searched recursively, in order of paths, for images by their suffix), glob pattern
            (``'photos/**/*.jpg'``, likewise), array, or any iterable of these.

    Returns:
        A list, except for iterables other than list and tuple, which are read one by one while the result is.

    Raises:
        GLSimError: If a path does not exist, a folder or pattern holds no image, or an input is of another kind.
    """
    if isinstance(inputs, (str, Path, np.ndarray)):
        return list(_expand(inputs))
    if not isinstance(inputs, Iterable):
        raise GLSimError(
            f'images are paths, arrays or iterables of them, not {type(inputs).__name__}; convert the input'
        )
    sources = (source for one in inputs for source in _expand(one))
    return list(sources) if isinstance(inputs, (list, tuple)) else sources


def read_source(source: ImageSource) -> np.ndarray:
    """Decode an image as training does: EXIF orientation applied, transparency dropped, 8 bits.

    Args:
        source: A file or an array.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        GLSimError: If the image cannot be read.
    """
    if source.pixels is not None:
        return to_bgr(source.pixels)
    try:
        return decode_image(fileio.get(source.path))
    except (OSError, UnreadableImageError) as error:
        reason = ' '.join(str(error).split())
        raise GLSimError(f'image {source.path} cannot be read ({reason}); replace it or leave it out') from error


def to_bgr(pixels: np.ndarray) -> np.ndarray:
    """An array of 1, 3 or 4 channels as an image.

    Args:
        pixels: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA; uint8.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        GLSimError: If shape or type are others, or the image is empty.
    """
    image = pixels[..., None] if pixels.ndim == 2 else pixels
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise GLSimError(
            f'an image array must be (H, W), (H, W, 3) BGR or (H, W, 4) BGRA of uint8, got {pixels.shape} of '
            f'{pixels.dtype}; convert it'
        )
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    return np.ascontiguousarray(image)


def _expand(one: ImageInput) -> Iterator[ImageSource]:
    if isinstance(one, np.ndarray):
        yield ImageSource(None, pixels=one)
        return
    if not isinstance(one, (str, Path)):
        raise GLSimError(f'images are paths or arrays, not {type(one).__name__}; convert the input')
    path = Path(one)
    if '://' in str(one):
        yield ImageSource(str(one), path.name)
    elif path.is_dir():
        yield from _found(path.rglob('*'), path)
    elif path.is_file():
        yield ImageSource(str(one), path.name)
    elif glob.has_magic(str(one)):
        yield from _found(map(Path, glob.glob(str(one), recursive=True)), _root_of(path), str(one))
    else:
        raise GLSimError(f'{one} does not exist; check the path')


def _found(files: Iterable[Path], root: Path, where: str = '') -> Iterator[ImageSource]:
    images = sorted(file for file in files if file.suffix.lower() in PHOTO_SUFFIXES and file.is_file())
    if not images:
        raise GLSimError(f'there is no image in {where or root}; images end in {", ".join(PHOTO_SUFFIXES)}')
    for image in images:
        yield ImageSource(str(image), image.relative_to(root).as_posix())


def _root_of(pattern: Path) -> Path:
    """The folder from which a pattern searches."""
    root = Path()
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        root /= part
    return root
