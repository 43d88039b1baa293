"""Copies of an index's parts on the GPUs, made when they are first searched."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from .gpu import LEAST_ROWS, count_gpus, to_gpu
from .part import Part


class GpuCopies:
    """Finds the copy of a part.

    Args:
        device: ``'auto'``, ``'cpu'`` or ``'gpu'``, see :class:`retrieval.index.VectorIndex`.
        placement: See :class:`retrieval.index.gpu.GpuSearcher`.
    """

    def __init__(self, device: str, placement: str, half: bool) -> None:
        self._device, self._placement, self._half = device, placement, half
        self._copies: dict[object, OneAtATime | None] = {}
        self._lock = threading.Lock()

    def find(self, part: Part, parts: Sequence[Part]) -> OneAtATime | None:
        """The copy of a part; copies of parts that are gone are given up.

        Args:
            part: That is searched.
            parts: All parts of the index as it is now.

        Returns:
            None where the CPU searches.
        """
        if self._device == 'cpu' or len(part) < LEAST_ROWS or (self._device == 'auto' and count_gpus() == 0):
            return None
        with self._lock:
            if part.token not in self._copies:
                present = {one.token for one in parts}
                self._copies = {token: copy for token, copy in self._copies.items() if token in present}
                index = part.vectors if part.approximate is None else part.approximate
                copied = to_gpu(index, self._placement, self._half)
                self._copies[part.token] = None if copied is None else OneAtATime(copied)
            return self._copies[part.token]


class OneAtATime:
    """Lets one thread at a time search: FAISS's GPU resources do not bear two.

    Args:
        searcher: With a ``search`` of queries and k.
    """

    def __init__(self, searcher: Any) -> None:
        self._searcher = searcher
        self._lock = threading.Lock()

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`retrieval.index.gpu.GpuSearcher.search`."""
        with self._lock:
            return self._searcher.search(queries, k)
