"""Rows of one space that are stored together: their ids, whole vectors and an index over them, in memory or on disk."""

from __future__ import annotations

import copy
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import RetrievalError
from ..vectors import import_faiss
from .effort import Effort, calibrate
from .exact import read_ahead
from .faiss_calls import flat_index, rows_of
from .presets import is_flat
from .training import build_faiss_index

IDS_FILE = 'ids.npy'
_COUNT_AT = 8  # in the header of an IndexFlat: fourcc, dimension (int32), number of rows (int64), ...


@dataclass
class Part:
    """A batch of rows that never changes; a removed row is one that is not ``alive``.

    Example:
        >>> part = make_part(embeddings, np.arange(len(embeddings)), 'ip')
        >>> VectorIndex(part.vectors.d, 'ip', [part]).search(queries, 5)

    Attributes:
        ids: int64, (n,), each once.
        vectors: ``faiss.IndexFlat`` with the rows, unit length for ``'cosine'``; may be memory-mapped.
        approximate: Another kind of ``faiss.Index`` over the same rows in the same order.
        preset: What ``approximate`` was built by.
        alive: bool, (n,); None for all.
        effort: What calibration found when ``approximate`` was built; None if it was read from a file.
        token: Tells this part from all others, also from those that later take its place in memory.
    """

    ids: np.ndarray
    vectors: Any
    approximate: Any = None
    preset: str = 'flat'
    alive: np.ndarray = None  # type: ignore[assignment]
    effort: Effort | None = None
    token: object = field(default_factory=object, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.alive is None:
            self.alive = np.ones(len(self.ids), bool)
        self.num_dead = int(len(self.alive) - self.alive.sum())

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> np.ndarray:
        """float32, (n, d), without a copy."""
        return rows_of(self.vectors)

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.ids, kind='stable')

    @cached_property
    def first_id(self) -> int | None:
        """The id of row 0 where ids count on from it, so that no look-up is needed; else None."""
        if len(self.ids) and (np.diff(self.ids) == 1).all():
            return int(self.ids[0])
        return None

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Row numbers of ids that are here and alive, int64 (m,); -1 for the others."""
        rows = self.find_any(ids)
        return np.where((rows >= 0) & self.alive[rows], rows, -1) if len(self.ids) else rows

    def find_any(self, ids: np.ndarray) -> np.ndarray:
        """Row numbers of ids that are here, alive or not, int64 (m,); -1 for the others."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        if self.first_id is not None:
            rows = np.clip(ids - self.first_id, 0, len(self.ids) - 1)
        else:
            places = np.searchsorted(self.ids, ids, sorter=self._order)
            rows = self._order[np.minimum(places, len(self.ids) - 1)]
        return np.where(self.ids[rows] == ids, rows, -1)

    def ids_of(self, rows: np.ndarray) -> np.ndarray:
        """Ids of row numbers; -1 stays -1."""
        ids = self.ids[rows] if self.first_id is None else rows + self.first_id
        return np.where(rows < 0, -1, ids)

    def with_alive(self, alive: np.ndarray) -> Part:
        """The same rows, of which others are alive, bool (n,); it shares everything else, also copies on GPUs."""
        part = copy.copy(self)
        part.alive = alive
        part.__post_init__()
        return part


def make_part(
    embeddings: np.ndarray, ids: np.ndarray, metric: str, preset: str = 'flat', recall: float | None = None
) -> Part:
    """A part in memory, of embeddings float32 (n, d) as :meth:`VectorIndex.prepare` gives them.

    ``recall`` is the target of :func:`retrieval.index.effort.calibrate`.
    """
    vectors = flat_index(embeddings.shape[1], metric)
    vectors.add(embeddings)
    if is_flat(preset):
        return Part(np.asarray(ids, np.int64), vectors)
    approximate = build_faiss_index(preset, vectors, metric)
    effort = calibrate(approximate, vectors, metric, preset, recall)
    return Part(np.asarray(ids, np.int64), vectors, approximate, preset, effort=effort)


