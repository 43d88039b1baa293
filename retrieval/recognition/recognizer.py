"""The class of an image by its nearest neighbours in a gallery, its group, or 'unknown'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits
from ..ranking.candidates import space_weights
from .filters import outside
from .taxonomy import Taxonomy
from .vote import Votes, knn_vote

if TYPE_CHECKING:
    from ..gallery.contract import GalleryReader

Group = tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A class among the neighbours of a query.

    Attributes:
        label: Class.
        share: Its part of the votes, 0 to 1.
        similarity: Of its nearest image, see :func:`similarities`.
    """

    label: str
    share: float
    similarity: float


@dataclass(frozen=True)
class Recognition:
    """What a query was recognised as.

    Attributes:
        label: Class; its group where the class is uncertain; None for unknown.
        level: Steps above the classes that the answer is at: 0 for a class, 1 for a parent; -1 for unknown.
        path: Groups of the answer from the coarsest down, and itself; empty for unknown.
        confidence: Support of the answer, 0 to 1 for cosine; of the best class where unknown.
        candidates: Classes among the neighbours, that with the largest share first.
        neighbors: Ids of the neighbours, nearest first.
    """

    label: str | None
    level: int
    path: Group
    confidence: float
    candidates: list[Candidate]
    neighbors: list[int]


class Recognizer:
    """Recognises classes of a gallery without training: add photos of a class to the gallery, and it is known.

    The k nearest images vote (:func:`knn_vote`). The answer is the class with the most votes if its support reaches the
    threshold; else, with a taxonomy, the group with the most votes one level up, and so on; else it is unknown.
    Support is part of the votes times similarity: it is low both where neighbours disagree and where all are far. So
    siblings that share the votes lead to their parent, and an image unlike all others to unknown.

    Args:
        gallery: With labels; any object with the interface of :mod:`retrieval.gallery`.
        k: Neighbours that vote, >= 1.
        temperature: See :func:`knn_vote`.
        thresholds: Least support of an answer at level 0 (classes), 1 (parents) and so on; the last is for all levels
            above it too. See :func:`retrieval.recognition.calibrate`. Defaults to none: whatever has a neighbour is
            known.
        taxonomy: Groups above the classes.
        space: Embeddings to compare, as in the gallery's ``search``.
        where: Filter; only rows that pass it vote.

    Raises:
        RetrievalError: If k is not positive.
    """

    def __init__(
        self,
        gallery: GalleryReader,
        k: int = 10,
        temperature: float = 0.07,
        thresholds: float | Sequence[float] = (),
        taxonomy: Taxonomy | None = None,
        space: str | Mapping[str, float] | None = None,
        where: Any = None,
    ) -> None:
        if k < 1:
            raise RetrievalError(f'k must be at least 1, got {k}')
        self.gallery = gallery
        self.k = k
        self.temperature = temperature
        self.thresholds = (thresholds,) if isinstance(thresholds, int | float) else tuple(thresholds)
        self.taxonomy = taxonomy or Taxonomy({})
        self.space = space
        self.where = where

    def recognize(self, queries: np.ndarray | Mapping[str, np.ndarray]) -> list[Recognition]:
        """Recognise images.

        Args:
            queries: float32, (m, d), or one such array for each space.

        Returns:
            One per query, in order.

        Raises:
            RetrievalError: If the queries do not fit the gallery.
        """
        hits = self.gallery.search(queries, self.k, space=self.space, where=self.where)
        names = self.labels(hits.ids)
        votes = [self.vote(hits, names, level) for level in range(self.taxonomy.depth + 1)]
        return [self._answer(row, hits.ids[row], votes) for row in range(len(hits.ids))]

    def neighbors(self, ids: np.ndarray, k: int, without: Sequence[str] = ()) -> Hits:
        """Neighbours of rows of the gallery, themselves among them.

        Args:
            ids: int64, (m,).
            k: How many, >= 1.
            without: Classes that must not be among them.

        Returns:
            (m, k).

        Raises:
            RetrievalError: If an id is not in the gallery.
        """
        spaces = space_weights(self.gallery, self.space)
        queries = {name: self.gallery.vectors(ids, name) for name in spaces}
        where = outside(self.where, without) if without else self.where
        return self.gallery.search(queries, k, space=self.space, where=where, transformed=True)

    def labels(self, ids: np.ndarray) -> np.ndarray:
        """Labels of rows of the gallery.

        Args:
            ids: int64, any shape; -1 for none.

        Returns:
            Objects, same shape: str, or None where there is no row or no label.
        """
        numbers, places = np.unique(ids, return_inverse=True)
        names = np.full(len(numbers), None, object)
        found = numbers >= 0
        if found.any():
            names[found] = [record.label for record in self.gallery.records(numbers[found])]
        return names[places].reshape(ids.shape)

    def vote(self, hits: Hits, names: np.ndarray, level: int = 0) -> tuple[Votes, list[Group]]:
        """Vote of neighbours on the groups of a level.

        Args:
            hits: (m, k), neighbours.
            names: Their labels, see :meth:`labels`.
            level: Steps above the classes.

        Returns:
            The vote, and what each of its codes stands for: the way from the coarsest group.
        """
        known: dict[Group, int] = {}
        of_label = {}
        for name in {name for name in names.flat if name is not None}:
            group = self.taxonomy.group(name, level)
            of_label[name] = -1 if group is None else known.setdefault(group, len(known))
        codes = np.array([of_label.get(name, -1) for name in names.flat], np.int64).reshape(names.shape)
        alike = similarities(hits.scores, self.gallery.manifest.metric)
        return knn_vote(alike, codes, self.temperature), list(known)

    def _answer(self, row: int, ids: np.ndarray, votes: list[tuple[Votes, list[Group]]]) -> Recognition:
        classes, groups = votes[0]
        there = [column for column, code in enumerate(classes.codes[row]) if code >= 0]
        candidates = [
            Candidate(groups[code][-1], float(classes.shares[row, column]), float(classes.similarities[row, column]))
            for column in there
            for code in [int(classes.codes[row, column])]
        ]
        neighbors = ids[ids >= 0].tolist()
        for level, (vote, groups) in enumerate(votes):
            if not vote.codes.shape[1] or vote.codes[row, 0] < 0:
                continue
            support = float(vote.supports[row, 0])
            if support >= self._threshold(level):
                path = groups[int(vote.codes[row, 0])]
                return Recognition(path[-1], level, path, support, candidates, neighbors)
        best = float(classes.supports[row, 0]) if there else 0.0
        return Recognition(None, -1, (), best, candidates, neighbors)

    def _threshold(self, level: int) -> float:
        return self.thresholds[min(level, len(self.thresholds) - 1)] if self.thresholds else -np.inf


def similarities(scores: np.ndarray, metric: str) -> np.ndarray:
    """Scores as similarities, the larger the more alike.

    Args:
        scores: Floating point, any shape, of a search; infinite where there is no hit.
        metric: ``'cosine'`` and ``'ip'``: the score itself; ``'l2'``: ``1 / (1 + squared distance)``.

    Returns:
        float64, same shape; -inf where there is no hit.
    """
    scores = np.asarray(scores, np.float64)
    if metric != 'l2':
        return scores
    return np.where(np.isfinite(scores), 1 / (1 + scores), -np.inf)
