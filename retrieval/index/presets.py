"""How `auto` chooses a kind of index, and the training and filling of any kind."""

from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..vectors import faiss_metric, import_faiss
from .factories import PRESETS, Preset, candidates, default_nprobe, preset_of
from .parameters import innermost, search_parameters
from .sizing import available_memory, index_bytes, readable

__all__ = [
    'PRESETS',
    'Preset',
    'build_faiss_index',
    'candidates',
    'choose_preset',
    'faiss_metric',
    'innermost',
    'preset_of',
    'rows_of',
    'search_parameters',
]

# Above so many numbers (128 MiB of float32), scanning them all takes tens of milliseconds a query on one CPU core.
FLAT_LIMIT = 2**25
# Building a graph takes hours beyond.
HNSW_ROWS = 10_000_000
TRAINING_ROWS_PER_LIST = 64
ADD_BLOCK = 65536


def choose_preset(rows: int, dimension: int, memory_limit: int | None = None) -> tuple[str, str]:
    """The preset that ``auto`` stands for.

    Exact search as long as it answers within tens of milliseconds; above that the fastest kind that fits into the
    memory: a graph, inverted lists of whole vectors, then codes that are re-scored with the vectors on disk.

    Args:
        rows: Rows of the index.
        dimension: Width of the embeddings.
        memory_limit: Bytes of RAM that the index may take. Defaults to half of the machine's memory.

    Returns:
        Name of the preset, and a sentence that says why.
    """
    limit = available_memory() // 2 if memory_limit is None else memory_limit
    size = f'{rows:,} x {dimension}'
    needed = {name: index_bytes(name, rows, dimension).ram for name in PRESETS}
    short = f'more than the memory limit of {readable(limit)}'
    if rows * dimension <= FLAT_LIMIT:
        for name in ('flat', 'fp16', 'sq8'):
            if needed[name] <= limit:
                why = 'small enough for exact search' if name == 'flat' else f'whole vectors would take {short}'
                return name, f'{name}: {size} take {readable(needed[name])}, {why}.'
    order = ('hnsw', 'ivf-flat') if rows <= HNSW_ROWS else ('ivf-hnsw',)
    for name in order:
        if needed[name] <= limit:
            return name, (
                f'{name}: {size} are too many to compare one by one; {readable(needed[name])} fit into the memory '
                f'limit of {readable(limit)}.'
            )
    name, least = 'ivf-pq', needed['ivf-pq']
    if least <= limit:
        return name, f'{name}: {size} as whole vectors would take {readable(needed["ivf-flat"])}, {short}.'
    return name, f'{name}: even its codes take {readable(least)}, {short}: open it memory-mapped.'


def rows_of(vectors: Any) -> np.ndarray:
    """The rows of an ``IndexFlat`` without a copy, or the array itself.

    Args:
        vectors: ``faiss.IndexFlat``, memory-mapped or not, or float32 (n, d). The index must outlive the rows.

    Returns:
        float32, (n, d); read only where the index is a memory-mapped file.
    """
    if isinstance(vectors, np.ndarray):
        return vectors
    faiss = import_faiss()
    if not vectors.ntotal:
        return np.zeros((0, vectors.d), np.float32)
    return faiss.rev_swig_ptr(vectors.get_xb(), vectors.ntotal * vectors.d).reshape(vectors.ntotal, vectors.d)


def build_faiss_index(preset: str, vectors: Any, metric: str = 'cosine', seed: int = 0) -> Any:
    """Train an index and add all rows to it; row i gets the FAISS id i.

    Rows to train on are drawn at random: 64 per inverted list, as many as FAISS asks for otherwise. Search parameters
    are left in the index itself, so that its file carries them: see :func:`retrieval.index.calibration.calibrate`.

    Args:
        preset: A key of ``PRESETS`` or a factory string.
        vectors: float32 (n, d) or ``faiss.IndexFlat``, unit length for ``'cosine'``.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        seed: Of the rows drawn and of k-means.

    Returns:
        faiss.Index: Trained and filled, on the CPU.

    Raises:
        RetrievalError: If the factory string is not FAISS's, or there are too few rows to train it.
    """
    faiss = import_faiss()
    rows = rows_of(vectors)
    factory = preset_of(preset).factory(*rows.shape)
    try:
        index = faiss.index_factory(rows.shape[1], factory, faiss_metric(metric))
    except RuntimeError as error:
        raise RetrievalError(
            f'preset {preset!r} is neither one of {", ".join(PRESETS)} nor a FAISS factory string for dimension '
            f'{rows.shape[1]}'
        ) from error
    codebooks = prepare(index, seed)
    if not index.is_trained:
        try:
            index.train(training_rows(rows, index, seed))
        except RuntimeError as error:
            raise RetrievalError(f'{len(rows)} rows are too few to train {factory}: add rows or use flat') from error
        for rotation, _ in codebooks:
            rotation.pq = None
    for start in range(0, len(rows), ADD_BLOCK):
        index.add(rows[start : start + ADD_BLOCK])
    return index


def training_rows(rows: np.ndarray, index: Any, seed: int) -> np.ndarray:
    """Rows drawn for training.

    Args:
        rows: float32, (n, d).
        index: That is to be trained.
        seed: Of the draw.

    Returns:
        float32, (t, d), at least 65536 rows where there are as many.
    """
    faiss = import_faiss()
    ivf = faiss.try_extract_index_ivf(index)
    wanted = max(65536, TRAINING_ROWS_PER_LIST * (ivf.nlist if ivf else 0))
    if len(rows) <= wanted:
        return np.ascontiguousarray(rows)
    # Ascending rows: a memory-mapped file is read front to back.
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), wanted, replace=False))]


def prepare(index: Any, seed: int) -> list[tuple[Any, Any]]:
    """Seeds and default search parameters of an untrained index.

    Args:
        index: Changed in place.
        seed: Of k-means.

    Returns:
        Learnt rotations (``faiss.OPQMatrix``) and the codebooks lent to them, which must outlive the training and be
        taken away after it.
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
        training.seed = seed + 1
        # FAISS would write its opinion about few training rows to stderr.
        training.min_points_per_centroid = 1
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
