"""Rows of one space that are stored together: their ids, whole vectors, and an index over them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..vectors import import_faiss
from .calibration import Effort, calibrate
from .presets import build_faiss_index, faiss_metric, rows_of


@dataclass
class Part:
    """A batch of rows. Vectors and index never change; a removed row gets a tombstone in ``alive``.

    Attributes:
        ids: int64, (n,), each once.
        vectors: ``faiss.IndexFlat`` with the rows, unit length for ``'cosine'``; may be memory-mapped.
        approximate: Another kind of ``faiss.Index`` over the same rows in the same order.
        preset: What ``approximate`` was built by.
        alive: bool, (n,). Defaults to all.
        effort: What calibration found as ``approximate`` was built. Defaults to None: read from a file.
        token: Tells this part from all others, also from those that later take its place in memory.
    """

    ids: np.ndarray
    vectors: Any
    approximate: Any = None
    preset: str = 'flat'
    alive: np.ndarray = None  # type: ignore[assignment]
    effort: Effort | None = None
    token: object = field(default_factory=object, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.replace_alive(np.ones(len(self.ids), bool) if self.alive is None else self.alive)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> np.ndarray:
        """float32, (n, d), without a copy."""
        return rows_of(self.vectors)

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.ids, kind='stable')

    @cached_property
    def first_id(self) -> int | None:
        """The id of row 0 where ids count on from it, so that no look-up is needed; else None."""
        if len(self.ids) and (np.diff(self.ids) == 1).all():
            return int(self.ids[0])
        return None

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Row numbers of ids that are here and alive.

        Args:
            ids: int64, (m,).

        Returns:
            int64, (m,); -1 for the others.
        """
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        if self.first_id is not None:
            rows = np.clip(ids - self.first_id, 0, len(self.ids) - 1)
        else:
            places = np.searchsorted(self.ids, ids, sorter=self._order)
            rows = self._order[np.minimum(places, len(self.ids) - 1)]
        return np.where((self.ids[rows] == ids) & self.alive[rows], rows, -1)

    def replace_alive(self, alive: np.ndarray) -> None:
        """Take over tombstones.

        Args:
            alive: bool, (n,).
        """
        self.alive = alive
        self.num_dead = int(len(alive) - alive.sum())

    def with_alive(self, alive: np.ndarray) -> Part:
        """The same rows with other tombstones; searches of this part go on with its own.

        Args:
            alive: bool, (n,).

        Returns:
            It shares everything else, also copies on GPUs.
        """
        part = copy.copy(self)
        part.replace_alive(alive)
        return part

    def bury(self, rows: np.ndarray) -> None:
        """Give rows a tombstone.

        Args:
            rows: int64, numbers of rows that are alive.
        """
        alive = self.alive.copy()  # searches that run keep the old one
        alive[rows] = False
        self.replace_alive(alive)


def make_part(embeddings: np.ndarray, ids: np.ndarray, metric: str, preset: str = 'flat', seed: int = 0) -> Part:
    """A part in memory.

    Args:
        embeddings: float32, (n, d), checked, unit length for ``'cosine'``.
        ids: int64, (n,).
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        preset: See :data:`retrieval.index.presets.PRESETS`, or a factory string.
        seed: Of the training.

    Returns:
        With all rows alive.

    Raises:
        RetrievalError: If the preset cannot be built of these rows.
    """
    vectors = flat_index(embeddings.shape[1], metric)
    vectors.add(embeddings)
    if is_flat(preset):
        return Part(np.asarray(ids, np.int64), vectors)
    approximate = build_faiss_index(preset, vectors, metric, seed)
    effort = calibrate(approximate, rows_of(vectors), metric, preset, seed)
    return Part(np.asarray(ids, np.int64), vectors, approximate, preset, effort=effort)


def merge_parts(parts: Sequence[Part], metric: str, preset: str = 'flat', seed: int = 0) -> Part:
    """The rows of several parts that are alive, as one.

    Args:
        parts: At least one, of one dimension.
        metric: See :func:`make_part`.
        preset: See :func:`make_part`.
        seed: See :func:`make_part`.

    Returns:
        In memory, rows in the order of the parts.
    """
    rows = np.concatenate([part.rows[part.alive] for part in parts])
    return make_part(rows, np.concatenate([part.ids[part.alive] for part in parts]), metric, preset, seed)


def flat_index(dimension: int, metric: str) -> Any:
    """An empty index that compares every row.

    Args:
        dimension: Width of the rows.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.

    Returns:
        ``faiss.IndexFlat``.
    """
    faiss = import_faiss()
    return faiss.IndexFlatL2(dimension) if faiss_metric(metric) == faiss.METRIC_L2 else faiss.IndexFlatIP(dimension)


def is_flat(preset: str) -> bool:
    """Whether a preset is the exact search that every part has anyway."""
    return preset.lower() == 'flat'
