"""Query expansion and database-side augmentation: an embedding and its nearest neighbours in one vector."""

import numpy as np

from ..errors import RetrievalError
from ..hits import without_own
from ..vectors import check_embeddings, exact_search, unit_length

_AUGMENT_BATCH = 1024


def expand(
    queries: np.ndarray, neighbors: np.ndarray, alpha: float = 0.0, present: np.ndarray | None = None, unit: bool = True
) -> np.ndarray:
    """Weighted mean of each query (m, d) and its neighbours (m, n, d), float32: AQE for ``alpha=0``, else alpha-QE.

    The query has weight 1, a neighbour ``max(cos(query, neighbour), 0) ** alpha``. The larger alpha, the less the
    neighbours that are not alike count. The vector has the query's place: it is searched with in its stead.

    Sources: Chum et al., Total Recall, ICCV 2007 (average); Radenovic et al., arXiv 1711.02512, section 3.4 (alpha).

    Args:
        queries: float32, (m, d), rows not zero.
        neighbors: float32, (m, n, d), n >= 0.
        alpha: >= 0; 0 for equal weights.
        present: bool, (m, n); which neighbours there are, None for all.
        unit: Whether to scale the result to length 1, for cosine similarity.

    Raises:
        RetrievalError: If alpha is negative, or shapes do not belong together.
    """
    queries = check_embeddings(queries, 'queries')
    neighbors = np.asarray(neighbors, np.float32)
    if not alpha >= 0:
        raise RetrievalError(f'alpha must be at least 0, got {alpha}')
    if neighbors.ndim != 3 or (neighbors.shape[0], neighbors.shape[2]) != queries.shape:
        raise RetrievalError(f'neighbors must be (m, n, d) for queries {queries.shape}, got {neighbors.shape}')
    lengths = np.linalg.norm(neighbors, axis=2)
    products = np.einsum('md,mnd->mn', unit_length(queries, 'queries'), neighbors)
    cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    weights = np.clip(cosines, 0, None) ** np.float32(alpha)
    if present is not None:
        weights = np.where(present, weights, 0)
    total = queries + np.einsum('mn,mnd->md', weights, neighbors)
    total = (total / (1 + weights.sum(axis=1, keepdims=True))).astype(np.float32)
    return unit_length(total, 'expanded queries') if unit else total


def augment_database(
    vectors: np.ndarray, num_neighbors: int = 10, alpha: float = 0.0, metric: str = 'cosine'
) -> np.ndarray:
    """Database-side augmentation (DBA): each gallery vector expanded by its own nearest neighbours in the gallery.

    Costs one exact search of the whole gallery, once; searches then cost what they did. Keep the result, float32 (n, d)
    with rows in the same order, as a second space of a gallery.

    Source: Arandjelovic and Zisserman, Three things everyone should know, CVPR 2012.

    Args:
        vectors: float32, (n, d).
        num_neighbors: Neighbours of each besides itself, >= 0.
        alpha: See :func:`expand`.
        metric: ``'cosine'``, for which the result has unit length, ``'ip'`` or ``'l2'``.
    """
    if num_neighbors < 0:
        raise RetrievalError(f'num_neighbors must be at least 0, got {num_neighbors}')
    vectors = check_embeddings(vectors, 'vectors')
    if metric == 'cosine':
        vectors = unit_length(vectors, 'vectors')
    augmented = np.empty_like(vectors)
    for start in range(0, len(vectors), _AUGMENT_BATCH):
        rows = np.arange(start, min(start + _AUGMENT_BATCH, len(vectors)))
        nearest = exact_search(vectors, vectors[rows], num_neighbors + 1, metric)[1]
        found = without_own(nearest, rows)[:, :-1]
        present = found >= 0
        neighbors = vectors[np.where(present, found, 0)]
        augmented[rows] = expand(vectors[rows], neighbors, alpha, present, unit=metric == 'cosine')
    return augmented
