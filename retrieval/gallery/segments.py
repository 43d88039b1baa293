"""Segments: folders with the vectors of a batch of rows in every space, which never change once they are listed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from ..errors import RetrievalError
from ..index.effort import Effort
from ..index.large_files import build_index_file
from ..index.part import Part, damaged, fsync_file, read_array, read_part, write_array, write_ids, write_vectors
from ..index.presets import is_flat

SEGMENTS = 'segments'
UNFINISHED = 'unfinished'
PATCHES_FILE = 'patches.npy'
_BLOCK_ROWS = 65_536


@dataclass
class Segment:
    """A batch of rows, open: in each space a part, all with the same ids and tombstones, and perhaps patches (n, O, C).

    ``files`` has size and SHA-256 by path in the gallery.
    """

    number: int
    parts: dict[str, Part]
    presets: dict[str, str]
    patches: np.ndarray | None
    files: dict[str, dict]

    @property
    def any_part(self) -> Part:
        """Ids and tombstones, which are those of every space."""
        return next(iter(self.parts.values()))

    @property
    def is_flat(self) -> bool:
        """Whether no space has an approximate index."""
        return all(is_flat(preset) for preset in self.presets.values())

    def __len__(self) -> int:
        return len(self.any_part)

    def with_dead(self, dead: bytes | None) -> Segment:
        """The same rows with other tombstones, a bit per row, little end first; it shares everything else."""
        alive = np.ones(len(self), bool)
        if dead is not None:
            alive = np.unpackbits(np.frombuffer(dead, np.uint8), count=len(self), bitorder='little') == 0
        return replace(self, parts={space: part.with_alive(alive) for space, part in self.parts.items()})


@dataclass
class NewRows:
    """Rows to write: ids int64 (n,), blocks of vectors float32 (m, d) for each space, patches float16 (n, O, C)."""

    ids: np.ndarray
    vectors: Mapping[str, Iterable[np.ndarray]]
    patches: np.ndarray | None = None


def write_segment(
    root: Path,
    number: int,
    rows: NewRows,
    spaces: Mapping[str, int],
    metric: str,
    preset: str = 'flat',
    memory_limit: int | None = None,
    recall: float | None = None,
) -> tuple[dict[str, dict], dict[str, Effort]]:
    """Write a segment and make it durable; the gallery does not know of it yet. Nothing is left of it where that fails.

    An index of a million rows or more that is not finished lies in the folder ``unfinished``, where the next attempt
    with the same rows goes on. Returns size and SHA-256 of each file by its path in the gallery, and how far the index
    of each space looks. For ``memory_limit`` and ``recall`` see
    :func:`retrieval.index.large_files.build_index_file`.
    """
    folder = segment_folder(root, number)
    shutil.rmtree(folder, ignore_errors=True)
    efforts: dict[str, Effort] = {}
    try:
        folder.mkdir(parents=True)
        names = [write_ids(folder, rows.ids)]
        for space, dimension in spaces.items():
            names.append(write_vectors(folder, space, rows.vectors[space], dimension, metric))
            if not is_flat(preset):
                vectors = read_part(folder, space, 'flat').vectors
                name, effort = build_index_file(
                    folder, space, preset, vectors, metric, memory_limit, recall, root / UNFINISHED / space
                )
                names.append(name)
                if effort:
                    efforts[space] = effort
        if rows.patches is not None:
            names.append(write_array(folder / PATCHES_FILE, np.asarray(rows.patches, np.float16)))
        for path in (folder, folder.parent, root):
            fsync_file(path)
        if not is_flat(preset):
            shutil.rmtree(root / UNFINISHED, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise RetrievalError(
                f'{folder} cannot be written ({error.strerror}): make room; nothing was changed'
            ) from error
        raise
    return {f'{SEGMENTS}/{folder.name}/{name}': describe_file(folder / name) for name in names}, efforts


def open_segment(
    root: Path,
    number: int,
    presets: Mapping[str, str],
    files: Mapping[str, dict],
    dead: bytes | None,
    mmap: bool = True,
) -> Segment:
    """Open a segment with its tombstones; RetrievalError if a file is missing or damaged."""
    for name, facts in files.items():
        if _size_of(root / name) != facts['size']:
            raise damaged(root / name)
    folder = segment_folder(root, number)
    parts = {space: read_part(folder, space, preset, mmap) for space, preset in presets.items()}
    # What is listed counts, not what lies there: a writer that has replaced the segment may be removing its files.
    listed = (folder / PATCHES_FILE).relative_to(root).as_posix() in files
    patches = read_array(folder / PATCHES_FILE) if listed else None
    return Segment(number, parts, dict(presets), patches, dict(files)).with_dead(dead)


def rows_of_segments(segments: Sequence[Segment], stays: Mapping[int, np.ndarray], spaces: Iterable[str]) -> NewRows:
    """Rows of segments that stay, bool (n,) by number, for a segment that takes their place; read block by block.

    Without patches where a segment has none.
    """
    ids = np.concatenate([segment.any_part.ids[stays[segment.number]] for segment in segments])
    vectors = {space: _blocks(segments, stays, space) for space in spaces}
    kept = [segment.patches[stays[segment.number]] for segment in segments if segment.patches is not None]
    return NewRows(ids, vectors, np.concatenate(kept) if len(kept) == len(segments) else None)


def last_rows(segments: Sequence[Segment], ids: np.ndarray) -> dict[int, np.ndarray]:
    """Rows of ids that were removed, by the number of each segment; of an id that several have, that of the newest."""
    found = {}
    for segment in reversed(segments):
        rows = segment.any_part.find_any(ids)
        found[segment.number] = rows[rows >= 0]
        ids = ids[rows < 0]
    return found


def join_rows(first: NewRows, second: NewRows) -> NewRows:
    """Rows of two sources of the same spaces, one after the other, with patches if both have them."""
    patches = None
    if first.patches is not None and second.patches is not None:
        patches = np.concatenate([first.patches, second.patches])
    vectors = {space: chain(blocks, second.vectors[space]) for space, blocks in first.vectors.items()}
    return NewRows(np.concatenate([first.ids, second.ids]), vectors, patches)


def sweep(root: Path, known: Iterable[int]) -> None:
    """Remove the folders of segments that are not among the known ones: left by killed writes, or replaced."""
    names = {segment_folder(root, number).name for number in known}
    for folder in (root / SEGMENTS).glob('*'):
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)


def describe_file(path: Path) -> dict[str, str | int]:
    """Size in bytes and SHA-256 of a file, as ``size`` and ``sha256``; RetrievalError if it cannot be read."""
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise damaged(path) from error
    return dict(size=size, sha256=digest.hexdigest())


def segment_folder(root: Path, number: int) -> Path:
    """Folder of a segment."""
    return root / SEGMENTS / f'{number:06d}'


def _blocks(segments: Sequence[Segment], stays: Mapping[int, np.ndarray], space: str) -> Iterator[np.ndarray]:
    for segment in segments:
        rows = np.flatnonzero(stays[segment.number])
        for start in range(0, len(rows), _BLOCK_ROWS):
            yield segment.parts[space].rows[rows[start : start + _BLOCK_ROWS]]


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
