"""Files of inverted lists that are larger than memory: filled shard by shard, then put together list by list.

FAISS's own way (``faiss.contrib.ondisk``) leaves a second file, whose absolute path is written into the first, and
which is opened for writing. The file made here has the layout that ``faiss.write_index`` gives an index in memory,
so that it may be moved, opened read-only and memory-mapped like any other.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import RetrievalError
from ..vectors import import_faiss
from .effort import Effort, calibrate
from .faiss_calls import rows_of
from .part import index_file, read_faiss, write_durably, write_index
from .presets import available_memory, preset_of
from .resuming import LEAST_ROWS, Unfinished, build_key
from .training import empty_index, fill_index, train_index

_ID_BYTES = 8


def build_index_file(
    folder: Path,
    space: str,
    preset: str,
    vectors: Any,
    metric: str,
    memory_limit: int | None = None,
    recall: float | None = None,
    unfinished: Path | None = None,
) -> tuple[str, Effort | None]:
    """Train, fill and calibrate an index over the rows of a part, and write its file; returns its name.

    ``vectors`` is the ``faiss.IndexFlat`` of all rows, memory-mapped if they are many; a file of them is never held in
    memory as a whole. At most ``memory_limit`` bytes of inverted lists (None: a quarter of the machine's memory) are in
    memory; the rest waits in shards, together as large as the file. Other kinds of index are built in memory whatever
    it says. ``recall`` is the target of the calibration.

    From a million rows, what is built lies in the folder ``unfinished`` meanwhile; after a build that was stopped, the
    same build of the same rows goes on there. RetrievalError where the disk is full, and nothing is left then.
    """
    rows = rows_of(vectors)
    limit = available_memory() // 4 if memory_limit is None else memory_limit
    blank = _inverted_lists(preset, rows, metric)
    row_bytes = 0 if blank is None else import_faiss().extract_index_ivf(blank).code_size + _ID_BYTES
    step = None if blank is None or len(rows) * row_bytes <= limit else max(1, limit // row_bytes)
    stages = None
    if unfinished is not None and len(rows) >= LEAST_ROWS:
        factory = preset_of(preset).factory(*rows.shape)
        stages = Unfinished(unfinished, build_key(vectors, factory=factory, metric=metric, step=step))
    elif step is not None:
        stages = Unfinished(folder / f'{space}.shards', {})
    try:
        if step is None or stages is None:
            index = _fill(preset, vectors, metric, stages)
            effort = calibrate(index, vectors, metric, preset, recall)
            return write_index(folder, space, index), effort
        trained, shards = _fill_shards(preset, vectors, metric, step, stages)
        name = _join(folder / index_file(space), trained, shards, len(rows))
        return name, _calibrate_file(folder / name, trained, vectors, metric, preset, recall)
    except (RetrievalError, OSError):
        if stages is not None:
            stages.remove()
        raise
    finally:
        if stages is not None and stages.folder != unfinished:
            stages.remove()


def _fill(preset: str, vectors: Any, metric: str, stages: Unfinished | None) -> Any:
    """The index of all rows, in memory, as far as it is built from the last stage."""
    index = None if stages is None else stages.read('index')
    if index is None:
        index = train_index(preset, vectors, metric)
        if stages is not None:
            stages.save('index', index)
    for count in fill_index(index, vectors, index.ntotal):
        if stages is not None and (count == vectors.ntotal or stages.is_due()):
            stages.save('index', index)
    return index


def _fill_shards(preset: str, vectors: Any, metric: str, step: int, stages: Unfinished) -> tuple[Any, list[Path]]:
    """The trained index without rows, and files with those of ``step`` rows each, as far as they are not there."""
    trained = stages.read('trained')
    if trained is None:
        trained = train_index(preset, vectors, metric)
        stages.save('trained', trained)
    shards = []
    for number, start in enumerate(range(0, vectors.ntotal, step)):
        shards.append(stages.path(f'shard{number}'))
        if not shards[-1].is_file():
            for _ in fill_index(trained, vectors, start, min(start + step, vectors.ntotal)):
                pass
            stages.save(f'shard{number}', trained)
            trained.reset()
    return trained, shards


def _inverted_lists(preset: str, rows: np.ndarray, metric: str) -> Any:
    """An untrained index of a kind whose file ends with its inverted lists; None for other kinds."""
    faiss = import_faiss()
    index = empty_index(preset, rows.shape, metric)
    ivf = faiss.try_extract_index_ivf(index)
    kinds = ('IndexIVFFlat', 'IndexIVFPQ', 'IndexIVFScalarQuantizer', 'IndexIVFRaBitQ')
    return index if type(ivf and faiss.downcast_index(ivf)).__name__ in kinds else None


def _join(path: Path, trained: Any, shards: Sequence[Path], count: int) -> str:
    """Write the lists of all shards behind the header of the trained index, in FAISS's layout."""
    faiss = import_faiss()
    opened = [read_faiss(shard) for shard in shards]
    lists = [faiss.extract_index_ivf(index).invlists for index in opened]
    sizes = np.array([[one.list_size(number) for number in range(one.nlist)] for one in lists], np.uint64).sum(axis=0)

    def write(file: BinaryIO) -> None:
        file.write(_header(trained, count))
        file.write(_list_sizes(sizes))
        for number in np.flatnonzero(sizes):
            _write_list(file, lists, int(number))

    try:
        return write_durably(path, write)
    except OSError as error:
        raise RetrievalError(f'{path} cannot be written ({error.strerror}): make room; nothing was changed') from error


def _calibrate_file(
    path: Path, trained: Any, vectors: Any, metric: str, preset: str, recall: float | None
) -> Effort | None:
    """Calibrate the joined index, and write what was found into its header, which keeps its length."""
    faiss = import_faiss()
    index = read_faiss(path)
    effort = calibrate(index, vectors, metric, preset, recall)
    faiss.extract_index_ivf(trained).nprobe = faiss.extract_index_ivf(index).nprobe
    with path.open('r+b') as file:
        file.write(_header(trained, vectors.ntotal))
        file.flush()
        os.fsync(file.fileno())
    return effort


def _header(trained: Any, count: int) -> bytes:
    """All that FAISS writes before the sizes of the inverted lists."""
    faiss = import_faiss()
    ivf = faiss.extract_index_ivf(trained)
    empty = b'ilar' + struct.pack('<QQ', ivf.nlist, ivf.code_size) + _list_sizes(np.zeros(ivf.nlist, np.uint64))
    trained.ntotal = ivf.ntotal = count
    content = bytes(faiss.serialize_index(trained))
    trained.reset()
    if not content.endswith(empty):
        raise RetrievalError(f'this version of FAISS writes inverted lists differently: build {trained} in memory')
    return content[: len(content) - len(empty) + len(b'ilar') + 16]


def _list_sizes(sizes: np.ndarray) -> bytes:
    """Sizes of all lists, or pairs of number and size where at most half of them hold rows."""
    filled = np.flatnonzero(sizes)
    if len(filled) > len(sizes) // 2:
        return b'full' + struct.pack('<Q', len(sizes)) + sizes.astype('<u8').tobytes()
    pairs = np.stack([filled.astype('<u8'), sizes[filled].astype('<u8')], axis=1)
    return b'sprs' + struct.pack('<Q', pairs.size) + pairs.tobytes()


def _write_list(file: BinaryIO, lists: Sequence[Any], number: int) -> None:
    faiss = import_faiss()
    held = [one for one in lists if one.list_size(number)]
    for one in held:
        file.write(faiss.rev_swig_ptr(one.get_codes(number), one.list_size(number) * one.code_size).data)
    for one in held:
        file.write(faiss.rev_swig_ptr(one.get_ids(number), one.list_size(number)).data)
