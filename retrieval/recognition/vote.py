"""The weighted vote of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import RetrievalError


def similarities(scores: np.ndarray, metric: str) -> np.ndarray:
    """Scores of a search as similarities, the larger the more alike; -inf where there is no hit.

    They are the scores themselves for ``'cosine'`` and ``'ip'``, and ``1 / (1 + squared distance)`` for ``'l2'``.
    """
    scores = np.asarray(scores, np.float64)
    if metric != 'l2':
        return scores
    return np.where(np.isfinite(scores), 1 / (1 + scores), -np.inf)


def number_labels(labels: np.ndarray, every: Sequence[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Classes in the order of their names, and their numbers, int64, of the labels' shape; -1 for no label (None).

    ``every`` are all classes there are, in order; None for those among the labels.
    """
    names = sorted({label for label in labels.flat if label is not None}) if every is None else list(every)
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(names)}
    return names, np.array([numbers.get(label, -1) for label in labels.flat], np.int64).reshape(labels.shape)


class Votes(NamedTuple):
    """Classes among the neighbours of each query, that with the largest share first.

    Example:
        >>> votes = knn_vote(similarities, codes)
        >>> votes.codes[0, 0], votes.shares[0, 0]  # the best class of the first query

    Attributes:
        codes: int64, (m, c), classes; -1 where a query has fewer.
        shares: float32, (m, c), 0 to 1, the class's part of all votes; the rows sum to 1, or to 0 for a query without
            neighbours.
        supports: float32, (m, c), the class's part of the votes times the similarities that cast them, negative ones as
            0: low where neighbours disagree and where they are far.
        similarities: float32, (m, c), of the class's nearest neighbour; -inf where there is no class.
    """

    codes: np.ndarray
    shares: np.ndarray
    supports: np.ndarray
    similarities: np.ndarray


def vote_weights(similarities: np.ndarray, codes: np.ndarray, temperature: float, cap: int | None = None) -> np.ndarray:
    """What part of all votes each neighbour casts, float64 (m, k), see :func:`knn_vote`; 0 for one that casts none."""
    votes = _that_vote(similarities, codes, cap)
    masked = np.where(votes, similarities, -np.inf)
    largest = masked.max(axis=1, keepdims=True, initial=-np.inf)
    weights = np.exp((masked - np.where(np.isfinite(largest), largest, 0)) / temperature)
    weights[~votes] = 0
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)


def _that_vote(similarities: np.ndarray, codes: np.ndarray, cap: int | None) -> np.ndarray:
    """Which neighbours vote, bool (m, k)."""
    votes = (codes >= 0) & np.isfinite(similarities)
    return votes if cap is None else votes & (_places_in_class(np.where(votes, codes, -1)) < cap)


def to_probabilities(shares: np.ndarray, rest: float, sharpness: float, num_classes: int) -> np.ndarray:
    """Probabilities (m, c) of classes by their shares (m, c) of the votes, of ``num_classes`` >= c in all.

    Each class gets a share of ``rest / num_classes``, so that none is impossible; then all are raised to the power of
    ``sharpness``, which is temperature scaling (Guo et al., arXiv 1706.04599). Classes that are not shown have what is
    missing to 1.
    """
    floor = rest / num_classes if num_classes else 0.0
    parts = ((1 - rest) * shares + floor) ** sharpness
    totals = parts.sum(axis=1, keepdims=True) + max(num_classes - shares.shape[1], 0) * floor**sharpness
    return parts / np.maximum(totals, np.finfo(np.float64).tiny)


def _places_in_class(codes: np.ndarray) -> np.ndarray:
    """How many neighbours of the same class come before each, (m, k)."""
    order = np.argsort(codes, axis=1, kind='stable')
    ordered = np.take_along_axis(codes, order, axis=1)
    columns = np.broadcast_to(np.arange(codes.shape[1]), codes.shape)
    is_first = np.ones(codes.shape, bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.maximum.accumulate(np.where(is_first, columns, 0), axis=1)
    places = np.empty(codes.shape, np.int64)
    np.put_along_axis(places, order, columns - starts, axis=1)
    return places


def knn_vote(similarities: np.ndarray, codes: np.ndarray, temperature: float = 0.07, cap: int | None = None) -> Votes:
    """Weighted vote: a neighbour of similarity s has ``exp(s / temperature)`` votes for its class.

    Source: Wu et al., arXiv 1805.01978, section 3.4; with temperature 0.07 the evaluation of DINO (arXiv 2104.14294).

    Args:
        similarities: Floating point, (m, k), the larger the more alike, with ``cap`` the largest first; not finite
            where there is no neighbour.
        codes: Integers, (m, k), class of each neighbour, >= 0; -1 for one that has no class or is missing.
        temperature: > 0; the smaller, the more the nearest neighbours count; +inf gives each one vote.
        cap: How many neighbours of a class vote, the first ones; None for all.

    Returns:
        Votes of at most k classes for each query; equal shares in the order of ``similarities``, then of the codes.

    Raises:
        RetrievalError: If shapes differ or the temperature is not positive.
    """
    similarities, codes = np.asarray(similarities, np.float64), np.asarray(codes, np.int64)
    if similarities.ndim != 2 or similarities.shape != codes.shape:
        raise RetrievalError(f'similarities {similarities.shape} and codes {codes.shape} must be (m, k) both')
    if not temperature > 0:
        raise RetrievalError(f'temperature must be positive, got {temperature}')
    weights = vote_weights(similarities, codes, temperature, cap)
    votes = _that_vote(similarities, codes, cap)
    rows = np.nonzero(votes)[0]
    pairs, groups = np.unique(np.stack([rows, codes[votes]], axis=1), axis=0, return_inverse=True)
    groups = groups.reshape(-1)  # numpy 2.0 keeps the axis
    parts = weights[votes]
    shares = np.bincount(groups, parts, len(pairs))
    supports = np.bincount(groups, parts * np.clip(similarities[votes], 0, None), len(pairs))
    nearest = np.full(len(pairs), -np.inf)
    np.maximum.at(nearest, groups, similarities[votes])
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
