"""Checks of image files: whether they exist, can be read, or are copies of each other."""

import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from .decoding import PILLOW_ERRORS, decode_image, decode_reduced, describe_error, read_header
from .perceptual_hash import near_groups, perceptual_hash
from .photos import is_address, read_content

_WINDOW = 4096  # tasks queued at once; an interruption has to wait for them
_MIDDLE = 256  # bytes
_COMPARED_SIDE = 64  # least height and width in pixels of photos that are compared by their looks
T = TypeVar('T')
Progress = Callable[[int, int], None]
"""Called with the images that are done and their number."""


class UnreadableFile(NamedTuple):
    """A file that is not an image, or only a part of one, and why in a line."""

    path: str
    reason: str


class FileFacts(NamedTuple):
    """What is known of an image file.

    Attributes:
        size: Width and height in pixels, turned as the EXIF data says.
        stored_size: Width and height as the file has them.
        digest: SHA-256 of its bytes, if it was read as a whole.
        look: Its :func:`~glsim_mm.images.perceptual_hash.perceptual_hash`, if it was decoded and has contrast.
    """

    size: tuple[int, int]
    stored_size: tuple[int, int]
    digest: bytes | None = None
    look: np.ndarray | None = None


class Leak(NamedTuple):
    """A photo that another split has too."""

    path: str
    other: str  # its path there
    is_equal: bool  # byte by byte; else it looks alike


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
    candidates = [path for group in group_equal(paths, _map(_size_on_disk, paths, workers)) for path in group]
    return group_equal(candidates, _map(_content_digest, candidates, workers, progress))


def count_shared(paths: Sequence[str], others: Sequence[str], at_most: int) -> tuple[int, bool]:
    """How many files of a second list are equal to one of the first, and whether all were compared.

    Only files of which others have the same size are read, ``at_most`` so many, and first a few bytes of their middle.
    """
    own, other = dict.fromkeys(paths), dict.fromkeys(others)
    same = [path for path in other if path in own]
    rest = [path for path in (*own, *other) if not (path in own and path in other)]

    def in_both(group: Sequence[str]) -> bool:
        return any(path in own for path in group) and any(path in other for path in group)

    found = [path for group in group_equal(rest, _map(_size_on_disk, rest, None)) if in_both(group) for path in group]
    is_all, found = len(found) <= at_most, found[:at_most]
    for digest in (_middle, _content_digest):
        groups = [group for group in group_equal(found, _map(digest, found, None)) if in_both(group)]
        found = [path for group in groups for path in group]
    return len(same) + sum(path in other for path in found), is_all


def image_size(path: str) -> tuple[int, int] | UnreadableFile:
    """Width and height in pixels, turned as the EXIF data says, from the file's header alone."""
    facts = _read_facts(path)
    return facts if isinstance(facts, UnreadableFile) else facts.size


def examine_files(
    paths: Sequence[str], decode: bool = False, workers: int | None = None, progress: Progress | None = None
) -> list[FileFacts | UnreadableFile]:
    """Read the headers of files or, to compare them, decode them; in ``workers`` threads, in their order."""
    return list(_map(_read_all if decode else _read_facts, paths, workers, progress))


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


def _read_facts(path: str) -> FileFacts | UnreadableFile:
    try:
        header = read_header(io.BytesIO(read_content(path)) if is_address(path) else path)
    except PILLOW_ERRORS as error:
        return UnreadableFile(path, describe_error(error))
    (height, width), (stored_height, stored_width) = header.shape, header.stored_shape
    return FileFacts((width, height), (stored_width, stored_height))


def _read_all(path: str) -> FileFacts | UnreadableFile:
    try:
        content = read_content(path)
        pixels, (height, width) = decode_reduced(content, _COMPARED_SIDE)
        stored_height, stored_width = read_header(io.BytesIO(content)).stored_shape
    except PILLOW_ERRORS as error:
        return UnreadableFile(path, describe_error(error))
    stored_size = stored_width, stored_height
    return FileFacts((width, height), stored_size, hashlib.sha256(content).digest(), perceptual_hash(pixels))


def _size_on_disk(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _middle(path: str) -> tuple[int, bytes] | None:
    """Size and some bytes of the middle of a file, which tell most photos apart."""
    try:
        with open(path, 'rb') as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(size // 2)
            return size, file.read(_MIDDLE)
    except OSError:
        return None


def _content_digest(path: str) -> bytes | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None


def group_equal(paths: Sequence[str], keys: Iterable[object]) -> list[list[str]]:
    """Paths with equal keys, where there are two or more."""
    groups: dict[object, list[str]] = defaultdict(list)
    for path, key in zip(paths, keys):
        if key is not None:
            groups[key].append(path)
    return [group for group in groups.values() if len(group) > 1]


def find_leaks(
    facts: Mapping[str, FileFacts], others: Mapping[str, Mapping[str, FileFacts]]
) -> tuple[list[list[str]], dict[str, list[Leak]]]:
    """Photos that look alike, by their paths: groups in one split, and those that other splits have too.

    Photos whose files are equal are one photo here, and count as leaks, but not as groups.
    """
    hashes, places = [], []
    for split, known in [('', facts), *others.items()]:
        for path, fact in known.items():
            if fact.look is not None:
                hashes.append(fact.look)
                places.append((split, path, fact.digest))
    own_by_digest = {fact.digest: path for path, fact in reversed(list(facts.items()))}
    leaks = {
        split: [
            Leak(own_by_digest[fact.digest], path, True) for path, fact in known.items() if fact.digest in own_by_digest
        ]
        for split, known in others.items()
    }
    members: dict[int, list[tuple[str, str, bytes | None]]] = {}
    for place, group in zip(places, near_groups(np.array(hashes, np.uint16).reshape(-1, 16)).tolist()):
        members.setdefault(group, []).append(place)
    groups = []
    for found in members.values():
        own = {digest: path for split, path, digest in reversed(found) if not split}
        if len(own) > 1:
            groups.append(list(own.values())[::-1])
        for split, path, digest in found:
            if split and own and digest not in own_by_digest:
                leaks[split].append(Leak(next(reversed(own.values())), path, False))
    return groups, leaks
