"""What the rest of a gallery says each of its photos is: a second opinion on every label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..gallery.contract import GalleryReader, Space
from .left_out import Evidence, Progress, choose_queries, leave_out, leave_out_in_parts
from .settings import RULES, Settings, read_settings
from .tuning import LEAST, SHRINKAGES, best_means, best_vote, log_loss, probabilities

LISTED = 6  # classes of each photo
NEAREST = 10  # neighbours that are counted
_TIMES = 9
_LIKELY = 0.75  # whatever is usual: of classes that are always recognised, half the photos are below the mean


class Opinions(NamedTuple):
    """What a gallery says of some of its photos, each left out with its observation.

    Attributes:
        rows: int64, (q,), places of the photos in the evidence.
        classes: int64, (q, 6), the likeliest classes, the likeliest first; -1 where there are fewer.
        shares: float64, (q, 6), their probabilities, 0 to 1.
        own: float64, (q,), probability of the class that the photo has been given; NaN where it has none.
        nearest: int64, (q, 10), classes of the nearest photos, the nearest first; -1 for none.
    """

    rows: np.ndarray
    classes: np.ndarray
    shares: np.ndarray
    own: np.ndarray
    nearest: np.ndarray

    def of_rows(self, chosen: np.ndarray) -> Opinions:
        """Those of some photos, by their places here or as bool (q,)."""
        return Opinions(*(values[chosen] for values in self))


def choose_settings(
    evidence: Evidence,
    gallery: GalleryReader | None = None,
    space: Space = None,
    where: object = None,
    progress: Progress | None = None,
) -> Settings:
    """Settings that a gallery was tuned with, or else those of the least log loss, chosen as ``tune`` does.

    RetrievalError if no class has two observations.
    """
    if gallery is not None:
        stored, _ = read_settings(gallery, space, where)
        if stored.is_tuned:
            return stored
    answers = leave_out(evidence, choose_queries(evidence), SHRINKAGES, progress)
    truth = evidence.codes[answers.rows]
    found = best_means(best_vote(answers, truth, len(evidence.names)), answers, truth)
    return min((replace(found, rule=rule) for rule in RULES), key=lambda one: log_loss(one, answers, truth))


def ask(
    evidence: Evidence,
    settings: Settings,
    queries: np.ndarray,
    given: np.ndarray,
    rules: Sequence[str] = RULES,
    few: bool = False,
    progress: Progress | None = None,
) -> Opinions:
    """Opinions on photos, by their places in the evidence, int64 (q,), in that order.

    Args:
        evidence: What teaches.
        settings: How it is asked.
        queries: The photos.
        given: Classes of all photos of the evidence, int64 (n,), -1 for none. They may differ from those that the
            evidence teaches with, where some of these are not trusted.
        rules: Whose probabilities are multiplied, as those of experts are (Genest and Zidek, Combining Probability
            Distributions, Statistical Science 1, 1986): both the vote and class means, whichever of them ``settings``
            prefers, as they err about different photos.
        few: Whether the photos are a small part of all, see :func:`retrieval.recognition.left_out.leave_out_in_parts`.
        progress: Told how many of the photos have been left out.
    """
    if not len(queries):
        nothing = np.zeros((0, LISTED))
        return Opinions(queries, nothing.astype(int), nothing, np.zeros(0), np.zeros((0, NEAREST), int))
    count, parts = max(len(evidence.names), 1), []
    means = (settings.shrinkage,) if 'means' in rules else ()
    for answers in leave_out_in_parts(_as_it_can_be_learned(evidence), queries, means, few, progress):
        found = _pooled([probabilities(replace(settings, rule=rule, classes=count), answers, count) for rule in rules])
        found[~np.isfinite(found).all(axis=1)] = 0.0  # no class has another photo
        classes = _largest(found, LISTED)
        codes = given[answers.rows]
        own = np.take_along_axis(found, np.maximum(codes, 0)[:, None], axis=1)[:, 0]
        parts.append(
            Opinions(
                answers.rows,
                _wide(classes, LISTED, -1),
                _wide(np.take_along_axis(found, classes, axis=1), LISTED, 0.0),
                np.where(codes >= 0, own, np.nan),
                _wide(answers.classes[:, :NEAREST], NEAREST, -1),
            )
        )
    joined = Opinions(*(np.concatenate(values) for values in zip(*parts)))
    order = np.argsort(joined.rows, kind='stable')
    return joined.of_rows(order[np.searchsorted(joined.rows[order], queries)])


def _pooled(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Geometric means of probabilities (q, c), scaled to a sum of 1; zeros where a row of them has none."""
    if len(parts) == 1:
        return parts[0]
    logarithms = np.mean([np.log(np.maximum(one, LEAST)) for one in parts], axis=0)
    found = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def _as_it_can_be_learned(evidence: Evidence) -> Evidence:
    """The evidence without a metric that takes more labels to learn than there are."""
    sizes = np.bincount(evidence.codes[evidence.codes >= 0], minlength=1)
    if (sizes > 1).sum() > 1:
        return evidence
    return evidence._replace(sources=[(rows, weight, None) for rows, weight, _ in evidence.sources])


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Columns of the largest values of each row, the largest first."""
    count = min(count, values.shape[1])
    some = np.argpartition(-values, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(values, some, axis=1), axis=1, kind='stable')
    return np.take_along_axis(some, order, axis=1)


def _wide(values: np.ndarray, width: int, filler: float) -> np.ndarray:
    return np.pad(values, ((0, 0), (0, max(width - values.shape[1], 0))), constant_values=filler)


def best_other(opinions: Opinions, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest class that is not the given one, int64 (q,), -1 for none, and its probability, float64 (q,)."""
    codes = given[opinions.rows]
    shares = np.where((opinions.classes == codes[:, None]) | (opinions.classes < 0), -1.0, opinions.shares)
    place = shares.argmax(axis=1)[:, None]
    best = np.take_along_axis(shares, place, axis=1)[:, 0]
    other = np.take_along_axis(opinions.classes, place, axis=1)[:, 0]
    return np.where(best >= 0, other, -1), np.maximum(best, 0.0)


