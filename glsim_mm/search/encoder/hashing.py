"""Content hashes of many files, which say what was encoded already without running the model."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from .photo_dataset import ImageItem
from .reading import UnreadablePhotoError, hash_content, read_content

_AHEAD = 4096


class Hashed(NamedTuple):
    """A file's hash.

    Attributes:
        position: Place of its item.
        content_hash: SHA-256, hexadecimal; empty if the file cannot be read.
        error: Why not; empty if it can.
    """

    position: int
    content_hash: str
    error: str = ''


def hash_items(items: Sequence[ImageItem], positions: Sequence[int], num_threads: int = 2) -> Iterator[Hashed]:
    """Hash files without decoding them.

    Args:
        items: Images.
        positions: Which of them.
        num_threads: Files read at a time.

    Yields:
        One per position, in their order.
    """

    def hash_one(position: int) -> Hashed:
        try:
            return Hashed(position, hash_content(read_content(items[position].file)))
        except UnreadablePhotoError as error:
            return Hashed(position, '', str(error))

    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        for start in range(0, len(positions), _AHEAD):  # a thread pool would take all positions at once
            yield from pool.map(hash_one, positions[start : start + _AHEAD])
