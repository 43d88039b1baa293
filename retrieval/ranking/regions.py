"""Similarity of two regions by matching their patches."""

import numpy as np

from ..errors import RetrievalError

_BLOCK_BYTES = 64 << 20


def region_similarity(queries: np.ndarray, candidates: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """Mean cosine similarity of the patches of each query to their best matches in each candidate, and back.

    Whiten patches first (:func:`retrieval.ranking.whiten_patches`): as the model gives them they make rankings worse.

    Args:
        queries: float16 or float32, (m, O, C), patch tokens of each query's region.
        candidates: float16 or float32, (m, r, P, C), those of its candidates.
        present: bool, (m, r), which candidates there are. Defaults to all.

    Returns:
        float32, (m, r), -1 to 1, the larger the better; -inf where there is no candidate.

    Raises:
        RetrievalError: If shapes do not belong together.
    """
    queries, candidates = np.asarray(queries), np.asarray(candidates)
    if queries.ndim != 3 or candidates.ndim != 4 or 0 in queries.shape[1:] or 0 in candidates.shape[2:]:
        raise RetrievalError(f'patches must be (m, O, C) and (m, r, P, C), got {queries.shape} and {candidates.shape}')
    if len(queries) != len(candidates) or queries.shape[2] != candidates.shape[3]:
        raise RetrievalError(
            f'patches of queries {queries.shape} and candidates {candidates.shape} do not belong together: encode both '
            'with the same model'
        )
    m, r, p, c = candidates.shape
    result = np.empty((m, r), np.float32)
    step = max(1, _BLOCK_BYTES // max(1, 4 * r * p * (c + queries.shape[1])))
    for start in range(0, m, step):
        block = slice(start, start + step)
        query, other = _unit(queries[block]), _unit(candidates[block])
        cosines = (other.reshape(len(other), r * p, c) @ query.swapaxes(1, 2)).reshape(
            len(other), r, p, queries.shape[1]
        )
        result[block] = (cosines.max(axis=3).mean(axis=2) + cosines.max(axis=2).mean(axis=2)) / 2
    return result if present is None else np.where(present, result, -np.inf).astype(np.float32)


def _unit(patches: np.ndarray) -> np.ndarray:
    """Patches of length 1, float32; a patch of zeros stays one, similar to nothing."""
    patches = patches.astype(np.float32)
    lengths = np.linalg.norm(patches, axis=-1, keepdims=True)
    return patches / np.where(lengths > 0, lengths, 1)
