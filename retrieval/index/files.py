"""Parts on disk: whole vectors and indexes as FAISS's own files, written block by block and opened memory-mapped."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from ..errors import RetrievalError
from ..vectors import import_faiss
from .part import Part, flat_index

IDS_FILE = 'ids.npy'
_COUNT_AT = 8  # in the header of an IndexFlat: fourcc, dimension (int32), number of rows (int64), ...


def vectors_file(space: str) -> str:
    """Name of the file with the whole vectors of a space."""
    return f'{space}.vectors.faiss'


def index_file(space: str) -> str:
    """Name of the file with the approximate index of a space."""
    return f'{space}.index.faiss'


class FlatWriter:
    """Writes the file of an ``IndexFlat`` block by block, so that it may be larger than memory.

    Args:
        path: Of the file.
        dimension: Width of the rows.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
    """

    def __init__(self, path: Path, dimension: int, metric: str) -> None:
        self.path = path
        self.dimension = dimension
        self.count = 0
        # FAISS writes an empty index as its header and the length of its vectors, which is the last number.
        self._header = bytes(import_faiss().serialize_index(flat_index(dimension, metric)))
        self._file: BinaryIO = path.open('wb')
        self._file.write(self._header)

    def append(self, rows: np.ndarray) -> None:
        """Write rows.

        Args:
            rows: float32, (n, d), checked.
        """
        self._file.write(np.ascontiguousarray(rows, np.float32).data)
        self.count += len(rows)

    def close(self) -> None:
        """Write the number of rows and make the file durable."""
        self._file.seek(_COUNT_AT)
        self._file.write(struct.pack('<q', self.count))
        self._file.seek(len(self._header) - 8)
        self._file.write(struct.pack('<Q', self.count * self.dimension))  # in numbers, not bytes
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> FlatWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def write_vectors(folder: Path, space: str, blocks: Iterable[np.ndarray], dimension: int, metric: str) -> str:
    """Write the whole vectors of a part.

    Args:
        folder: Of the part.
        space: Its name.
        blocks: float32, (n, d) each, one after another.
        dimension: Width of the rows.
        metric: See :class:`FlatWriter`.

    Returns:
        Name of the file.
    """
    name = vectors_file(space)
    with FlatWriter(folder / name, dimension, metric) as writer:
        for block in blocks:
            writer.append(block)
    return name


def write_index(folder: Path, space: str, index: Any) -> str:
    """Write an approximate index.

    Args:
        folder: Of the part.
        space: Name of the space.
        index: ``faiss.Index``.

    Returns:
        Name of the file.

    Raises:
        RetrievalError: If it cannot be written.
    """
    path = folder / index_file(space)
    try:
        import_faiss().write_index(index, str(path))
    except RuntimeError as error:
        raise RetrievalError(f'{path} cannot be written; is the disk full?') from error
    fsync_file(path)
    return path.name


def write_ids(folder: Path, ids: np.ndarray) -> str:
    """Write the ids of a part.

    Args:
        folder: Of the part.
        ids: int64, (n,).

    Returns:
        Name of the file.
    """
    with (folder / IDS_FILE).open('wb') as file:
        np.save(file, np.asarray(ids, np.int64), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    return IDS_FILE


def read_part(folder: Path, space: str, preset: str, mmap: bool = True) -> Part:
    """Open a part.

    Args:
        folder: With its files.
        space: Name of the space.
        preset: What its index was built by; ``'flat'`` if it has none.
        mmap: Leave vectors and index on disk, to be read as far as searches need them.

    Returns:
        With all rows alive.

    Raises:
        RetrievalError: If a file is missing or damaged.
    """
    ids = read_array(folder / IDS_FILE, mmap)
    vectors = read_faiss(folder / vectors_file(space), mmap)
    approximate = None
    if preset.lower() != 'flat':
        approximate = read_faiss(folder / index_file(space), mmap)
    for name, index in ((vectors_file(space), vectors), (index_file(space), approximate)):
        if index is not None and index.ntotal != len(ids):
            raise damaged(folder / name)
    return Part(ids, vectors, approximate, preset)


def read_array(path: Path, mmap: bool = True) -> np.ndarray:
    """Open a file of NumPy.

    Args:
        path: The file.
        mmap: Leave it on disk.

    Returns:
        As it was written.

    Raises:
        RetrievalError: If it is missing or damaged.
    """
    try:
        return np.load(path, mmap_mode='r' if mmap else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path) from error


def read_faiss(path: Path, mmap: bool = True) -> Any:
    """Open a file of FAISS.

    Args:
        path: The file.
        mmap: Leave it on disk; inverted lists too.

    Returns:
        ``faiss.Index``.

    Raises:
        RetrievalError: If it is missing or damaged.
    """
    faiss = import_faiss()
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mmap else 0)
    except RuntimeError as error:
        raise damaged(path) from error


def damaged(path: Path) -> RetrievalError:
    """The error for a file that is not as it was written."""
    state = 'is damaged' if path.exists() else 'is missing'
    return RetrievalError(f'{path} {state}: restore the gallery from a copy, or build it again')


def fsync_file(path: Path) -> None:
    """Make a file, or the entries of a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