def doubts(opinions: Opinions, given: np.ndarray) -> np.ndarray:
    """How much each given label is doubted, float64 (q,), 0 to 1; NaN for a photo without one.

    It is the probability of the likeliest other class as a share of it and that of the given class: 0.5 where both are
    as likely, 0.9 where the other is nine times as likely.
    """
    _, other = best_other(opinions, given)
    own = opinions.own
    return np.where(np.isnan(own), np.nan, (other + LEAST) / (other + own + 2 * LEAST))


def contradicted(opinions: Opinions, given: np.ndarray, num_classes: int) -> np.ndarray:
    """Which given labels the gallery contradicts, bool (q,), by confident learning.

    A class counts for a photo only where it is at least as likely as it is, on average, for photos that are labelled
    so, or has a probability of 0.75 (Northcutt, Jiang and Chuang, Confident Learning, arXiv 1911.00068, section 3.1).
    So classes that are hard to recognise, for which all probabilities are low, are not suspected as a whole. A label is
    contradicted where such a class is nine times as likely as the given one: that it is likelier alone holds for every
    photo that is not recognised.
    """
    codes = given[opinions.rows]
    known = codes >= 0
    sums = np.bincount(codes[known], opinions.own[known], num_classes)
    counts = np.bincount(codes[known], minlength=num_classes)
    limits = np.minimum(np.where(counts > 0, sums / np.maximum(counts, 1), np.inf), _LIKELY)
    shown = np.maximum(opinions.classes, 0)
    counts_for = (opinions.classes >= 0) & (opinions.classes != codes[:, None]) & (opinions.shares >= limits[shown])
    return known & (counts_for & (opinions.shares > _TIMES * opinions.own[:, None])).any(axis=1)
