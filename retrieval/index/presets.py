"""The table of index presets: what each is made of, how large it is, where it runs, and which one ``auto`` takes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import RetrievalError
from ..vectors import import_faiss

# Widths of codes and of their sub-vectors that FAISS-GPU has kernels for: an index trained here may be searched there.
GPU_CODE_BYTES = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96)
GPU_SUBVECTOR = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32)
PQ_MIN_ROWS = 256  # a codebook has 256 entries
HNSW_LINKS = 32
ROW_BYTES = 9  # kept beside every index: the id (8 bytes) and whether the row is alive (1 byte)
GPU_SCRATCH = 3 * 2**29  # what FAISS reserves on a GPU with more than 8 GiB
# Above so many numbers (128 MiB of float32), scanning them all takes tens of milliseconds a query on one CPU core.
FLAT_LIMIT = 2**25
HNSW_ROWS = 10_000_000  # beyond, building a graph takes hours
RABITQ_SINCE = '1.15.1'  # of FAISS: several bits a number, and graphs over them


@dataclass(frozen=True)
class Preset:
    """A kind of index by name.

    Example:
        >>> PRESETS['ivf-flat'].factory(1_000_000, 384)
        'IVF4096,Flat'

    Attributes:
        factory: From the number of rows and the dimension to FAISS's factory string; ``'Flat'`` where there are too few
            rows to train on.
        size: From the number of rows and the dimension to the bytes of FAISS's own structure.
        rescore: Candidates per query whose exact scores decide in the end; 0 where scores are exact already.
        gpu: Whether FAISS has it on the GPU.
        milvus: Milvus' index type; empty where Milvus has none for float32 vectors.
    """

    name: str
    factory: Callable[[int, int], str]
    size: Callable[[int, int], int]
    rescore: int
    gpu: bool
    milvus: str


def inverted_lists(rows: int) -> int:
    """Number of inverted lists: the power of two next to 4 sqrt(n), with at least 39 rows a list to train on.

    The rule is that of FAISS's guidelines for choosing an index.
    """
    lists = max(1, min(4 * math.sqrt(max(rows, 1)), rows / 39))
    return 2 ** round(math.log2(lists))


def coded_lists(rows: int) -> int:
    """Number of inverted lists of RaBitQ's codes: the power of two next to sqrt(n), with at least 39 rows a list.

    A quarter of :func:`inverted_lists`: a query is coded anew for each list that it visits, which takes as long as some
    hundred comparisons of codes.
    """
    lists = max(1, min(math.sqrt(max(rows, 1)), rows / 39))
    return 2 ** round(math.log2(lists))


def default_nprobe(lists: int) -> int:
    """Inverted lists visited per query before calibration: 1/64 of them, from 8 to 128."""
    return min(lists, min(128, max(8, lists // 64)))


def code_bytes(dimension: int) -> int:
    """Bytes of a product-quantised row: one per 8 numbers or so, dividing the dimension, with a kernel on the GPU."""
    fitting = [m for m in GPU_CODE_BYTES if dimension % m == 0 and dimension // m in GPU_SUBVECTOR]
    if not fitting:
        fitting = [m for m in range(1, dimension + 1) if dimension % m == 0]
    return min(fitting, key=lambda m: abs(m - dimension / 8))


def graph_bytes(rows: int) -> int:
    """Links, offsets and levels of a graph with 32 links a row.

    The lowest level has twice 32 links; one row in 32 reaches each level above.
    """
    upper = HNSW_LINKS * 4 / (HNSW_LINKS - 1)
    return int(rows * (2 * HNSW_LINKS * 4 + upper + 8 + 4))


def _ivf(suffix: str, quantizer: str = '', minimum: int = 2) -> Callable[[int, int], str]:
    def factory(rows: int, dimension: int) -> str:
        if rows < minimum:
            return 'Flat'
        code = f'PQ{code_bytes(dimension)}' if suffix == 'PQ' else suffix
        return f'IVF{inverted_lists(rows)}{quantizer},{code}'

    return factory


def _plain(name: str) -> Callable[[int, int], str]:
    return lambda rows, dimension: name if rows else 'Flat'


def _opq(rows: int, dimension: int) -> str:
    # OPQ learns a square matrix: fewer rows than dimensions would not determine it.
    if rows < max(PQ_MIN_ROWS, dimension):
        return 'Flat'
    code = code_bytes(dimension)
    return f'OPQ{code},IVF{inverted_lists(rows)},PQ{code}'


def _rabitq(bits: int, kind: str = '', scan: str = '') -> Callable[[int, int], str]:
    """Codes of RaBitQ (arXiv 2405.12497, 2409.09913) behind a random rotation.

    The error of a code is bounded for numbers of equal spread, which a rotation makes of any rows. FAISS takes the
    differences to the centre of the rows, or of their inverted list, by itself, but does not rotate them.
    """
    code = f'RaBitQ{scan}{bits if bits > 1 else ""}'

    def factory(rows: int, dimension: int) -> str:
        if rows < 2:
            return 'Flat'
        lists = f'IVF{coded_lists(rows)},' if kind == 'ivf' else ''
        graph = f'HNSW{HNSW_LINKS},' if kind == 'hnsw' else ''
        return f'RR{dimension},{lists}{graph}{code}'

    return factory


def reduced_dimension(dimension: int) -> int:
    """Numbers that ``hnsw-pca`` keeps of a row: the third in which embeddings spread most, at least 16."""
    return min(dimension, max(16, 8 * round(dimension / 24)))


def _hnsw_pca(rows: int, dimension: int) -> str:
    # Principal axes are those of the differences of rows: fewer rows than axes would not determine them.
    if rows < max(2, dimension):
        return 'Flat'
    return f'PCA{reduced_dimension(dimension)},HNSW{HNSW_LINKS},SQ8'


def _hnsw_pca_size(rows: int, dimension: int) -> int:
    kept = reduced_dimension(dimension)
    return (kept * rows + 8 * kept) + graph_bytes(rows) + 4 * dimension * (dimension + kept + 4)


def rabitq_bytes(dimension: int, bits: int) -> int:
    """Bytes of a row in RaBitQ's code: its bits, and 2 numbers for one bit a number, 5 for several."""
    return -(-dimension // 8) + -(-dimension * (bits - 1) // 8) + (8 if bits == 1 else 20)


def _rabitq_size(bits: int, kind: str = '', scan: str = '') -> Callable[[int, int], int]:
    def size(rows: int, dimension: int) -> int:
        whole = rabitq_bytes(dimension, bits) * rows + 4 * dimension * (dimension + 1)  # rotation and centre
        if kind == 'ivf':
            # Scans read 32 rows of a list at a time, so that half as many are missing in its last block on average.
            padding = 16 * coded_lists(rows) * rabitq_bytes(dimension, bits) if scan else 0
            return whole + 8 * rows + coded_lists(rows) * 4 * dimension + padding
        return whole + (graph_bytes(rows) if kind == 'hnsw' else 0)

    return size


def _whole(rows: int, dimension: int) -> int:
    return 4 * dimension * rows


def _lists(rows: int, dimension: int) -> int:
    """Ids and centroids of inverted lists."""
    return 8 * rows + inverted_lists(rows) * 4 * dimension


def _codes(rows: int, dimension: int) -> int:
    """Inverted lists of codes, and the codebook."""
    return _lists(rows, dimension) + code_bytes(dimension) * rows + 256 * 4 * dimension


def _graph_lists(rows: int, dimension: int) -> int:
    """Inverted lists of whole vectors, and the graph through which they are found."""
    return _whole(rows, dimension) + _lists(rows, dimension) + graph_bytes(inverted_lists(rows))


PRESETS = {
    preset.name: preset
    for preset in (
        Preset('flat', _plain('Flat'), _whole, 0, True, 'FLAT'),
        Preset('fp16', _plain('SQfp16'), lambda n, d: 2 * d * n, 64, True, ''),
        Preset('sq8', _plain('SQ8'), lambda n, d: d * n + 8 * d, 64, False, 'IVF_SQ8'),
        Preset('ivf-flat', _ivf('Flat'), lambda n, d: _whole(n, d) + _lists(n, d), 0, True, 'IVF_FLAT'),
        Preset('ivf-pq', _ivf('PQ', minimum=PQ_MIN_ROWS), _codes, 256, True, 'IVF_PQ'),
        Preset('hnsw', _plain(f'HNSW{HNSW_LINKS}'), lambda n, d: _whole(n, d) + graph_bytes(n), 0, False, 'HNSW'),
        Preset('ivf-hnsw', _ivf('Flat', f'_HNSW{HNSW_LINKS}'), _graph_lists, 0, False, ''),
        Preset('rabitq', _rabitq(1), _rabitq_size(1), 256, False, ''),
        Preset('rabitq2', _rabitq(2), _rabitq_size(2), 128, False, ''),
        Preset('ivf-rabitq', _rabitq(1, 'ivf'), _rabitq_size(1, 'ivf'), 128, False, 'IVF_RABITQ'),
        Preset('ivf-rabitq-fs', _rabitq(1, 'ivf', 'fs'), _rabitq_size(1, 'ivf', 'fs'), 128, False, ''),
        Preset('hnsw-rabitq2', _rabitq(2, 'hnsw'), _rabitq_size(2, 'hnsw'), 64, False, ''),
        Preset('hnsw-sq8', _plain(f'HNSW{HNSW_LINKS},SQ8'), lambda n, d: d * n + 8 * d + graph_bytes(n), 32, False, ''),
        Preset('hnsw-pca', _hnsw_pca, _hnsw_pca_size, 48, False, ''),
        Preset('opq', _opq, lambda n, d: _codes(n, d) + 4 * d * d, 256, True, ''),
    )
}


# Kinds of earlier versions that another finds as much as, from fewer bytes, in less time. Indexes of theirs open.
RETIRED = {
    'rabitq4': 'rabitq2',
    'ivf-rabitq2': 'ivf-rabitq',
    'ivf-rabitq4': 'ivf-rabitq',
    'hnsw-rabitq4': 'hnsw-rabitq2',
}


def preset_of(name: str) -> Preset:
    """The preset of that name, or one around a factory string of FAISS such as ``'IVF1024,PQ32'``.

    A factory string gets exact re-scoring of 256 candidates and stays on the CPU; its size is not known. For a retired
    kind it is the preset that took its place.
    """
    found = PRESETS.get(RETIRED.get(name, name))
    return found or Preset(name, lambda rows, dimension: name, _whole, 256, False, '')


def is_flat(preset: str) -> bool:
    """Whether a preset is the exact search that every part has anyway."""
    return preset.lower() == 'flat'


def candidates(preset: Preset, k: int, rescore: int | None = None) -> int:
    """How many candidates per query, at least k, an index must give so that exact scores can choose the best k.

    ``rescore`` is how many the caller asks for, 0 for no re-scoring; None for what the preset says.
    """
    wanted = preset.rescore if rescore is None else rescore
    if not wanted:
        return k
    return max(wanted, 2 * k if rescore is None else k)


class Sizes(NamedTuple):
    """Bytes of an index.

    In RAM are index, ids and flags; kinds that only re-score with the whole vectors keep them memory-mapped. The disk
    has index, ids and the whole vectors, the GPU the index and FAISS's scratch memory; 0 for a kind that stays on the
    CPU.
    """

    ram: int
    disk: int
    gpu: int


def index_bytes(name: str, rows: int, dimension: int) -> Sizes:
    """What an index of a preset takes, for metric ``'cosine'`` or ``'ip'``.

    With ``'l2'``, FAISS adds tables of at most 2 GiB to kinds with product-quantised codes.
    """
    preset = PRESETS[name]
    structure = preset.size(rows, dimension)
    kept = 0 if is_flat(name) else _whole(rows, dimension)
    gpu = structure + GPU_SCRATCH if preset.gpu else 0
    return Sizes(structure + ROW_BYTES * rows, structure + kept + 8 * rows, gpu)


def choose_preset(rows: int, dimension: int, memory_limit: int | None = None) -> tuple[str, str]:
    """The preset that ``auto`` stands for, and a sentence that says why.

    Exact search as long as it answers within tens of milliseconds; above that the fastest kind that fits into the
    memory limit in bytes (None: half of the machine's memory): a graph over whole vectors or over bytes, then inverted
    lists of RaBitQ codes that are re-scored with the vectors on disk. Older versions of FAISS have other kinds there.
    """
    limit = available_memory() // 2 if memory_limit is None else memory_limit
    size = f'{rows:,} x {dimension}'
    needed = {name: index_bytes(name, rows, dimension).ram for name in PRESETS}
    short = f'more than the memory limit of {readable(limit)}'
    new = hasattr(import_faiss(), 'IndexHNSWRaBitQ')
    if rows * dimension <= FLAT_LIMIT:
        for name in ('flat', *(('rabitq2', 'rabitq') if new else ('fp16', 'sq8'))):
            if needed[name] <= limit:
                why = 'small enough for exact search' if name == 'flat' else f'whole vectors would take {short}'
                return name, f'{name}: {size} take {readable(needed[name])}, {why}.'
    order = ('hnsw', 'hnsw-sq8', *(() if new else ('ivf-flat',))) if rows <= HNSW_ROWS else ('ivf-hnsw',)
    for name in order:
        if needed[name] <= limit:
            return name, (
                f'{name}: {size} are too many to compare one by one; {readable(needed[name])} fit into the memory '
                f'limit of {readable(limit)}.'
            )
    name = 'ivf-rabitq' if new else 'ivf-pq'
    if needed[name] <= limit:
        return name, f'{name}: {size} as whole vectors would take {readable(needed["ivf-flat"])}, {short}.'
    return name, f'{name}: even its codes take {readable(needed[name])}, {short}: open it memory-mapped.'


def check_preset(preset: Any) -> None:
    """RetrievalError unless a preset is text of a kind that is not retired, or None for the one that there is."""
    if preset is not None and not isinstance(preset, str):
        raise RetrievalError(f'preset must be auto, the name of a preset, or a FAISS factory string, got {preset!r}')
    if preset in RETIRED:
        raise RetrievalError(
            f'preset {preset} was retired: {RETIRED[preset]} finds as much from fewer bytes in less time; '
            'galleries of it open as before'
        )


def check_recall(recall: Any) -> None:
    """RetrievalError unless a target of calibration is None, or above 0 and at most 1."""
    if recall is not None and not (isinstance(recall, (int, float)) and 0 < recall <= 1):
        raise RetrievalError(f'recall must be above 0 and at most 1, got {recall!r}')


def available_memory() -> int:
    """Bytes of memory of this machine, or of this container where it has less; 8 GiB where the system does not tell."""
    try:
        total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):
        return 8 * 2**30
    try:
        return min(total, int(Path('/sys/fs/cgroup/memory.max').read_text()))
    except (OSError, ValueError):
        return total


def readable(size: float) -> str:
    """Bytes for people, such as ``'1.43 GiB'``."""
    units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
    while abs(size) >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f'{size:.3g} {units[0]}'
