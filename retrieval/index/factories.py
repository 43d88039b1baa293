"""Kinds of FAISS index by name, and the factory string of each for a size."""

import math
from collections.abc import Callable
from dataclasses import dataclass

# Widths of codes and of their sub-vectors that FAISS-GPU has kernels for: an index trained here may be searched there.
GPU_CODE_BYTES = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96)
GPU_SUBVECTOR = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32)
# A codebook has 256 entries.
PQ_MIN_ROWS = 256
HNSW_LINKS = 32


@dataclass(frozen=True)
class Preset:
    """A kind of index by name.

    Attributes:
        name: Its name.
        factory: Factory string of FAISS for a number of rows and a dimension; ``'Flat'`` where there are too few rows
            to train on.
        rescore: Candidates per query whose exact scores decide in the end; 0 where scores are exact already.
        gpu: Whether FAISS has it on the GPU.
        description: One line for people.
    """

    name: str
    factory: Callable[[int, int], str]
    rescore: int
    gpu: bool
    description: str


def inverted_lists(rows: int) -> int:
    """Number of inverted lists: the power of two next to 4 sqrt(n), with at least 39 rows a list to train on.

    Args:
        rows: Rows of the index.

    Returns:
        >= 1. The rule is that of FAISS's guidelines for choosing an index.
    """
    lists = max(1, min(4 * math.sqrt(max(rows, 1)), rows / 39))
    return 2 ** round(math.log2(lists))


def default_nprobe(lists: int) -> int:
    """Inverted lists visited per query: 1/64 of them, from 8 to 128.

    Args:
        lists: Lists of the index.

    Returns:
        1 to ``lists``.
    """
    return min(lists, min(128, max(8, lists // 64)))


def code_bytes(dimension: int) -> int:
    """Bytes of a product-quantised row: one per 8 numbers or so, dividing the dimension, with a kernel on the GPU.

    Args:
        dimension: Width of the embeddings.

    Returns:
        Number of sub-quantisers of 8 bits.
    """
    fitting = [m for m in GPU_CODE_BYTES if dimension % m == 0 and dimension // m in GPU_SUBVECTOR]
    if not fitting:
        fitting = [m for m in range(1, dimension + 1) if dimension % m == 0]
    return min(fitting, key=lambda m: abs(m - dimension / 8))


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


PRESETS = {
    preset.name: preset
    for preset in (
        Preset('flat', _plain('Flat'), 0, True, 'exact: every row is compared'),
        Preset('fp16', _plain('SQfp16'), 64, True, 'every row is compared, 2 bytes a number'),
        Preset('sq8', _plain('SQ8'), 64, False, 'every row is compared, 1 byte a number'),
        Preset('ivf-flat', _ivf('Flat'), 0, True, 'inverted lists of whole vectors'),
        Preset('ivf-pq', _ivf('PQ', minimum=PQ_MIN_ROWS), 256, True, 'inverted lists of product-quantised codes'),
        Preset('hnsw', _plain(f'HNSW{HNSW_LINKS}'), 0, False, 'graph of neighbours over whole vectors'),
        Preset('ivf-hnsw', _ivf('Flat', f'_HNSW{HNSW_LINKS}'), 0, False, 'inverted lists, found through a graph'),
        Preset('opq', _opq, 256, True, 'inverted lists of codes after a learnt rotation'),
    )
}


def preset_of(name: str) -> Preset:
    """The preset of that name, or one around a factory string of FAISS.

    Args:
        name: A key of ``PRESETS``, or a factory string such as ``'IVF1024,PQ32'``.

    Returns:
        For a factory string: exact re-scoring of 256 candidates, CPU only.
    """
    return PRESETS.get(name) or Preset(name, lambda rows, dimension: name, 256, False, f'factory string {name}')


def candidates(preset: Preset, k: int, rescore: int | None = None) -> int:
    """How many candidates per query an approximate index must give so that exact scores can choose the best k.

    Args:
        preset: The kind of index.
        k: Hits wanted per query.
        rescore: Candidates that the caller asks for, 0 for no re-scoring. Defaults to the preset's.

    Returns:
        At least k; exactly k if nothing is re-scored.
    """
    wanted = preset.rescore if rescore is None else rescore
    if not wanted:
        return k
    return max(wanted, 2 * k if rescore is None else k)
