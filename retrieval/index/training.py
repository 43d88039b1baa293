"""Training and filling an index of any kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..vectors import faiss_metric, import_faiss
from .exact import copy_rows, read_block, release
from .faiss_calls import innermost, rows_of
from .presets import PRESETS, RABITQ_SINCE, default_nprobe, inverted_lists, preset_of

TRAINING_ROWS_PER_LIST = 64
ADD_BLOCK = 65536


def build_faiss_index(preset: str, vectors: Any, metric: str = 'cosine') -> Any:
    """Train an index and add all rows to it; row i gets the FAISS id i.

    Rows to train on are drawn at random: 64 per inverted list, as many as FAISS asks for otherwise. Search parameters
    are left in the index itself, so that its file carries them: see :func:`retrieval.index.effort.calibrate`.
    RetrievalError if the factory string is not FAISS's, or there are too few rows to train it.
    """
    index = train_index(preset, vectors, metric)
    for _ in fill_index(index, vectors):
        pass
    return index


def train_index(preset: str, vectors: Any, metric: str = 'cosine') -> Any:
    """The trained index of a preset for rows float32 (n, d) or a ``faiss.IndexFlat`` of them, without any in it."""
    rows = rows_of(vectors)
    index = empty_index(preset, rows.shape, metric)
    codebooks = _prepare(index)
    if not index.is_trained:
        try:
            index.train(training_rows(vectors, index))
        except RuntimeError as error:
            raise RetrievalError(_too_few(preset_of(preset).factory(*rows.shape), len(rows))) from error
        release(vectors)
        for rotation, _ in codebooks:
            rotation.pq = None
    return index


def fill_index(index: Any, vectors: Any, start: int = 0, stop: int | None = None) -> Iterator[int]:
    """Add rows from ``start`` to ``stop`` (None: the last) to an index under their numbers; gives how many it then has.

    A file of rows is let go again block by block.
    """
    stop = len(rows_of(vectors)) if stop is None else stop
    for first in range(start, stop, ADD_BLOCK):
        block = np.ascontiguousarray(read_block(vectors, first, min(first + ADD_BLOCK, stop)))
        try:
            if first == index.ntotal:
                index.add(block)
            else:  # of a shard, whose numbers do not start with 0
                index.add_with_ids(block, np.arange(first, first + len(block)))
        except RuntimeError as error:
            reason = str(error).splitlines()[0].rpartition(': ')[2]
            raise RetrievalError(f'FAISS cannot fill an index of this kind ({reason}): take another preset') from error
        release(vectors)
        yield index.ntotal


def empty_index(preset: str, shape: tuple[int, ...], metric: str = 'cosine') -> Any:
    """The untrained index of a preset for rows (n, d) of that shape.

    RetrievalError if the preset is neither one of ours nor a factory string that FAISS takes for the dimension. What
    SWIG cannot hand to FAISS, such as a lone surrogate, is a TypeError there.
    """
    rows, dimension = shape
    faiss, factory, number = import_faiss(), preset_of(preset).factory(rows, dimension), faiss_metric(metric)
    _check_numbers(factory, dimension)
    # FAISS has such graphs for distances alone, and axes of the spread change inner products, which they are measured
    # from the centre for. For cosines, the nearest of unit length are the same.
    if 'PCA' in factory or ('HNSW' in factory and 'RaBitQ' in factory):
        if metric == 'ip':
            raise RetrievalError(f'{factory} has no metric ip: build {preset} with cosine or l2, or take hnsw-sq8')
        number = faiss.METRIC_L2
    try:
        return faiss.index_factory(dimension, factory, number)
    except (RuntimeError, TypeError) as error:
        if preset in PRESETS:
            raise RetrievalError(
                f'FAISS {faiss.__version__} does not know {factory}: '
                f'pip install --upgrade "faiss-cpu>={RABITQ_SINCE}", or take sq8, ivf-flat or hnsw'
            ) from error
        raise RetrievalError(
            f'preset {preset!r} is neither one of {", ".join(PRESETS)} nor a FAISS factory string for dimension '
            f'{dimension}{_fitting_codes(factory, dimension)}'
        ) from error


def _check_numbers(factory: str, dimension: int) -> None:
    """RetrievalError for numbers in a factory string that FAISS takes and later fails or ends the process with."""
    for kind, text in re.findall(r'(HNSW|NSG|IVF|RR|PCA[RW]*|PQ)(\d{1,9})', factory):
        number, least = int(text), 2 if kind in ('HNSW', 'NSG') else 1
        if number < least:
            raise RetrievalError(f'{kind}{text} in {factory!r} is too small: {kind} takes a number of at least {least}')
        if kind.startswith('PCA') and number > dimension:
            raise RetrievalError(f'{kind}{text} in {factory!r} exceeds the dimension: take {kind}{dimension} or less')


def _too_few(factory: str, rows: int) -> str:
    """What is said of a factory string that so few rows cannot train."""
    codes = re.search(r'PQ\d+(?:x(\d+))?', factory)
    least = 2 ** int(codes[1] or 8) if codes else 1
    fitting = re.sub(r'IVF\d+', f'IVF{inverted_lists(rows)}', factory)
    if rows < least:
        return f'{rows} rows are too few to train {factory}, which takes {least}: add rows, or use flat'
    others = 'flat' if fitting == factory else f'{fitting} or flat'
    return f'{rows} rows are too few to train {factory}: add rows, or use {others}'


def _fitting_codes(factory: str, dimension: int) -> str:
    """Lengths of product-quantised codes near the one asked for that fit a dimension; empty for other kinds."""
    asked = re.search(r'PQ(\d{1,4})', factory)
    if asked is None or dimension % max(1, int(asked[1])) == 0:
        return ''
    fitting = sorted((m for m in range(1, dimension + 1) if dimension % m == 0), key=lambda m: abs(m - int(asked[1])))
    return f': PQ{asked[1]} does not divide it, PQ{" and PQ".join(str(m) for m in sorted(fitting[:2]))} do'


def training_rows(vectors: Any, index: Any) -> np.ndarray:
    """Rows drawn to train an index on, float32 (t, d): at least 65,536 where there are as many."""
    rows, ivf = rows_of(vectors), import_faiss().try_extract_index_ivf(index)
    wanted = max(65536, TRAINING_ROWS_PER_LIST * (ivf.nlist if ivf else 0))
    if len(rows) <= wanted:
        return np.ascontiguousarray(rows)
    # Ascending rows: a memory-mapped file is read front to back.
    return copy_rows(vectors, np.sort(np.random.default_rng(0).choice(len(rows), wanted, replace=False)))


def _prepare(index: Any) -> list[tuple[Any, Any]]:
    """Set the seed and default search parameters of an untrained index.

    Returns learnt rotations (``faiss.OPQMatrix``) and the codebooks lent to them, which must outlive the training and
    be taken away after it.
    """
    faiss = import_faiss()
    inner = innermost(index)
    ivf = faiss.try_extract_index_ivf(index)
    lent = [(rotation, faiss.ProductQuantizer(rotation.d_out, rotation.M, 8)) for rotation in _rotations(index)]
    trainings = [ivf.cp] if ivf else []
    if hasattr(inner, 'pq'):
        trainings.append(inner.pq.cp)
        if hasattr(inner, 'do_polysemous_training'):
            # FAISS would spend seconds a codebook on ordering it for a Hamming filter, which no search here uses.
            inner.do_polysemous_training = False
    for rotation, codebook in lent:
        rotation.pq = codebook
        trainings.append(codebook.cp)
    for training in trainings:
        training.seed = 1
        training.min_points_per_centroid = 1  # FAISS would write its opinion about few training rows to stderr
    if hasattr(inner, 'qb'):
        inner.qb = 4  # bits of a query's numbers: as many find the same rows as 8, in three quarters of the time
    if ivf:
        ivf.nprobe = default_nprobe(ivf.nlist)
        coarse = faiss.downcast_index(ivf.quantizer)
        if hasattr(coarse, 'hnsw'):  # lists that the graph over the centroids misses are lost whatever nprobe is
            coarse.hnsw.efSearch = 64
    elif hasattr(inner, 'hnsw'):
        inner.hnsw.efConstruction = 80
        inner.hnsw.efSearch = 64
    return lent


def _rotations(index: Any) -> list[Any]:
    faiss = import_faiss()
    index = faiss.downcast_index(index)
    if not isinstance(index, faiss.IndexPreTransform):
        return []
    chain = [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]
    return [transform for transform in chain if isinstance(transform, faiss.OPQMatrix)]
