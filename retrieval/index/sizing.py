"""What an index takes in RAM, on disk and on the GPU, by arithmetic."""

import os
from pathlib import Path
from typing import NamedTuple

from .factories import HNSW_LINKS, PRESETS, code_bytes, inverted_lists

# Kept beside every index: the id (8 bytes) and whether the row is alive (1 byte).
ROW_BYTES = 9
# What FAISS reserves for scratch on a GPU with more than 8 GiB.
GPU_SCRATCH = 3 * 2**29


class Sizes(NamedTuple):
    """Bytes of an index.

    Attributes:
        ram: Index, ids and flags; the whole vectors of kinds that only re-score with them are memory-mapped and do not
            count.
        disk: Index, ids, and whole vectors, which every kind keeps.
        gpu: On the GPU with FAISS's scratch memory; 0 for a kind that stays on the CPU.
    """

    ram: int
    disk: int
    gpu: int


def graph_bytes(rows: int) -> int:
    """Links, offsets and levels of a graph with 32 links a row.

    Args:
        rows: Rows.

    Returns:
        Bytes. The lowest level has twice 32 links; one row in 32 reaches each level above.
    """
    upper = HNSW_LINKS * 4 / (HNSW_LINKS - 1)
    return int(rows * (2 * HNSW_LINKS * 4 + upper + 8 + 4))


def structure_bytes(name: str, rows: int, dimension: int) -> int:
    """Bytes of FAISS's own structure.

    Args:
        name: A key of ``PRESETS``.
        rows: Rows.
        dimension: Width of the embeddings.

    Returns:
        Bytes, without the vectors kept beside it.
    """
    lists, code = inverted_lists(rows), code_bytes(dimension)
    centroids = lists * 4 * dimension
    codebook = 256 * 4 * dimension
    whole = 4 * dimension * rows
    return {
        'flat': whole,
        'fp16': whole // 2,
        'sq8': whole // 4 + 8 * dimension,
        'ivf-flat': whole + 8 * rows + centroids,
        'ivf-pq': (code + 8) * rows + centroids + codebook,
        'opq': (code + 8) * rows + centroids + codebook + 4 * dimension**2,
        'hnsw': whole + graph_bytes(rows),
        'ivf-hnsw': whole + 8 * rows + centroids + graph_bytes(lists),
    }[name]


def index_bytes(name: str, rows: int, dimension: int) -> Sizes:
    """What an index takes.

    Args:
        name: A key of ``PRESETS``.
        rows: Rows.
        dimension: Width of the embeddings, float32.

    Returns:
        Bytes, metric ``'cosine'`` or ``'ip'``. With ``'l2'``, FAISS adds tables of at most 2 GiB to kinds with
        product-quantised codes.
    """
    structure = structure_bytes(name, rows, dimension)
    kept = 0 if name == 'flat' else 4 * dimension * rows
    gpu = structure + GPU_SCRATCH if PRESETS[name].gpu else 0
    return Sizes(structure + ROW_BYTES * rows, structure + kept + 8 * rows, gpu)


def available_memory() -> int:
    """Memory of this machine, or of this container where it has less.

    Returns:
        Bytes; 8 GiB where the system does not tell.
    """
    try:
        total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30
    try:
        return min(total, int(Path('/sys/fs/cgroup/memory.max').read_text()))
    except (OSError, ValueError):
        return total


def readable(size: float) -> str:
    """Bytes for people.

    Args:
        size: Bytes.

    Returns:
        Such as ``'1.43 GiB'``.
    """
    units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
    while abs(size) >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f'{size:.3g} {units[0]}'
