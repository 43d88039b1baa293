"""k-reciprocal re-ranking: candidates that have the query among their own neighbours move up."""

import numpy as np

from ..errors import RetrievalError

_BLOCK_BYTES = 64 << 20
_MATRICES = 8  # of (r + 1) squared float32 that a query needs at a time


def k_reciprocal_distances(
    queries: np.ndarray,
    candidates: np.ndarray,
    present: np.ndarray | None = None,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> np.ndarray:
    """Distances of k-reciprocal encoding between each query and its candidates.

    The algorithm of the paper on the set that a query and its own r candidates make, so that the result for a query
    depends on no other query, and memory on r alone: every query needs a few matrices of (r + 1) x (r + 1), the gallery
    none. With as many candidates as the gallery has rows it is the paper's algorithm for a single probe.

    Source: Zhong et al., CVPR 2017, arXiv 1701.08398, equations 1 to 12. As in the authors' code an item is its own
    nearest neighbour, distances are squared Euclidean ones divided by the largest of their row, and the weights of an
    encoding are divided by their sum.

    Args:
        queries: float32, (m, d).
        candidates: float32, (m, r, d).
        present: bool, (m, r), which candidates there are; None for all.
        k1: Neighbours that must be reciprocal, >= 1.
        k2: Nearest items over which encodings are averaged, >= 1; 1 leaves them alone.
        weight: Weight of the original distance, 0 to 1, against the Jaccard distance.

    Returns:
        float32, (m, r), 0 to 1, the smaller the better; +inf where there is no candidate.
    """
    queries, candidates = np.asarray(queries, np.float32), np.asarray(candidates, np.float32)
    if candidates.ndim != 3 or (candidates.shape[0], candidates.shape[2]) != queries.shape:
        raise RetrievalError(f'candidates must be (m, r, d) for queries {queries.shape}, got {candidates.shape}')
    if k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
        raise RetrievalError(f'k1 and k2 must be at least 1 and weight from 0 to 1, got {k1}, {k2} and {weight}')
    m, r = candidates.shape[:2]
    present = np.ones((m, r), bool) if present is None else np.asarray(present, bool)
    result = np.empty((m, r), np.float32)
    step = max(1, _BLOCK_BYTES // (4 * _MATRICES * (r + 1) ** 2))
    for start in range(0, m, step):
        block = slice(start, start + step)
        items = np.concatenate([queries[block, None], candidates[block]], axis=1)
        exists = np.concatenate([np.ones((len(items), 1), bool), present[block]], axis=1)
        distances = _pairwise(items, exists)
        jaccard = _jaccard(_encodings(distances, exists, k1, k2))
        result[block] = np.where(present[block], weight * distances[:, 0, 1:] + (1 - weight) * jaccard, np.inf)
    return result


def _pairwise(items: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Squared distances within each set (b, u, d), divided by the largest of their row; +inf to what is not there."""
    squares = np.einsum('bud,bud->bu', items, items)
    distances = squares[:, :, None] + squares[:, None] - 2 * (items @ items.swapaxes(1, 2))
    np.clip(distances, 0, None, out=distances)
    distances[:, np.arange(items.shape[1]), np.arange(items.shape[1])] = 0
    pairs = exists[:, :, None] & exists[:, None]
    largest = np.where(pairs, distances, 0).max(axis=2, keepdims=True)
    return np.where(pairs, distances / np.where(largest > 0, largest, 1), np.inf)


def _encodings(distances: np.ndarray, exists: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """Weighted k-reciprocal neighbours of every item, averaged over its k2 nearest, (b, u, u)."""
    order = _order(distances)
    reciprocal = _reciprocal(order, exists, k1)
    half = _reciprocal(order, exists, max(1, round(k1 / 2)))
    # Sets as 0/1 matrices: their product counts common members. Sums of up to 2**24 ones are exact in float32.
    members, half_members = reciprocal.astype(np.float32), half.astype(np.float32)
    common = members @ half_members.swapaxes(1, 2)
    joins = reciprocal & (3 * common >= 2 * half_members.sum(axis=2)[:, None])
    expanded = reciprocal | (joins.astype(np.float32) @ half_members > 0)
    weights = np.where(expanded, np.exp(-distances), 0).astype(np.float32)
    sums = weights.sum(axis=2, keepdims=True)
    weights /= np.where(sums > 0, sums, 1)
    if k2 == 1:
        return weights
    nearest = _nearest(order, exists, k2).astype(np.float32)
    counts = nearest.sum(axis=2, keepdims=True)
    return (nearest @ weights) / np.where(counts > 0, counts, 1)


def _order(distances: np.ndarray) -> np.ndarray:
    """Items by their distance to each item, itself first even among equals."""
    own = np.arange(distances.shape[1])
    keys = distances.copy()
    keys[:, own, own] = -1
    return np.argsort(keys, axis=2, kind='stable')


def _nearest(order: np.ndarray, exists: np.ndarray, count: int) -> np.ndarray:
    """Whether column j is among the first ``count`` of row i, bool (b, u, u)."""
    nearest = np.zeros(order.shape, bool)
    np.put_along_axis(nearest, order[:, :, :count], True, axis=2)
    return nearest & exists[:, :, None] & exists[:, None]


def _reciprocal(order: np.ndarray, exists: np.ndarray, k: int) -> np.ndarray:
    """Whether i and j are each among the k nearest of the other, bool (b, u, u); every item is of its own."""
    nearest = _nearest(order, exists, k + 1)
    return nearest & nearest.swapaxes(1, 2)


def _jaccard(encodings: np.ndarray) -> np.ndarray:
    """Jaccard distance of item 0 to the others, (b, u - 1)."""
    query, others = encodings[:, :1], encodings[:, 1:]
    common = np.minimum(query, others).sum(axis=2)
    union = query.sum(axis=2) + others.sum(axis=2) - common
    return 1 - np.divide(common, union, out=np.zeros_like(common), where=union > 0)
