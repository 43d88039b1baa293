"""The class of an image by its nearest neighbours in a gallery, its group, or 'unknown'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import RetrievalError
from ..gallery.conditions import Condition, read_conditions
from ..gallery.contract import Embeddings, GalleryReader, Space
from ..gallery.spaces import Spaces
from ..hits import Hits
from ..records import Ids, check_count
from .taxonomy import Taxonomy

UNKNOWN = 'unknown'
Group = tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A class among the neighbours of a query: its share of the votes, 0 to 1, and the similarity of its nearest image.

    Example:
        >>> best = recognition.candidates[0]
        >>> print(best.label, best.share)
    """

    label: str
    share: float
    similarity: float


@dataclass(frozen=True)
class Recognition:
    """What a query was recognised as.

    Example:
        >>> for recognition in recognizer.recognize(embeddings):
        ...     print(recognition.label or 'unknown', recognition.confidence)

    Attributes:
        label: Class; its group where the class is uncertain; None for unknown.
        level: Steps above the classes that the answer is at: 0 for a class, 1 for a parent; -1 for unknown.
        path: Groups of the answer from the coarsest down, and itself; empty for unknown.
        confidence: Support of the answer, or of the best class where it is unknown; 0 to 1 for cosine.
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

    Example:
        >>> recognizer = Recognizer(open_gallery('gallery'), k=10, thresholds=0.4)
        >>> [answer.label or 'unknown' for answer in recognizer.recognize(embeddings)]

    Args:
        gallery: A gallery whose rows have labels.
        k: Neighbours that vote, >= 1.
        temperature: See :func:`knn_vote`.
        thresholds: Least support of an answer at level 0 (classes), 1 (parents) and so on; the last is for all levels
            above it too, see :func:`retrieval.recognition.calibrate`. With none, whatever has a neighbour is known.
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
        space: Space = None,
        where: Any = None,
    ) -> None:
        check_count(k, 'k')
        self.gallery = gallery
        self.k = k
        self.temperature = temperature
        self.thresholds = (thresholds,) if isinstance(thresholds, int | float) else tuple(thresholds)
        self.taxonomy = taxonomy or Taxonomy({})
        self.space = space
        self.where = where

    def recognize(self, queries: Embeddings, exclude: Sequence[Ids] | None = None) -> list[Recognition]:
        """Recognise images by their embeddings, float32 (m, d), or one such array for each space.

        ``exclude`` has ids of rows that do not vote on each, such as those of its own content
        (:meth:`retrieval.gallery.GalleryReader.same_content`).
        """
        return self.answer(self.gallery.search(queries, self.k, space=self.space, where=self.where, exclude=exclude))

    def answer(self, hits: Hits) -> list[Recognition]:
        """Recognise images by their neighbours, which were searched for already, nearest first."""
        names = self.labels(hits.ids)
        votes = [self.vote(hits, names, level) for level in range(self.taxonomy.depth + 1)]
        return [self._answer(row, hits.ids[row], votes) for row in range(len(hits.ids))]

    def neighbors(self, ids: np.ndarray, k: int, without: Sequence[str] = ()) -> Hits:
        """The k neighbours of rows of the gallery, the rows themselves among them, without some classes."""
        spaces = Spaces.of(self.gallery).weights(self.space)
        queries = {name: self.gallery.vectors(ids, name) for name in spaces}
        where = self.where
        if without:
            where = [*read_conditions(where), Condition('label', 'not in', tuple(without))]
        return self.gallery.search(queries, k, space=self.space, where=where, transformed=True)

    def labels(self, ids: np.ndarray) -> np.ndarray:
        """Labels of rows of the gallery by their ids, of any shape; None for an id of -1 and for a row without one."""
        numbers, places = np.unique(ids, return_inverse=True)
        names = np.full(len(numbers), None, object)
        found = numbers >= 0
        if found.any():
            names[found] = [record.label for record in self.gallery.records(numbers[found])]
        return names[places].reshape(ids.shape)

    def vote(self, hits: Hits, names: np.ndarray, level: int = 0) -> tuple[Votes, list[Group]]:
        """Vote of neighbours, with their labels, on the groups that many steps above the classes.

        Returns the vote, and what each of its codes stands for: the way from the coarsest group.
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
    """Scores of a search as similarities, the larger the more alike; -inf where there is no hit.

    They are the scores themselves for ``'cosine'`` and ``'ip'``, and ``1 / (1 + squared distance)`` for ``'l2'``.
    """
    scores = np.asarray(scores, np.float64)
    if metric != 'l2':
        return scores
    return np.where(np.isfinite(scores), 1 / (1 + scores), -np.inf)


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
        temperature: > 0; the smaller, the more the nearest neighbours count; +inf gives each one vote.

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


def format_recognition(path: str, recognition: Recognition) -> str:
    """One line: image, answer, confidence, and the classes that had votes.

    For example ``a.jpg: Wren (0.71); votes: Wren 0.90, Robin 0.10``; a group has ``group`` before it.
    """
    votes = ', '.join(f'{candidate.label} {candidate.share:.2f}' for candidate in recognition.candidates[:3])
    answer = UNKNOWN if recognition.label is None else recognition.label
    kind = 'group ' if recognition.level > 0 else ''
    return f'{path}: {kind}{answer} ({recognition.confidence:.2f}); votes: {votes or "none"}'


def recognition_to_json(path: str, recognition: Recognition) -> dict[str, Any]:
    """A recognition and the path of its image in types that JSON knows; ``label`` is None for unknown."""
    candidates = [dict(label=one.label, share=one.share, similarity=one.similarity) for one in recognition.candidates]
    return dict(
        path=path,
        label=recognition.label,
        level=recognition.level,
        groups=list(recognition.path[:-1]),
        confidence=recognition.confidence,
        candidates=candidates,
        neighbors=recognition.neighbors,
    )
