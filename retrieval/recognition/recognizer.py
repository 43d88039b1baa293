"""The class of an image by its nearest neighbours in a gallery or by means of classes, its group, or 'unknown'."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..evaluation.gallery_evaluation import read_labels
from ..gallery.contract import Embeddings, GalleryReader, Space
from ..gallery.spaces import Spaces
from ..hits import Hits
from ..records import Ids
from .class_means import ClassMeans, ClassRows, softmax_of_distances
from .settings import Settings, read_settings
from .taxonomy import Taxonomy
from .tuning import LEAST, accepting, pool
from .unknown import novelties_of_distances, novelty_of_vote
from .vote import knn_vote, number_labels, similarities, to_probabilities

ACCEPT, LOOK, UNKNOWN = 'accept', 'look', 'unknown'
LIKELY, FAIRLY_SURE, SURE = 0.5, 0.75, 0.95
_ROWS_AT_ONCE = 20_000
_MOST_CANDIDATES, _NAMED_NEIGHBORS = 20, 10


@dataclass(frozen=True)
class Candidate:
    """A class that a query may be of, with its probability; of a gallery that is not tuned, its share of the votes.

    Example:
        >>> best = recognition.candidates[0]
        >>> print(best.label, best.probability)
    """

    label: str
    probability: float


@dataclass(frozen=True)
class Recognition:
    """What a query, one photo or several of one individual, was recognised as.

    Example:
        >>> for recognition in recognizer.recognize(embeddings):
        ...     print(recognition.label or 'unknown', recognition.probability)

    Attributes:
        label: Class; its group where the class is uncertain and the group is not; None for unknown.
        level: Steps above the classes that the answer is at: 0 for a class, 1 for a parent; -1 for unknown.
        path: Groups of the answer from the coarsest down, and itself; empty for unknown.
        probability: That the answer, or the best class where it is unknown, is right; None if the gallery is not tuned.
        candidates: The most probable classes, 20 at most, the best first.
        neighbors: Ids of the nearest neighbours, ten at most, nearest first; of several photos, of each.
        agreeing: How many of these are of the best class.
        verdict: ``'accept'``, ``'look'`` or ``'unknown'``; None where no share of right answers was asked for.
        photos: Places of the query's photos among the embeddings.
    """

    label: str | None
    level: int
    path: tuple[str, ...]
    probability: float | None
    candidates: list[Candidate]
    neighbors: list[int]
    agreeing: int = 0
    verdict: str | None = None
    photos: list[int] = field(default_factory=lambda: [0])


class Recognizer:
    """Recognises classes of a gallery without training: add photos of a class to the gallery, and it is known.

    How it does is chosen by :func:`retrieval.recognition.tune` and kept in the gallery: by a vote of the nearest
    photos (:func:`knn_vote`), or by the nearest of the means of classes. Where the best class is less likely than not,
    and a group of the taxonomy is fairly sure, the answer is the group. Where the gallery can tell unknown classes, a
    photo that is unlike 95 % of its own is unknown.

    Example:
        >>> recognizer = Recognizer(open_gallery('gallery'))
        >>> [answer.label or 'unknown' for answer in recognizer.recognize(embeddings)]

    Args:
        gallery: A gallery whose rows have labels.
        settings: How to recognise; None for those of the gallery, or the defaults if it was never tuned. ``note`` is a
            sentence then that says what is missing or out of date, else ''.
        taxonomy: Groups above the classes.
        space: Embeddings to compare, as in the gallery's ``search``.
        where: Filter; only rows that pass it count.
        accept: Share of accepted answers that shall be right, 0 to below 1: an answer has a verdict then. None for no
            verdicts.

    Raises:
        RetrievalError: If verdicts are asked of a gallery that is not tuned.
    """

    def __init__(
        self,
        gallery: GalleryReader,
        settings: Settings | None = None,
        taxonomy: Taxonomy | None = None,
        space: Space = None,
        where: Any = None,
        accept: float | None = None,
    ) -> None:
        self.gallery = gallery
        self.settings, self.note = read_settings(gallery, space, where) if settings is None else (settings, '')
        self.taxonomy = taxonomy or Taxonomy({})
        self.space = space
        self.where = where
        self.least, self.coverage = -np.inf, 1.0
        self._accept = accept
        self._means: tuple[int, ClassMeans, list[str]] | None = None
        if accept is not None:
            if not 0 <= accept < 1:
                raise RetrievalError(f'the share of accepted answers that are right is from 0 to below 1, not {accept}')
            if not self.settings.is_tuned:
                raise RetrievalError(self.note or 'answers have no probability: tune the gallery first')
            self.least, self.coverage = accepting(self.settings, accept)

    def recognize(
        self,
        queries: Embeddings,
        exclude: Sequence[Ids] | None = None,
        together: Sequence[Hashable] | None = None,
        *,
        transformed: bool = False,
    ) -> list[Recognition]:
        """Recognise images by their embeddings, float32 (m, d), or one such array for each space.

        Args:
            queries: Embeddings of the model.
            exclude: For each, ids of rows that do not count, such as those of its own content
                (:meth:`retrieval.gallery.GalleryReader.same_content`).
            together: For each, what individual it shows: photos with the same value get one answer. None for an answer
                for each.
            transformed: Whether embeddings are as the gallery stores them, as in its ``search``.

        Returns:
            In the order of the queries, or of the first photo of each individual.
        """
        how = dict(space=self.space, where=self.where, exclude=exclude, transformed=transformed)
        hits = self.gallery.search(queries, self.settings.k, **how)
        labels = self.labels(hits.ids)
        distances, known = self._distances(queries, exclude, transformed)
        alike = similarities(hits.scores, self.gallery.manifest.metric)
        if self.settings.rule == 'means':
            names, found = known, softmax_of_distances(distances, self.settings.mean_temperature)
        else:
            names, found = self._vote(alike, labels)
        newest = self._novelty(alike, labels, distances)
        groups: dict[Hashable, list[int]] = {}
        for row in range(len(hits.ids)):
            groups.setdefault(row if together is None else together[row], []).append(row)
        return [self._answer(rows, names, found, newest, hits, labels) for rows in groups.values()]

    def labels(self, ids: np.ndarray) -> np.ndarray:
        """Labels of rows of the gallery by their ids, of any shape; None for an id of -1 and for a row without one."""
        numbers, places = np.unique(ids, return_inverse=True)
        names = np.full(len(numbers), None, object)
        found = numbers >= 0
        if found.any():
            names[found] = [record.label for record in self.gallery.records(numbers[found])]
        return names[places].reshape(ids.shape)

    def _vote(self, alike: np.ndarray, labels: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Classes among the neighbours of all queries, and their probabilities (m, c)."""
        names, codes = number_labels(labels)
        votes = knn_vote(alike, codes, self.settings.temperature, self.settings.cap)
        shares = np.zeros((len(labels), len(names) + 1))
        np.put_along_axis(shares, votes.codes, votes.shares, axis=1)  # a code of -1 is the column at the end
        count = max(self.settings.classes, len(names))
        found = to_probabilities(shares[:, :-1], self.settings.rest, self.settings.sharpness, count)
        return names, np.where(shares[:, :-1].any(axis=1, keepdims=True), found, 0.0)

    def _novelty(self, alike: np.ndarray, labels: np.ndarray, distances: np.ndarray) -> np.ndarray | None:
        """How new each query looks by the gallery's best score; None where it cannot tell."""
        name = self.settings.best_novelty
        if name is None or not self.settings.tells_unknown:
            return None
        if name == 'support':
            return novelty_of_vote(alike, number_labels(labels)[1], self.settings)
        return novelties_of_distances(distances).get(name)

    def _distances(
        self, queries: Embeddings, exclude: Sequence[Ids] | None, transformed: bool
    ) -> tuple[np.ndarray, list[str]]:
        """Squared distances (m, c) to the means of classes, and these; nothing where they are not needed."""
        by_means = self.settings.tells_unknown and self.settings.best_novelty != 'support'
        if self.settings.rule != 'means' and not by_means:
            return np.zeros((0, 0)), []
        means, names = self._read_means()
        compared = Spaces.of(self.gallery).compared(queries, self.space, transformed)
        numbers = {name: number for number, name in enumerate(names)}
        without: list[ClassRows | None] = []
        for ids in () if exclude is None else exclude:
            own = np.asarray(list(ids), np.int64)
            labels = self.labels(own) if len(own) else np.empty(0, object)
            counted = np.array([label in numbers for label in labels], bool)
            codes = np.array([numbers[label] for label in labels[counted]], np.int64)
            without.append((codes, self._rows(own[counted])) if len(codes) else None)
        return means.distances(self._weighted(compared), self.settings.shrinkage, without), names

    def _read_means(self) -> tuple[ClassMeans, list[str]]:
        """Sums of each class, read anew where the gallery has changed."""
        generation = self.gallery.manifest.generation
        if self._means is None or self._means[0] != generation:
            ids = np.asarray(self.gallery.ids(self.where), np.int64)
            names, codes = number_labels(np.array(read_labels(self.gallery, ids) if len(ids) else [], object))
            if not names:
                raise RetrievalError(f'no photo of {self.gallery.location} has a label: name some with glsim label')
            spaces = Spaces.of(self.gallery)
            means = ClassMeans.empty(len(names), sum(spaces.dimensions[one] for one in spaces.weights(self.space)))
            for start in range(0, len(ids), _ROWS_AT_ONCE):
                part = slice(start, start + _ROWS_AT_ONCE)
                means.add(self._rows(ids[part]), codes[part])
            self._means = generation, means, names
        return self._means[1:]

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        names = Spaces.of(self.gallery).weights(self.space)
        return self._weighted({name: self.gallery.vectors(ids, name) for name in names})

    def _weighted(self, rows: dict[str, np.ndarray]) -> np.ndarray:
        """Embeddings of several spaces side by side, so that scores add up as those of a search do."""
        weights = Spaces.of(self.gallery).weights(self.space)
        return np.concatenate([rows[name] * np.float32(np.sqrt(weight)) for name, weight in weights.items()], axis=1)

    def _answer(
        self,
        rows: list[int],
        names: list[str],
        found: np.ndarray,
        newest: np.ndarray | None,
        hits: Hits,
        labels: np.ndarray,
    ) -> Recognition:
        nearest = hits.ids[rows, :_NAMED_NEIGHBORS]
        neighbors = nearest[nearest >= 0].tolist()
        if not names or not found[rows].any():
            return Recognition(None, -1, (), None, [], neighbors, 0, self._verdict(0.0, True), rows)
        shares = found[rows[0]] if len(rows) == 1 else self._pooled(found[rows])
        order = np.argsort(-shares, kind='stable')
        likely = [code for code in order[:_MOST_CANDIDATES].tolist() if shares[code] > 0]
        candidates = [Candidate(names[code], float(shares[code])) for code in likely]
        best = candidates[0]
        agreeing = int((labels[rows, :_NAMED_NEIGHBORS] == best.label).sum())
        is_new = newest is not None and bool(newest[rows].mean() > self._limit())
        verdict = self._verdict(best.probability, is_new)
        probability = best.probability if self.settings.is_tuned else None
        if is_new:
            return Recognition(None, -1, (), probability, candidates, neighbors, agreeing, verdict, rows)
        level, path, likelihood = self._level(names, shares, best)
        shown = likelihood if self.settings.is_tuned else None
        return Recognition(path[-1], level, path, shown, candidates, neighbors, agreeing, verdict, rows)

    def _pooled(self, found: np.ndarray) -> np.ndarray:
        """Probabilities of several photos of one individual; classes that no neighbour is of share what is missing."""
        unseen = max(self.settings.classes - found.shape[1], 0)
        missing = (1 - found.sum(axis=1, keepdims=True)).clip(min=0) / max(unseen, 1)
        every = np.concatenate([found, np.repeat(missing, unseen, axis=1)], axis=1)
        return pool(np.log(np.maximum(every, LEAST)), self.settings.pooling)[: found.shape[1]]

    def _level(self, names: list[str], shares: np.ndarray, best: Candidate) -> tuple[int, tuple[str, ...], float]:
        """The best class, or the lowest group that is fairly sure where the class is less likely than not."""
        own = (*self.taxonomy.ancestors(best.label), best.label)
        for level in range(1, self.taxonomy.depth + 1) if best.probability < LIKELY else ():
            sums: dict[tuple[str, ...], float] = {}
            for name, share in zip(names, shares.tolist()):
                group = self.taxonomy.group(name, level)
                if group is not None:
                    sums[group] = sums.get(group, 0.0) + share
            path = max(sums, key=lambda one: sums[one], default=None)
            if path is not None and sums[path] >= FAIRLY_SURE:
                return level, path, sums[path]
        return 0, own, best.probability

    def _limit(self) -> float:
        name = self.settings.best_novelty
        return np.inf if name is None else self.settings.novelty[name].threshold

    def _verdict(self, probability: float, is_new: bool) -> str | None:
        if self._accept is None:
            return None
        return UNKNOWN if is_new else ACCEPT if probability >= self.least else LOOK
