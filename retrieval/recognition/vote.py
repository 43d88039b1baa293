"""k nearest neighbours vote on the class of a query."""

from typing import NamedTuple

import numpy as np

from ..errors import RetrievalError


class Votes(NamedTuple):
    """Classes among the neighbours of each query, that with the largest share first.

    Attributes:
        codes: int64, (m, c), classes; -1 where a query has fewer.
        shares: float32, (m, c), 0 to 1, the class's part of all votes; the rows sum to 1, or to 0 for a query without
            neighbours.
        supports: float32, (m, c), the class's part of the votes times the similarities that cast them, negative ones as
            0: low where neighbours disagree and where they are far. What several classes have in common has the sum of
            their supports.
        similarities: float32, (m, c), of the class's nearest neighbour; -inf where there is no class.
    """

    codes: np.ndarray
    shares: np.ndarray
    supports: np.ndarray
    similarities: np.ndarray


def knn_vote(similarities: np.ndarray, codes: np.ndarray, temperature: float = 0.07) -> Votes:
    """Weighted vote: a neighbour of similarity s has ``exp(s / temperature)`` votes for its class.

    Source: Wu et al., arXiv 1805.01978, section 3.4; with temperature 0.07 the evaluation of DINO (arXiv 2104.14294).

    Args:
        similarities: Floating point, (m, k), the larger the more alike; not finite where there is no neighbour.
        codes: Integers, (m, k), class of each neighbour, >= 0; -1 for one that has no class or is missing.
        temperature: > 0; the smaller, the more the nearest neighbours count; +inf gives each one vote. Defaults to
            0.07, for cosine similarities.

    Returns:
        Of at most k classes for each query; equal shares in the order of ``similarities``, then of the codes.

    Raises:
        RetrievalError: If shapes differ or the temperature is not positive.
    """
    similarities, codes = np.asarray(similarities, np.float64), np.asarray(codes, np.int64)
    if similarities.ndim != 2 or similarities.shape != codes.shape:
        raise RetrievalError(f'similarities {similarities.shape} and codes {codes.shape} must be (m, k) both')
    if not temperature > 0:
        raise RetrievalError(f'temperature must be positive, got {temperature}')
    votes = (codes >= 0) & np.isfinite(similarities)
    masked = np.where(votes, similarities, -np.inf)
    largest = masked.max(axis=1, keepdims=True, initial=-np.inf)
    weights = np.exp((masked - np.where(np.isfinite(largest), largest, 0)) / temperature)
    weights[~votes] = 0
    rows = np.nonzero(votes)[0]
    pairs, groups = np.unique(np.stack([rows, codes[votes]], axis=1), axis=0, return_inverse=True)
    groups = groups.reshape(-1)  # numpy 2.0 keeps the axis
    parts = weights[votes] / weights.sum(axis=1)[rows]
    shares = np.bincount(groups, parts, len(pairs))
    supports = np.bincount(groups, parts * np.clip(masked[votes], 0, None), len(pairs))
    nearest = np.full(len(pairs), -np.inf)
    np.maximum.at(nearest, groups, masked[votes])
    return _table(pairs, shares, supports, nearest, len(codes))


def _table(pairs: np.ndarray, shares: np.ndarray, supports: np.ndarray, nearest: np.ndarray, num_rows: int) -> Votes:
    """Pairs (row, class) as one row per query."""
    order = np.lexsort((pairs[:, 1], -nearest, -shares, pairs[:, 0]))
    rows = pairs[order, 0]
    counts = np.bincount(rows, minlength=num_rows)
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = int(counts.max(initial=0))
    result = Votes(
        np.full((num_rows, width), -1, np.int64),
        np.zeros((num_rows, width), np.float32),
        np.zeros((num_rows, width), np.float32),
        np.full((num_rows, width), -np.inf, np.float32),
    )
    for target, values in zip(result, (pairs[order, 1], shares[order], supports[order], nearest[order])):
        target[rows, columns] = values
    return result
