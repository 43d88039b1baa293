"""How well a metric finds classes that it was not learned from: halves held out, and randomisation tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from .errors import RetrievalError
from .evaluation.ranking_scores import evaluate_embeddings
from .vectors import check_embeddings, unit_length
from .whitening import Whitening

LEVEL = 0.05
LEAST_CLASSES = 5  # of fewer, no result of the test is below LEVEL
SCORES = ('MAP@R', 'Recall@1')
_HALVINGS, _HALVINGS_OF_FEW, _FEW_ROWS = 3, 10, 500  # few photos tell more if they are halved more often
_ROWS_OF_CLASS, _ROWS_OF_TEST = 100, 2_000
_EXACT_CLASSES, _DRAWS = 12, 9_999


class Labeled(NamedTuple):
    """Embeddings of the model (n, d) with their classes, None for no label."""

    rows: np.ndarray
    labels: Sequence[str | None]


# A map learned from labeled embeddings, for those that are searched (m, d), and the metric that compares them.
Learn = Callable[[Labeled, np.ndarray, str], Whitening]
# Means of each class, averaged over the halves that it was held out in, by the names of scores.
ClassScores = dict[str, dict[str, float]]


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

    @classmethod
    def of(cls, before: ClassScores, after: ClassScores) -> Trial | None:
        """What scores of the same classes say; None if they are too few."""
        if len(before['MAP@R']) < LEAST_CLASSES:
            return None
        gains = {name: differences(before, after, name) for name in SCORES}
        return cls(
            classes=len(before['MAP@R']),
            before={name: mean_of(before, name) for name in SCORES},
            after={name: mean_of(after, name) for name in SCORES},
            p=sign_flip(gains['MAP@R']),
            p_loss=sign_flip(-gains['Recall@1']),
        )

    @property
    def gains(self) -> bool:
        """Whether MAP@R gains, and Recall@1 does not lose, by a test at the level of 5 %."""
        return self.after['MAP@R'] > self.before['MAP@R'] and self.p <= LEVEL and self.p_loss > LEVEL

    def describe(self) -> str:
        """A part of a sentence for people."""
        pairs = [f'{name} {100 * self.before[name]:.1f} to {100 * self.after[name]:.1f}' for name in SCORES]
        return f'{" and ".join(pairs)} % on {self.classes} classes that were held out (p = {self.p:.2g})'


def mean_of(scores: ClassScores, name: str) -> float:
    """Mean of a score over classes."""
    return float(np.mean(list(scores[name].values())))


def differences(before: ClassScores, after: ClassScores, name: str) -> np.ndarray:
    """What each class gains by a score."""
    return np.array([after[name][one] - before[name][one] for one in before[name]])


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


def prepare(labeled: Labeled, metric: str) -> Labeled:
    """Embeddings of length 1 where the metric is cosine; RetrievalError if they are not finite or lack labels."""
    rows = check_embeddings(labeled.rows)
    if len(labeled.labels) != len(rows):
        raise RetrievalError(f'there are {len(rows)} embeddings but {len(labeled.labels)} labels')
    labels = [None if one is None else str(one) for one in labeled.labels]
    return Labeled(unit_length(rows) if metric == 'cosine' else rows, labels)


def class_sizes(labels: Sequence[str | None]) -> dict[str, int]:
    """Rows of each class, in order of the names."""
    names, sizes = np.unique([one for one in labels if one is not None], return_counts=True)
    return dict(zip(map(str, names), sizes.tolist()))


def classes_of_several(labels: Sequence[str | None]) -> list[str]:
    """Classes of two rows or more, in order."""
    return [name for name, size in class_sizes(labels).items() if size > 1]


def of_classes(labeled: Labeled, classes: set[str], inside: bool = True) -> Labeled:
    """Rows with a label that is among some classes, or is not."""
    chosen = [row for row, one in enumerate(labeled.labels) if one is not None and (one in classes) == inside]
    return Labeled(labeled.rows[chosen], [labeled.labels[row] for row in chosen])


def halves(classes: Sequence[str], count: int) -> Iterator[set[str]]:
    """Random halves of classes (seed 0), each followed by the other half."""
    random = np.random.default_rng(0)
    for _ in range(count):
        order = random.permutation(len(classes))
        for part in (order[: len(classes) // 2], order[len(classes) // 2 :]):
            yield {classes[number] for number in part.tolist()}


def held_out_scores(source: Labeled, tested: Labeled, metric: str, learn: Learn | None) -> ClassScores:
    """Learn from classes of one set, and search among classes of another that were not learned from.

    Where they share classes, random halves of these are held out; which ones does not depend on ``learn``, so that
    scores of several maps can be compared class by class. None for embeddings as they are.
    """
    classes = classes_of_several(tested.labels)
    shared = set(classes) & set(classes_of_several(source.labels))
    count = _HALVINGS_OF_FEW if len(tested.rows) <= _FEW_ROWS else _HALVINGS
    parts = halves(classes, count) if shared else iter([set(classes)])
    found: dict[str, dict[str, list[float]]] = {name: {} for name in SCORES}
    for part in parts:
        rest, held = of_classes(source, part, inside=False), of_classes(tested, part)
        if len(classes_of_several(rest.labels)) < 2:
            continue
        scores = class_scores(held, None if learn is None else learn(rest, tested.rows, metric), metric)
        for name in SCORES:
            for one, value in scores[name].items():
                found[name].setdefault(one, []).append(value)
    return {name: {one: float(np.mean(values)) for one, values in found[name].items()} for name in SCORES}


def class_scores(labeled: Labeled, transform: Whitening | None, metric: str) -> ClassScores:
    """Means of each class by the names of scores, each row searched among the others, some thousand of them."""
    chosen = _some_rows(labeled.labels)
    rows, labels = labeled.rows[chosen], [labeled.labels[row] for row in chosen.tolist()]
    found = rows if transform is None else transform.apply(rows)
    report = evaluate_embeddings(found, labels, metric=metric, ks=(1,), whole_ranking=False)
    return {name: {one.name: one.metrics[name] for one in report.classes} for name in SCORES}


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
