"""Means of classes, shrunk for small ones, and how far embeddings are from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ClassRows = tuple[np.ndarray, np.ndarray]  # codes (e,) and embeddings (e, d) of rows that do not count


class ClassMeans(NamedTuple):
    """Sums of the embeddings of each class, from which a query's own photos can be taken away.

    Example:
        >>> sums = ClassMeans.of(rows, codes, num_classes)
        >>> sums.distances(queries, shrinkage=1.0).argmin(axis=1)

    Attributes:
        sums: float64, (c, d).
        counts: int64, (c,), embeddings of each class; a class of none is infinitely far from everything.
    """

    sums: np.ndarray
    counts: np.ndarray

    @classmethod
    def empty(cls, num_classes: int, dimension: int) -> ClassMeans:
        """Sums of nothing, to :meth:`add` to."""
        return cls(np.zeros((num_classes, dimension)), np.zeros(num_classes, np.int64))

    @classmethod
    def of(cls, rows: np.ndarray, codes: np.ndarray, num_classes: int) -> ClassMeans:
        """Sums of embeddings (n, d) by their classes (n,); -1 is no class."""
        return cls.empty(num_classes, rows.shape[1]).add(rows, codes)

    def add(self, rows: np.ndarray, codes: np.ndarray) -> ClassMeans:
        """Count more embeddings in; returns itself."""
        known = codes >= 0
        if known.any():
            classes, sums, counts = _sums(rows[known], codes[known])
            self.sums[classes] += sums
            self.counts[classes] += counts
        return self

    def distances(
        self, queries: np.ndarray, shrinkage: float = 0.0, without: Sequence[ClassRows | None] = ()
    ) -> np.ndarray:
        """Squared distance of queries (m, d) to the mean of each class, float64 (m, c); +inf for an empty class.

        A mean is shrunk towards the mean of all classes as if each class had ``shrinkage`` more photos there, so that
        classes of few photos are moved most (James and Stein; with few photos a mean is mostly noise). ``without`` has,
        for each query, rows that its means do not count; None for none.
        """
        there = self.counts > 0
        centre = (self.sums[there] / self.counts[there, None]).mean(axis=0) if there.any() else 0.0
        means = (self.sums + shrinkage * centre) / np.maximum(self.counts + shrinkage, 1e-12)[:, None]
        queries = np.asarray(queries, np.float64)
        found = np.square(queries).sum(axis=1)[:, None] + np.square(means).sum(axis=1) - 2 * queries @ means.T
        found = np.where(there, found.clip(min=0), np.inf)
        left = [(row, *one) for row, one in enumerate(without) if one is not None and len(one[0])]
        if left:
            codes = np.concatenate([one for _, one, _ in left])
            numbers = np.repeat([row for row, _, _ in left], [len(one) for _, one, _ in left])
            pairs, gone, sizes = _sums(np.concatenate([rows for _, _, rows in left]), numbers * len(means) + codes)
            places, codes = np.divmod(pairs, len(means))
            counts = self.counts[codes] - sizes
            rest = (self.sums[codes] - gone + shrinkage * centre) / np.maximum(counts + shrinkage, 1e-12)[:, None]
            found[places, codes] = np.where(counts > 0, np.square(queries[places] - rest).sum(axis=1), np.inf)
        return found


def _sums(rows: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keys that occur, ascending, the sum of the rows (n, d) of each, float64, and how many they are."""
    order = np.argsort(keys, kind='stable')
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order[0]] - 1))
    sums = np.add.reduceat(rows[order].astype(np.float64), starts, axis=0)
    return keys[order[starts]], sums, np.diff(starts, append=len(keys))


def softmax_of_distances(distances: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (m, c) by ``exp(-squared distance / temperature)``; 0 for an infinite distance."""
    nearest = distances.min(axis=1, keepdims=True, initial=np.inf)
    parts = np.exp((np.where(np.isfinite(nearest), nearest, 0) - distances) / temperature)
    return parts / np.maximum(parts.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
