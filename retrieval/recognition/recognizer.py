"""The class of an image by its nearest neighbours in a gallery or by means of classes, its group, or 'unknown'."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import RetrievalError
from ..evaluation.gallery_evaluation import read_labels
from ..gallery.conditions import Condition, read_conditions
from ..gallery.contract import Embeddings, GalleryReader, Space
from ..gallery.spaces import Spaces
from ..hits import Hits
from ..records import Ids
from .class_means import ClassMeans, ClassRows, softmax_of_distances
from .class_names import ClassIndex, find_listed
from .places import Taken
from .prior import ClassPrior, Context, Prior, choose_prior
from .settings import PriorSettings, Settings, read_settings
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
class PriorEffect:
    """What place and month changed in an answer.

    Example:
        >>> recognition.prior.without[0]  # the best class of the photo alone

    Attributes:
        used: What was used: ``'place and month'``, ``'place'`` or ``'month'``; '' for nothing.
        reason: Why nothing was used, in words, else ''.
        cell, month: Those of the first photo for which something was used.
        without: The most probable classes of the photo alone, as in ``candidates``.
    """

    used: str
    reason: str
    cell: str | None
    month: int | None
    without: list[Candidate]


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
        prior: What place and month changed; None where no counts are used.
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
    prior: PriorEffect | None = None


class Recognizer:
    """Recognises classes of a gallery without training: add photos of a class to the gallery, and it is known.

    How it does is chosen by :func:`retrieval.recognition.tune` and kept in the gallery: by a vote of the nearest
    photos (:func:`knn_vote`), or by the nearest of the means of classes. Where the best class is less likely than not,
    and a group of the taxonomy is fairly sure, the answer is the group. Where the gallery can tell unknown classes, a
    photo that is unlike 95 % of its own is unknown. Counts of classes by place and month (:class:`Prior`) change the
    probabilities by Bayes' rule, of photos whose place or date is known; they do not decide what is unknown.

    Example:
        >>> recognizer = Recognizer(open_gallery('gallery'))
        >>> [answer.label or 'unknown' for answer in recognizer.recognize(embeddings)]

    Args:
        gallery: A gallery whose rows have labels.
        settings: How to recognise; None for those of the gallery, or the defaults if it was never tuned. ``note`` has a
            line for each thing that is missing or out of date, and is '' if nothing is.
        taxonomy: Groups above the classes.
        space: Embeddings to compare, as in the gallery's ``search``.
        where: Filter; only rows that pass it count.
        accept: Share of accepted answers that shall be right, 0 to below 1: an answer has a verdict then. None for no
            verdicts.
        prior: Counts by place and month. An instance serves any number of recognisers.
        only: Names of the classes that can be the answer (:meth:`ClassIndex.find`), a checklist; None for all.

    Raises:
        RetrievalError: If verdicts are asked of a gallery that is not tuned, or not with the prior; or if the counts or
            the checklist have no class of the gallery.
    """

    def __init__(
        self,
        gallery: GalleryReader,
        settings: Settings | None = None,
        taxonomy: Taxonomy | None = None,
        space: Space = None,
        where: Any = None,
        accept: float | None = None,
        prior: Prior | None = None,
        only: Iterable[str] | None = None,
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
        self._listed = None if only is None else self._read_list(only)
        self.prior_settings, self.least_with_prior = PriorSettings(weight=0.0), np.inf
        self._prior = prior
        self._by_classes: tuple[int, ClassPrior] | None = None
        if prior is not None:
            self.prior_settings, note = choose_prior(self.settings, prior, accept is not None)
            self._add_note(note)
            self._add_note(self._read_prior(prior).note)
            if accept is not None:
                self.least_with_prior, _ = accepting(self.prior_settings, accept)

    def _read_list(self, only: Iterable[str]) -> list[str]:
        """Labels of the classes that can be the answer; rows of others do not count."""
        listed, note = find_listed(ClassIndex(self.gallery, self.where), only, 'the checklist')
        self.where = [*read_conditions(self.where), Condition('label', 'in', listed)]
        self._add_note(note)
        return listed

    def _add_note(self, note: str) -> None:
        self.note = '\n'.join(filter(None, (self.note, note)))

    def _read_prior(self, prior: Prior) -> ClassPrior:
        """Counts of the classes of the gallery, read anew where it has changed."""
        generation = self.gallery.manifest.generation
        if self._by_classes is None or self._by_classes[0] != generation:
            self._by_classes = generation, ClassPrior(prior, ClassIndex(self.gallery, self.where))
        return self._by_classes[1]

    def recognize(
        self,
        queries: Embeddings,
        exclude: Sequence[Ids] | None = None,
        together: Sequence[Hashable] | None = None,
        taken: Sequence[Taken | None] | None = None,
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
            taken: For each, where and when it was taken, for the prior; None where that is not known.
            transformed: Whether embeddings are as the gallery stores them, as in its ``search``.

        Returns:
            In the order of the queries, or of the first photo of each individual.
        """
        how = dict(space=self.space, where=self.where, exclude=exclude, transformed=transformed)
        hits = self.gallery.search(queries, self.settings.k, **how)
        labels = self.labels(hits.ids)
        distances, known = self._distances(queries, exclude, transformed)
        alike = similarities(hits.scores, self.gallery.manifest.metric)
        prior = self._read_prior(self._prior) if self._prior is not None and self.prior_settings.weight else None
        if self.settings.rule == 'means':
            names, shares = known, softmax_of_distances(distances, self.settings.mean_temperature)
        else:
            names, shares = self._vote(alike, labels, None if prior is None else prior.labels)
        contexts = [] if prior is None else [prior.context(one) for one in taken or [None] * len(labels)]
        found = _Found(names, shares, self._novelty(alike, labels, distances), hits, labels, prior, contexts)
        groups: dict[Hashable, list[int]] = {}
        for row in range(len(hits.ids)):
            groups.setdefault(row if together is None else together[row], []).append(row)
        return [self._answer(rows, found) for rows in groups.values()]

    def labels(self, ids: np.ndarray) -> np.ndarray:
        """Labels of rows of the gallery by their ids, of any shape; None for an id of -1 and for a row without one."""
        numbers, places = np.unique(ids, return_inverse=True)
        names = np.full(len(numbers), None, object)
        found = numbers >= 0
        if found.any():
            names[found] = [record.label for record in self.gallery.records(numbers[found])]
        return names[places].reshape(ids.shape)

    def _vote(self, alike: np.ndarray, labels: np.ndarray, every: Sequence[str] | None) -> tuple[list[str], np.ndarray]:
        """Classes among the neighbours of all queries, or ``every`` one, and their probabilities (m, c)."""
        names, codes = number_labels(labels, every)
        votes = knn_vote(alike, codes, self.settings.temperature, self.settings.cap)
        shares = np.zeros((len(labels), len(names) + 1))
        np.put_along_axis(shares, votes.codes, votes.shares, axis=1)  # a code of -1 is the column at the end
        count = self._count_classes(len(names))
        found = to_probabilities(shares[:, :-1], self.settings.rest, self.settings.sharpness, count)
        return names, np.where(shares[:, :-1].any(axis=1, keepdims=True), found, 0.0)

    def _count_classes(self, shown: int) -> int:
        """How many classes can be the answer, of which so many are shown."""
        return max(self.settings.classes if self._listed is None else len(self._listed), shown)

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

    def _answer(self, rows: list[int], found: _Found) -> Recognition:
        nearest = found.hits.ids[rows, :_NAMED_NEIGHBORS]
        neighbors = nearest[nearest >= 0].tolist()
        if not found.names or not found.shares[rows].any():
            return Recognition(None, -1, (), None, [], neighbors, 0, self._verdict(0.0, True), rows)
        shares = found.shares[rows[0]] if len(rows) == 1 else self._pooled(found.shares[rows])
        effect = None
        if found.prior is not None:
            contexts = [found.contexts[row] for row in rows]
            effect = _effect(contexts, _candidates(found.names, shares))
            shares = found.prior.apply(shares, contexts, self.prior_settings)
        candidates = _candidates(found.names, shares)
        best = candidates[0]
        agreeing = int((found.labels[rows, :_NAMED_NEIGHBORS] == best.label).sum())
        is_new = found.novelty is not None and bool(found.novelty[rows].mean() > self._limit())
        verdict = self._verdict(best.probability, is_new, effect)
        level, path, likelihood = (-1, (), best.probability) if is_new else self._level(found.names, shares, best)
        return Recognition(
            None if is_new else path[-1],
            level,
            path,
            likelihood if self.settings.is_tuned else None,
            candidates,
            neighbors,
            agreeing,
            verdict,
            rows,
            effect,
        )

    def _pooled(self, found: np.ndarray) -> np.ndarray:
        """Probabilities of several photos of one individual; classes that no neighbour is of share what is missing."""
        unseen = self._count_classes(found.shape[1]) - found.shape[1]
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

    def _verdict(self, probability: float, is_new: bool, effect: PriorEffect | None = None) -> str | None:
        if self._accept is None:
            return None
        least = self.least_with_prior if effect is not None and effect.used else self.least
        return UNKNOWN if is_new else ACCEPT if probability >= least else LOOK


class _Found(NamedTuple):
    """What a search found of all queries."""

    names: list[str]
    shares: np.ndarray  # (m, c)
    novelty: np.ndarray | None
    hits: Hits
    labels: np.ndarray
    prior: ClassPrior | None
    contexts: list[Context]


def _candidates(names: list[str], shares: np.ndarray) -> list[Candidate]:
    order = np.argsort(-shares, kind='stable')
    likely = [code for code in order[:_MOST_CANDIDATES].tolist() if shares[code] > 0]
    return [Candidate(names[code], float(shares[code])) for code in likely]


def _effect(contexts: list[Context], without: list[Candidate]) -> PriorEffect:
    first = next((one for one in contexts if not one.reason), contexts[0])
    return PriorEffect(first.used, first.reason, first.cell, first.month, without)
