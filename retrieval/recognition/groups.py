"""Connected groups of a graph whose edges come in batches."""

import numpy as np


class Groups:
    """Disjoint sets of the numbers 0 to n - 1, united by edges; memory is n int64 and a batch of edges.

    Args:
        count: n >= 0.
    """

    def __init__(self, count: int) -> None:
        self._roots = np.arange(count)

    def join(self, left: np.ndarray, right: np.ndarray) -> None:
        """Unite the sets of ``left[i]`` and ``right[i]``.

        Args:
            left: int64, (e,), 0 to n - 1.
            right: int64, (e,), likewise.
        """
        left, right = self._find(left), self._find(right)
        while (apart := left != right).any():
            low, high = np.minimum(left, right)[apart], np.maximum(left, right)[apart]
            # Every root gets the smallest partner of this round; links lead downwards only, so there is no cycle.
            np.minimum.at(self._roots, high, low)
            left, right = self._find(low), self._find(high)

    def members(self) -> list[np.ndarray]:
        """Sets of two and more.

        Returns:
            int64, (s,), s >= 2, ascending; ordered by their first.
        """
        roots = self._find(np.arange(len(self._roots)))
        order = np.argsort(roots, kind='stable')
        starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
        return [group for group in np.split(order, starts[1:]) if len(group) > 1]

    def _find(self, numbers: np.ndarray) -> np.ndarray:
        """Root of each number; shortens the way for the next time."""
        roots = self._roots[numbers]
        while (further := self._roots[roots] != roots).any():
            roots[further] = self._roots[roots[further]]
        self._roots[numbers] = np.minimum(self._roots[numbers], roots)
        return roots