def fill_rows(target: np.ndarray, ids: np.ndarray, parts: Iterable[tuple[Part, np.ndarray]], what: str) -> None:
    """Fill rows of ``target``, (m, ...), with those of ids (m,) from arrays (n, ...) that lie beside parts.

    RetrievalError names an id that is in none of them, ``what`` the thing that they are parts of.
    """
    missing = np.ones(len(ids), bool)
    for part, array in parts:
        rows = part.find(ids)
        here = rows >= 0
        if here.any():
            target[here] = array[rows[here]]
            missing &= ~here
    if missing.any():
        raise RetrievalError(f'id {ids[missing][0]} is not in the {what}')


# -- files: FAISS's own format, written block by block and opened memory-mapped ---------------------------------------


def vectors_file(space: str) -> str:
    """Name of the file with the whole vectors of a space."""
    return f'{space}.vectors.faiss'


def index_file(space: str) -> str:
    """Name of the file with the approximate index of a space."""
    return f'{space}.index.faiss'


def write_vectors(folder: Path, space: str, blocks: Iterable[np.ndarray], dimension: int, metric: str) -> str:
    """Write blocks of vectors (n, d) as a file of an ``IndexFlat``, which may exceed the memory; returns its name."""
    # FAISS writes an empty index as its header and the length of its vectors, which is the last number.
    header = bytes(import_faiss().serialize_index(flat_index(dimension, metric)))

    def write(file: BinaryIO) -> None:
        count = 0
        file.write(header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, np.float32).data)
            count += len(block)
        file.seek(_COUNT_AT)
        file.write(struct.pack('<q', count))
        file.seek(len(header) - 8)
        file.write(struct.pack('<Q', count * dimension))  # in numbers, not bytes

    return write_durably(folder / vectors_file(space), write)


def write_index(folder: Path, space: str, index: Any) -> str:
    """Write an approximate index; returns the name of its file."""
    path = folder / index_file(space)
    try:
        import_faiss().write_index(index, str(path))
    except RuntimeError as error:
        raise RetrievalError(f'{path} cannot be written; is the disk full?') from error
    fsync_file(path)
    return path.name


def write_array(path: Path, array: np.ndarray) -> str:
    """Write a file of NumPy; returns its name."""
    return write_durably(path, lambda file: np.save(file, array, allow_pickle=False))


def write_ids(folder: Path, ids: np.ndarray) -> str:
    """Write the ids of a part; returns the name of the file."""
    return write_array(folder / IDS_FILE, np.asarray(ids, np.int64))


def read_part(folder: Path, space: str, preset: str, mmap: bool = True) -> Part:
    """Open a part, with all rows alive; RetrievalError if a file is missing or damaged.

    With ``mmap``, vectors and index stay on disk, to be read as far as searches need them.
    """
    ids = read_array(folder / IDS_FILE, mmap)
    vectors = read_faiss(folder / vectors_file(space), mmap)
    approximate = None if is_flat(preset) else read_faiss(folder / index_file(space), mmap)
    for name, index in ((vectors_file(space), vectors), (index_file(space), approximate)):
        if index is not None and index.ntotal != len(ids):
            raise damaged(folder / name)
    if approximate is None:  # every search compares every row
        read_ahead(vectors)
    return Part(ids, vectors, approximate, preset)


def read_array(path: Path, mmap: bool = True) -> np.ndarray:
    """Open a file of NumPy; RetrievalError if it is missing or damaged."""
    try:
        return np.load(path, mmap_mode='r' if mmap else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path) from error


def read_faiss(path: Path, mmap: bool = True) -> Any:
    """Open a file of FAISS, inverted lists memory-mapped too; RetrievalError if it is missing or damaged."""
    faiss = import_faiss()
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mmap else 0)
    except RuntimeError as error:
        if 'not recognized' in str(error):  # "Index type 0x... not recognized", of a kind that this FAISS has not
            raise RetrievalError(
                f'{path} is an index of a kind that FAISS {faiss.__version__} does not know, or is damaged: '
                'pip install --upgrade faiss-cpu, or restore the gallery from a copy'
            ) from error
        raise damaged(path) from error


def damaged(path: Path) -> RetrievalError:
    """The error for a file that is not as it was written."""
    state = 'is damaged' if path.exists() else 'is missing'
    return RetrievalError(f'{path} {state}: restore the gallery from a copy, or build it again')


def write_durably(path: Path, write: Callable[[BinaryIO], object]) -> str:
    """Write a file that survives a power cut; returns its name."""
    with path.open('wb') as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    return path.name


def fsync_file(path: Path) -> None:
    """Make a file, or the entries of a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
