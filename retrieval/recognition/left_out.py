"""A gallery asked for its own photos, each left out in turn, in metrics that were learned without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..adapter import fit_adapter
from ..errors import RetrievalError
from ..evaluation.gallery_evaluation import read_labels
from ..gallery.contract import GalleryReader, Space
from ..gallery.spaces import Spaces
from ..vectors import unit_length
from ..whitening import Whitening, add_views, within_class
from .class_means import ClassMeans
from .vote import similarities

Progress = Callable[[int, int], object]
"""Told now and then how many photos have been looked at, and how many there are; what it raises ends the work."""

OBSERVATION = 'observation'  # column: photos of one individual, at one time
MOST_ROWS, MOST_QUERIES = 200_000, 4_000
DEPTH = 100
_LEAST_QUERIES = 500
_NUMBERS = 20_000_000  # of a table that is kept in memory
_FOLDS, _FOLDS_OF_ADAPTERS = 10, 3


class Evidence(NamedTuple):
    """What a gallery holds, read once.

    Attributes:
        sources: Embeddings (n, d) behind each space that is compared, its weight, and the map that was learned from
            these very labels, or None.
        codes: int64, (n,), class of each row; -1 for none.
        observations: int64, (n,); a row without a value is an observation of its own.
        names: Classes.
        metric: By which embeddings are compared.
        ids: int64, (n,), of the rows in the gallery.
    """

    sources: list[tuple[np.ndarray, float, Whitening | None]]
    codes: np.ndarray
    observations: np.ndarray
    names: list[str]
    metric: str
    ids: np.ndarray

    @property
    def learned(self) -> bool:
        """Whether a map that is compared has seen the labels of these rows."""
        return any(one is not None for _, _, one in self.sources)

    @property
    def given(self) -> np.ndarray:
        """All rows as the model gives them, float32 (n, d), without what was learned from labels."""
        parts = [
            (unit_length(rows) if self.metric == 'cosine' and len(rows) else rows) * np.float32(np.sqrt(weight))
            for rows, weight, _ in self.sources
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def compared(self, learn_from: np.ndarray) -> np.ndarray:
        """All rows as they are compared, float32 (n, d), where maps are learned from some of them, bool (n,)."""
        parts = []
        for rows, weight, transform in self.sources:
            own = rows if transform is None else self._learn(rows, learn_from, transform)
            parts.append(own if weight == 1 else own * np.float32(np.sqrt(weight)))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _learn(self, rows: np.ndarray, learn_from: np.ndarray, transform: Whitening) -> np.ndarray:
        labels = [self.names[code] if code >= 0 else None for code in self.codes[learn_from].tolist()]
        shown = unit_length(rows) if transform.normalize else rows
        if transform.residual is not None:
            residual = fit_adapter(shown[learn_from], labels)
            shown = residual.apply(shown)
        learned = within_class(shown[learn_from], labels)
        mean = shown[learn_from].mean(axis=0, dtype=np.float64)
        found = learned.whitening(float(transform.notes['shrinkage']), mean, normalize=False).apply(shown)
        return unit_length(found) if self.metric == 'cosine' else found


def read_evidence(gallery: GalleryReader, space: Space = None, where: Any = None) -> Evidence:
    """What :func:`gather` finds in a gallery of two classes or more; RetrievalError if it has fewer."""
    evidence = gather(gallery, space, where)
    if not evidence.names:
        raise RetrievalError(f'no photo of {gallery.location} has a label: name some with glsim label')
    if len(evidence.names) < 2:
        raise RetrievalError(
            f'all photos of {gallery.location} are of one class, {evidence.names[0]}: add photos of another'
        )
    return evidence


def gather(gallery: GalleryReader, space: Space = None, where: Any = None) -> Evidence:
    """Embeddings, classes and observations of a gallery; of more than 200,000 rows a random sample (seed 0)."""
    ids = np.asarray(gallery.ids(where), np.int64)
    if len(ids) > MOST_ROWS:
        ids = np.sort(np.random.default_rng(0).choice(ids, MOST_ROWS, replace=False))
    labels = read_labels(gallery, ids)
    names = sorted({one for one in labels if one is not None})
    numbers = {name: number for number, name in enumerate(names)}
    codes = np.array([-1 if one is None else numbers[one] for one in labels], np.int64)
    observations = _read_observations(gallery, ids)
    spaces = Spaces.of(gallery)
    sources = [_source(gallery, spaces, ids, name, weight) for name, weight in spaces.weights(space).items()]
    return Evidence(sources, codes, observations, names, spaces.metric, ids)


def _read_observations(gallery: GalleryReader, ids: np.ndarray) -> np.ndarray:
    if OBSERVATION not in gallery.columns():
        return np.arange(len(ids))
    values = read_labels(gallery, ids, OBSERVATION)
    known: dict[str, int] = {}
    return np.array(
        [len(ids) + row if one is None else known.setdefault(one, len(known)) for row, one in enumerate(values)]
    )


def _source(
    gallery: GalleryReader, spaces: Spaces, ids: np.ndarray, name: str, weight: float
) -> tuple[np.ndarray, float, Whitening | None]:
    transform = spaces.transforms.get(name)
    if transform is None or transform.notes.get('shrinkage') is None or transform.notes.get('learned_from'):
        return gallery.vectors(ids, name), weight, None
    return add_views([gallery.vectors(ids, one) for one in spaces.sources(name)]), weight, transform


class Answers(NamedTuple):
    """What the rest of the gallery says about some of its photos.

    Attributes:
        rows: int64, (q,), the photos.
        alike: float32, (q, k), similarities of the nearest rows of other observations, the largest first; -inf: none.
        classes: int64, (q, k), their classes; -1 for none.
        distances: By shrinkage, float32 (q, c): squared distances to class means that the photo's observation is no
            part of; +inf for a class that has nothing else.
    """

    rows: np.ndarray
    alike: np.ndarray
    classes: np.ndarray
    distances: dict[float, np.ndarray]

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """Several as one."""
        keys = parts[0].distances
        return cls(
            np.concatenate([one.rows for one in parts]),
            np.concatenate([one.alike for one in parts]),
            np.concatenate([one.classes for one in parts]),
            {key: np.concatenate([one.distances[key] for one in parts]) for key in keys},
        )


def count_alone(evidence: Evidence) -> int:
    """Photos with a label of whose class there is no other observation, so that they cannot be left out."""
    return int((evidence.codes >= 0).sum() - able_to_be_left_out(evidence).sum())


def able_to_be_left_out(evidence: Evidence) -> np.ndarray:
    """Which photos have a label and a class that has another observation, bool (n,)."""
    pairs = np.unique(np.stack([evidence.codes, evidence.observations]), axis=1)
    seen = np.bincount(pairs[0][pairs[0] >= 0], minlength=max(len(evidence.names), 1))
    return (evidence.codes >= 0) & (seen[evidence.codes] > 1)


def choose_queries(evidence: Evidence, classes: Sequence[int] | None = None) -> np.ndarray:
    """Photos to leave out, int64: those of some classes, or of all, of whose class another observation is there.

    Of many, 4,000 at random (seed 0), fewer where there are thousands of classes; observations are drawn whole.
    RetrievalError if there are none.
    """
    wanted = able_to_be_left_out(evidence)
    able = np.flatnonzero(wanted if classes is None else wanted & np.isin(evidence.codes, classes))
    if not len(able):
        raise RetrievalError('no class has photos of two observations, so that none can be left out: add photos')
    order = np.random.default_rng(0).permutation(evidence.observations.max() + 1)
    shuffled = able[np.argsort(order[evidence.observations[able]], kind='stable')]
    return np.sort(shuffled[: max(_LEAST_QUERIES, min(MOST_QUERIES, _NUMBERS // len(evidence.names)))])


def leave_out(
    evidence: Evidence, queries: np.ndarray, shrinkages: Sequence[float], progress: Progress | None = None
) -> Answers:
    """Answers of the gallery about its own photos, at least one, each without its observation.

    Where a metric has been learned from the gallery's labels, one is learned anew for each tenth of the observations
    from the others, with the shrinkage of the gallery's: it knows the photos that it was learned from too well.
    """
    return Answers.joined(list(leave_out_in_parts(evidence, queries, shrinkages, progress=progress)))


def leave_out_in_parts(
    evidence: Evidence,
    queries: np.ndarray,
    shrinkages: Sequence[float],
    few: bool = False,
    progress: Progress | None = None,
) -> Iterator[Answers]:
    """Answers as :func:`leave_out` gives them, some at a time and in another order, where all would not fit.

    Of a ``few`` queries, a learned metric is learned for each half, without that half alone, instead of for each tenth
    of all observations, most of which would be left out for nothing.
    """
    done = 0
    if progress is not None:
        progress(done, len(queries))
    for part in _left_out(evidence, queries, shrinkages, few):
        done += len(part.rows)
        if progress is not None:
            progress(done, len(queries))
        yield part


def _left_out(evidence: Evidence, queries: np.ndarray, shrinkages: Sequence[float], few: bool) -> Iterator[Answers]:
    everything = np.ones(len(evidence.codes), bool)
    if not evidence.learned:
        yield from _answers_in_parts(evidence, evidence.compared(everything), queries, everything, shrinkages)
        return
    has_adapter = any(one is not None and one.residual is not None for _, _, one in evidence.sources)
    count = 2 if few else _FOLDS_OF_ADAPTERS if has_adapter else _FOLDS
    folds = np.random.default_rng(1).integers(count, size=evidence.observations.max() + 1)[evidence.observations]
    left_out = np.isin(evidence.observations, evidence.observations[queries]) if few else everything
    for fold in range(count):
        own = queries[folds[queries] == fold]
        if len(own):
            rows = evidence.compared(_able_to_teach(evidence, ~left_out | (folds != fold)))
            yield from _answers_in_parts(evidence, rows, own, everything, shrinkages)


def _able_to_teach(evidence: Evidence, wanted: np.ndarray) -> np.ndarray:
    """Rows to learn a metric from; all, where those wanted have not two classes of two rows."""
    sizes = np.bincount(evidence.codes[wanted & (evidence.codes >= 0)], minlength=2)
    return wanted if (sizes > 1).sum() > 1 else np.ones(len(wanted), bool)


def answers_about(
    evidence: Evidence, rows: np.ndarray, queries: np.ndarray, searched: np.ndarray, shrinkages: Sequence[float]
) -> Answers:
    """Answers of rows that are searched, bool (n,), about some rows; ``rows`` are all as they are compared."""
    return Answers.joined(list(_answers_in_parts(evidence, rows, queries, searched, shrinkages)))


def _answers_in_parts(
    evidence: Evidence, rows: np.ndarray, queries: np.ndarray, searched: np.ndarray, shrinkages: Sequence[float]
) -> Iterator[Answers]:
    codes, observations = evidence.codes, evidence.observations
    places = np.flatnonzero(searched)
    means = ClassMeans.of(rows[places], codes[places], len(evidence.names))
    members = _members(observations, searched, codes)
    depth = min(DEPTH, len(places))
    for block in _blocks(queries, len(places)):
        scores = pair_scores(rows[block], rows[places], evidence.metric)
        alike = similarities(scores, evidence.metric).astype(np.float32)
        alike[observations[places][None] == observations[block][:, None]] = -np.inf
        nearest = np.argpartition(-alike, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(alike, nearest, axis=1), axis=1, kind='stable')
        nearest = np.take_along_axis(nearest, order, axis=1)
        alike = np.take_along_axis(alike, nearest, axis=1)
        classes = np.where(np.isfinite(alike), codes[places][nearest], -1)
        own = [members.get(one) for one in observations[block].tolist()]
        without = [None if one is None else (codes[one], rows[one]) for one in own]
        distances = {one: means.distances(rows[block], one, without).astype(np.float32) for one in shrinkages}
        yield Answers(block, alike, classes, distances)


def _members(observations: np.ndarray, searched: np.ndarray, codes: np.ndarray) -> dict[int, np.ndarray]:
    """Labelled rows of each observation that are searched."""
    rows = np.flatnonzero(searched & (codes >= 0))
    order = rows[np.argsort(observations[rows], kind='stable')]
    starts = np.flatnonzero(np.diff(observations[order], prepend=-1))
    return {int(observations[part[0]]): part for part in np.split(order, starts[1:]) if len(part)}


def _blocks(queries: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Some queries at a time, so that their scores of ``count`` rows fit into memory."""
    size = max(1, _NUMBERS // 4 // max(count, 1))
    for start in range(0, len(queries), size):
        yield queries[start : start + size]


def pair_scores(queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """Inner products, or squared distances for l2, (m, n)."""
    products = queries @ rows.T
    if metric != 'l2':
        return products
    squares = np.square(queries).sum(axis=1)[:, None] + np.square(rows).sum(axis=1)
    return (squares - 2 * products).clip(min=0)
