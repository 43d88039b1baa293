"""Checks of image files: whether they exist, can be read, or are copies of each other."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..images.decoding import PILLOW_ERRORS, decode_image, describe_error, read_header
from ..images.photos import read_content

_WINDOW = 4096  # tasks queued at once; an interruption has to wait for them
T = TypeVar('T')
Progress = Callable[[int, int], None]
"""Called with the images that are done and their number."""


class UnreadableFile(NamedTuple):
    """A file that is not an image, or only a part of one, and why in a line."""

    path: str
    reason: str


def missing_files(paths: Iterable[str]) -> list[str]:
    """Files that do not exist, in their order; each folder is read once."""
    listings: dict[str, set[str]] = {}
    missing = []
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listings:
            try:
                listings[folder] = set(os.listdir(folder or '.'))
            except OSError:
                listings[folder] = set()
        if name not in listings[folder]:
            missing.append(path)
    return missing


def find_unreadable(
    paths: Sequence[str], workers: int | None = None, progress: Progress | None = None
) -> list[UnreadableFile]:
    """Decode images in ``workers`` threads, one per core by default; return those that cannot be read, in order."""
    return [result for result in _map(_decode, paths, workers, progress) if result is not None]


def find_duplicates(
    paths: Sequence[str], workers: int | None = None, progress: Progress | None = None
) -> list[list[str]]:
    """Find groups of two or more files with equal content, in their order; unreadable ones are passed over.

    ``progress`` is called after each file of which another has the same size.
    """
    candidates = [path for group in _group(paths, _map(_size_on_disk, paths, workers)) for path in group]
    return _group(candidates, _map(_content_digest, candidates, workers, progress))


def image_size(path: str) -> tuple[int, int] | UnreadableFile:
    """Width and height in pixels, turned as the EXIF data says, from the file's header alone."""
    try:
        height, width = read_header(path).shape
    except PILLOW_ERRORS as error:
        return UnreadableFile(path, describe_error(error))
    return width, height


def image_sizes(
    paths: Sequence[str], workers: int | None = None, progress: Progress | None = None
) -> list[tuple[int, int] | UnreadableFile]:
    """:func:`image_size` of many files, in their order."""
    return list(_map(image_size, paths, workers, progress))


def _map(
    function: Callable[[str], T], paths: Sequence[str], workers: int | None, progress: Progress | None = None
) -> Iterator[T]:
    """Map in threads, in order; Pillow and hashlib release the GIL."""
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        windows = (paths[start : start + _WINDOW] for start in range(0, len(paths), _WINDOW))
        for done, result in enumerate(chain.from_iterable(pool.map(function, window) for window in windows), start=1):
            if progress is not None:
                progress(done, len(paths))
            yield result


def _decode(path: str) -> UnreadableFile | None:
    try:
        decode_image(read_content(path))
    except PILLOW_ERRORS as error:
        return UnreadableFile(path, describe_error(error))
    return None


def _size_on_disk(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _content_digest(path: str) -> bytes | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None


def _group(paths: Sequence[str], keys: Iterable[object]) -> list[list[str]]:
    """Paths with equal keys, where there are two or more."""
    groups: dict[object, list[str]] = defaultdict(list)
    for path, key in zip(paths, keys):
        if key is not None:
            groups[key].append(path)
    return [group for group in groups.values() if len(group) > 1]
