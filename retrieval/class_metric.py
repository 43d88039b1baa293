"""Metrics learned from the labels of a gallery, kept only where classes that were held out are found better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .errors import RetrievalError
from .evaluation.gallery_evaluation import check_same_model, read_labels
from .evaluation.ranking_scores import evaluate_embeddings
from .gallery.contract import GalleryReader, GalleryWriter
from .gallery.spaces import Spaces
from .vectors import check_embeddings, unit_length
from .whitening import DEFAULT_SHRINKAGE, Whitening, within_class

SUFFIX = '-metric'  # a metric of the space 'global' is the space 'global-metric'
LEVEL = 0.05
SHRINKAGES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
LEAST_CLASSES = 5  # of fewer, no result of the test is below LEVEL
_HALVINGS, _HALVINGS_OF_FEW, _FEW_ROWS = 3, 10, 500  # few photos tell more if they are halved more often
_MOST_ROWS, _ROWS_OF_CLASS, _ROWS_OF_TEST = 50_000, 100, 2_000
_EXACT_CLASSES, _DRAWS = 12, 9_999
_SCORES = ('MAP@R', 'Recall@1')


class Labeled(NamedTuple):
    """Embeddings of the model (n, d) with their classes, None for no label."""

    rows: np.ndarray
    labels: Sequence[str | None]


@dataclass(frozen=True)
class Trial:
    """How well classes are found that the metric had not seen, as means over classes, 0 to 1.

    Example:
        >>> trial.after['MAP@R'] - trial.before['MAP@R'], trial.gains
        (0.14, True)

    Attributes:
        classes: How many classes were held out, each at least once.
        before: ``'MAP@R'`` and ``'Recall@1'`` of the embeddings as they are.
        after: The same with the metric.
        p: Chance of a gain of MAP@R as large or larger if the metric did nothing, see :func:`sign_flip`.
        p_loss: The same of a loss of Recall@1.
    """

    classes: int
    before: dict[str, float]
    after: dict[str, float]
    p: float
    p_loss: float

    @property
    def gains(self) -> bool:
        """Whether MAP@R gains, and Recall@1 does not lose, by a test at the level of 5 %."""
        return self.after['MAP@R'] > self.before['MAP@R'] and self.p <= LEVEL and self.p_loss > LEVEL

    def describe(self) -> str:
        """A part of a sentence for people."""
        pairs = [f'{name} {100 * self.before[name]:.1f} to {100 * self.after[name]:.1f}' for name in _SCORES]
        return f'{" and ".join(pairs)} % on {self.classes} classes that were held out (p = {self.p:.2g})'


@dataclass
class LearnedMetric:
    """A metric, what it was learned from, and whether it is any good.

    Example:
        >>> print(fit_metric(gallery).describe())

    Attributes:
        space: The space that it compares, named like its source with ``-metric``.
        transform: From embeddings of the source.
        rows: How many rows it was learned from.
        classes: Of how many classes they are.
        unlabeled: Rows that were left out because they have no label.
        lone: Classes that were left out because they have one row.
        shrinkage: See :func:`retrieval.whitening.within_class`.
        trial: What held-out classes say; None if there are too few.
        foreign: Whether the gallery has too few labels of its own, and classes of the other gallery were held out.
        kept: Whether the gallery has it.
    """

    space: str
    transform: Whitening
    rows: int
    classes: int
    unlabeled: int
    lone: int
    shrinkage: float
    trial: Trial | None
    foreign: bool = False
    kept: bool = False
    learned_from: str = ''

    @property
    def gains(self) -> bool:
        """Whether held-out classes gain."""
        return self.trial is not None and self.trial.gains

    def notes(self) -> dict[str, Any]:
        """What the metric carries along."""
        names = ('rows', 'classes', 'unlabeled', 'lone', 'shrinkage', 'foreign', 'learned_from')
        trial = None if self.trial is None else asdict(self.trial)
        return {**{name: getattr(self, name) for name in names}, 'trial': trial}

    def describe(self) -> str:
        """Sentences for people: what it was learned from, what held-out classes say, and what became of it."""
        lines = [describe_notes(self.space, self.notes())]
        if self.kept:
            forced = '' if self.gains else ', because you insist'
            lines.append(f'It is kept as the space {self.space}{forced}, which searches compare by default.')
        elif self.trial is None:
            lines.append(f'It is not kept, because testing it takes {LEAST_CLASSES} classes or more; --force keeps it.')
        elif self.gains:
            lines.append('It is worth keeping.')
        else:
            lines.append('It is not kept, because held-out classes do not gain for certain; --force keeps it.')
        return '\n'.join(lines)


def describe_notes(space: str, notes: dict[str, Any]) -> str:
    """Sentences about a metric that a gallery has, by what it carries along."""
    if not notes:
        return f'{space}: nothing is known of how it was learned.'
    origin = f' of {notes["learned_from"]}' if notes['learned_from'] else ''
    left = [
        *([f'{notes["unlabeled"]} rows without a label'] if notes['unlabeled'] else []),
        *([f'{notes["lone"]} classes of one row'] if notes['lone'] else []),
    ]
    lines = [
        f'{space}: learned from {notes["rows"]} rows of {notes["classes"]} classes{origin}, shrinkage '
        f'{notes["shrinkage"]:g}' + (f'; {" and ".join(left)} left out.' if left else '.')
    ]
    if notes['trial']:
        lines.append(f'{Trial(**notes["trial"]).describe()}.')
    if notes['foreign']:
        lines.append('These are classes of the gallery it was learned from: this one has too few labels for a test.')
    return '\n'.join(lines)


def fit_metric(
    gallery: GalleryWriter,
    space: str | None = None,
    *,
    labels_from: GalleryReader | None = None,
    force: bool = False,
) -> LearnedMetric:
    """Learn a metric from stored embeddings and labels, and keep it as a space of the gallery if it helps.

    No model is needed. Rows without a label and classes of one row are left out; of more than 50,000 rows a random
    sample (seed 0) is used. A metric that was learned before is replaced.

    Args:
        gallery: In a folder.
        space: Whose embeddings to compare; None for the first that the model gives.
        labels_from: Gallery of the same model from whose labels to learn; None for the gallery itself.
        force: Keep it whatever held-out classes say.

    Raises:
        RetrievalError: If the gallery takes no new space, there are too few labels, or models differ.
    """
    if gallery.fixed_spaces:
        raise RetrievalError(gallery.fixed_spaces)
    spaces = Spaces.of(gallery)
    source = spaces.source(spaces.space(space))
    own = read_labeled(gallery, source)
    other = None
    if labels_from is not None:
        check_same_model(gallery, labels_from)
        check_same_space(gallery, labels_from, source)
        other = read_labeled(labels_from, source)
    name = '' if labels_from is None else labels_from.location
    found = learn_metric(own, source, learn_from=other, metric=spaces.metric, location=name)
    if found.gains or force:
        gallery.put_space(found.space, found.transform)
        found.kept = True
    return found


def describe_metrics(gallery: GalleryReader) -> str:
    """Sentences about the metrics that a gallery has learned."""
    learned = {space: one for space, one in gallery.transforms.items() if one.source}
    lines = [
        f'{describe_notes(space, one.notes)}\nfingerprint {one.fingerprint[:12]}' for space, one in learned.items()
    ]
    return '\n'.join(lines) or f'{gallery.location} has no learned metric: learn one with glsim metric fit'


def remove_metric(gallery: GalleryWriter, space: str | None = None) -> str:
    """Remove the metric of a space, by the name of either; None for the only one. Returns the name of what is gone."""
    if gallery.fixed_spaces:
        raise RetrievalError(gallery.fixed_spaces)
    learned = {name: one.source for name, one in gallery.transforms.items() if one.source}
    found = [name for name, source in learned.items() if space in (None, name, source)]
    if len(found) != 1:
        raise RetrievalError(
            f'{gallery.location} has {"several metrics" if found else "no such metric"}: name the space of one of '
            f'{", ".join(learned)}'
            if learned
            else f'{gallery.location} has no learned metric'
        )
    gallery.remove_space(found[0])
    return found[0]


def read_labeled(gallery: GalleryReader, space: str) -> Labeled:
    """Stored embeddings of a space with their labels; of many rows, a random sample (seed 0)."""
    ids = gallery.ids()
    if not len(ids):
        raise RetrievalError(f'{gallery.location} is empty: add photos with labels')
    ids = sample_rows(ids)
    return Labeled(gallery.vectors(ids, space), read_labels(gallery, ids))


def sample_rows(ids: np.ndarray) -> np.ndarray:
    """Ids, or as many of them as a metric is learned from (seed 0), ascending."""
    return ids if len(ids) <= _MOST_ROWS else np.sort(np.random.default_rng(0).choice(ids, _MOST_ROWS, replace=False))


def check_same_space(gallery: GalleryReader, other: GalleryReader, space: str) -> None:
    """Refuse (RetrievalError) another gallery that has not the embeddings of a space in the same form."""
    spaces = Spaces.of(other)
    spaces.space(space)
    prints = [one.transforms[space].fingerprint if space in one.transforms else '' for one in (gallery, other)]
    if prints[0] != prints[1] or gallery.manifest.metric != spaces.metric:
        raise RetrievalError(f'{other.location} keeps {space} in another form than {gallery.location}: build it again')


def learn_metric(
    searched: Labeled,
    space: str,
    *,
    learn_from: Labeled | None = None,
    metric: str = 'cosine',
    location: str = '',
) -> LearnedMetric:
    """Learn a metric, choose its shrinkage and test it, all by leaving out classes.

    Args:
        searched: Embeddings among which to search, whose mean is taken away. Labels may all be None with
            ``learn_from``.
        space: Their name.
        learn_from: Embeddings with the labels to learn from; None for those that are searched.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``, by which embeddings are compared.
        location: Gallery of ``learn_from``, for people.

    Raises:
        RetrievalError: If fewer than two classes have two rows, or an embedding is not finite.
    """
    own = _prepare(searched, metric)
    source = own if learn_from is None else _prepare(learn_from, metric)
    mean = own.rows.mean(axis=0, dtype=np.float64)
    sizes = _sizes(source.labels)
    shrinkage = _choose_shrinkage(source, metric)
    transform = within_class(source.rows, source.labels).whitening(shrinkage, mean, metric == 'cosine')
    foreign = learn_from is not None and len(_several(own.labels)) < LEAST_CLASSES
    tested = source if foreign else own
    found = LearnedMetric(
        space + SUFFIX,
        transform,
        rows=sum(size for size in sizes.values() if size > 1),
        classes=sum(size > 1 for size in sizes.values()),
        unlabeled=sum(one is None for one in source.labels),
        lone=sum(size == 1 for size in sizes.values()),
        shrinkage=shrinkage,
        trial=_try(source, tested, metric),
        foreign=foreign,
        learned_from=location,
    )
    transform.source, transform.notes = space, found.notes()
    return found


def sign_flip(differences: np.ndarray) -> float:
    """Chance of a mean of differences as large or larger if the sign of each were chance: Fisher's randomisation test.

    It is recommended for comparing searches by Smucker, Allan and Carterette (CIKM 2007). Of up to 12 differences all
    signs are tried; of more, 9,999 random ones (seed 0), counted as Phipson and Smyth (arXiv 1603.05766) do.
    """
    count = len(differences)
    if count <= _EXACT_CLASSES:
        signs = np.array(list(product((1, -1), repeat=count)), np.float64)
        extra = 0
    else:
        signs = np.random.default_rng(0).choice((1.0, -1.0), (_DRAWS, count))
        extra = 1
    reached = int((signs @ differences >= differences.sum() - 1e-12).sum())
    return (reached + extra) / (len(signs) + extra)


def _prepare(labeled: Labeled, metric: str) -> Labeled:
    rows = check_embeddings(labeled.rows)
    if len(labeled.labels) != len(rows):
        raise RetrievalError(f'there are {len(rows)} embeddings but {len(labeled.labels)} labels')
    labels = [None if one is None else str(one) for one in labeled.labels]
    return Labeled(unit_length(rows) if metric == 'cosine' else rows, labels)


def _sizes(labels: Sequence[str | None]) -> dict[str, int]:
    names, sizes = np.unique([one for one in labels if one is not None], return_counts=True)
    return dict(zip(map(str, names), sizes.tolist()))


def _several(labels: Sequence[str | None]) -> list[str]:
    """Classes of two rows or more, in order."""
    return [name for name, size in _sizes(labels).items() if size > 1]


def _of_classes(labeled: Labeled, classes: set[str], inside: bool = True) -> Labeled:
    chosen = [row for row, one in enumerate(labeled.labels) if one is not None and (one in classes) == inside]
    return Labeled(labeled.rows[chosen], [labeled.labels[row] for row in chosen])


def _halves(classes: Sequence[str], count: int) -> Iterator[set[str]]:
    """Random halves of classes (seed 0), each followed by the other half."""
    random = np.random.default_rng(0)
    for _ in range(count):
        order = random.permutation(len(classes))
        for part in (order[: len(classes) // 2], order[len(classes) // 2 :]):
            yield {classes[number] for number in part.tolist()}


def _choose_shrinkage(labeled: Labeled, metric: str) -> float:
    """The shrinkage with which one half of the classes, and then the other, is found best by a metric of the rest."""
    classes = _several(labeled.labels)
    if len(classes) < 4:
        return DEFAULT_SHRINKAGE
    scores = np.zeros(len(SHRINKAGES))
    for half in _halves(classes, 1):
        rest, held = _of_classes(labeled, half, inside=False), _of_classes(labeled, half)
        learned = within_class(rest.rows, rest.labels)
        for number, shrinkage in enumerate(SHRINKAGES):
            transform = learned.whitening(shrinkage, held.rows.mean(axis=0, dtype=np.float64), metric == 'cosine')
            scores[number] += np.mean(list(_class_scores(held, transform, metric)['MAP@R'].values()))
    return SHRINKAGES[int(np.argmax(scores))]


def _try(source: Labeled, tested: Labeled, metric: str) -> Trial | None:
    """Learn from classes of one set, and search among classes of another that were not learned from."""
    classes = _several(tested.labels)
    if len(classes) < LEAST_CLASSES:
        return None
    shared = set(classes) & set(_several(source.labels))
    count = _HALVINGS_OF_FEW if len(tested.rows) <= _FEW_ROWS else _HALVINGS
    parts = _halves(classes, count) if shared else iter([set(classes)])
    mean = tested.rows.mean(axis=0, dtype=np.float64)
    found: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in _SCORES}
    for part in parts:
        rest, held = _of_classes(source, part, inside=False), _of_classes(tested, part)
        if len(_several(rest.labels)) < 2:
            continue
        learned = within_class(rest.rows, rest.labels)
        transform = learned.whitening(_choose_shrinkage(rest, metric), mean, metric == 'cosine')
        before, after = _class_scores(held, None, metric), _class_scores(held, transform, metric)
        for name, one in product(_SCORES, before['MAP@R']):
            found[name].setdefault(one, []).append((before[name][one], after[name][one]))
    if len(found['MAP@R']) < LEAST_CLASSES:
        return None
    pairs = {name: np.array([np.mean(both, axis=0) for both in found[name].values()]) for name in _SCORES}
    gains = {name: values[:, 1] - values[:, 0] for name, values in pairs.items()}
    return Trial(
        classes=len(pairs['MAP@R']),
        before={name: float(values[:, 0].mean()) for name, values in pairs.items()},
        after={name: float(values[:, 1].mean()) for name, values in pairs.items()},
        p=sign_flip(gains['MAP@R']),
        p_loss=sign_flip(-gains['Recall@1']),
    )


def _class_scores(labeled: Labeled, transform: Whitening | None, metric: str) -> dict[str, dict[str, float]]:
    """Means of each class by the names of scores, each row searched among the others, some thousand of them."""
    chosen = _some_rows(labeled.labels)
    rows, labels = labeled.rows[chosen], [labeled.labels[row] for row in chosen.tolist()]
    found = rows if transform is None else transform.apply(rows)
    report = evaluate_embeddings(found, labels, metric=metric, ks=(1,), whole_ranking=False)
    return {name: {one.name: one.metrics[name] for one in report.classes} for name in _SCORES}


def _some_rows(labels: Sequence[str | None]) -> np.ndarray:
    """Rows for a test: up to 100 of a class, of random classes (seed 0) as long as they are at most 2,000."""
    random = np.random.default_rng(0)
    classes: dict[str | None, list[int]] = {}
    for row, label in enumerate(labels):
        classes.setdefault(label, []).append(row)
    names = sorted(map(str, classes))
    chosen: list[int] = []
    for number in random.permutation(len(names)).tolist():
        rows = classes[names[number]]
        if len(rows) > _ROWS_OF_CLASS:
            rows = random.choice(rows, _ROWS_OF_CLASS, replace=False).tolist()
        if chosen and len(chosen) + len(rows) > _ROWS_OF_TEST:
            break
        chosen += rows
    return np.sort(np.array(chosen, np.int64))
