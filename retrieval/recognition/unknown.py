"""When an image is unknown: thresholds of confidence, chosen from the gallery itself by holding classes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits, hits_without
from .recognizer import Recognizer

BALANCED = 'balanced'


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Area under the ROC curve, 0 to 1: the chance that a known query has the larger confidence than an unknown one.

    It is 0.5 for a confidence that says nothing; ties count one half. ``known`` are confidences of queries of known
    classes, (a,), ``unknown`` those of unseen classes, (b,). RetrievalError if either is empty or has NaN.
    """
    known, unknown = _check(known, 'known'), _check(unknown, 'unknown')
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, 'left')
    upto = np.searchsorted(ordered, known, 'right')
    return float((below + upto).mean() / (2 * len(unknown)))


def choose_threshold(known: np.ndarray, unknown: np.ndarray | None = None, target: str | float = BALANCED) -> float:
    """Confidence below which a query is called unknown. With a rate it is the largest that keeps to it.

    Args:
        known: Floating point, (a,), confidences of held-out images whose class is in the gallery.
        unknown: Floating point, (b,), those of images whose class is not; needed for ``'balanced'``.
        target: ``'balanced'`` for the best mean of the accuracy on known and on unknown; a number from 0 to below 1 for
            the share of known images that may be called unknown.

    Raises:
        RetrievalError: If there are no confidences, or the target is none of these.
    """
    known = np.sort(_check(known, 'known'))
    if target != BALANCED:
        if isinstance(target, str) or not 0 <= target < 1:
            raise RetrievalError(f"target must be 'balanced' or a rate from 0 to below 1, got {target!r}")
        return float(known[int(target * len(known) + 1e-9)])  # 0.29 * 100 is 28.999999999999996
    if unknown is None:
        raise RetrievalError("a 'balanced' threshold needs confidences of unknown images: hold classes out")
    unknown = np.sort(_check(unknown, 'unknown'))
    places = np.unique(np.concatenate([known, unknown, [np.nextafter(unknown[-1], np.inf)]]))
    right = 1 - np.searchsorted(known, places, 'left') / len(known)
    right += np.searchsorted(unknown, places, 'left') / len(unknown)
    return float(places[int(right.argmax())])


def parse_target(text: str | None) -> str | float | None:
    """A target of :func:`choose_threshold` as people type it, ``'balanced'`` or a rate such as ``'0.05'``; or None."""
    if text is None or text == BALANCED:
        return text
    try:
        return float(text)
    except ValueError:
        raise RetrievalError(f"write 'balanced' or a rate such as 0.05, not {text!r}") from None


def _check(confidences: np.ndarray, name: str) -> np.ndarray:
    confidences = np.asarray(confidences, np.float64)
    if confidences.ndim != 1 or not confidences.size or np.isnan(confidences).any():
        raise RetrievalError(f'confidences of {name} images must be a vector of at least one number, without NaN')
    return confidences


@dataclass(frozen=True)
class LevelCalibration:
    """How well support tells known from unknown at one level of the taxonomy.

    Example:
        >>> levels = calibrate(recognizer)
        >>> recognizer.thresholds = [level.threshold for level in levels]

    Attributes:
        level: 0 for classes, 1 for their parents and so on.
        threshold: Chosen least support.
        auroc: 0 to 1, see :func:`retrieval.recognition.auroc`.
        false_unknown_rate: Share of the ``known`` images below the threshold.
        true_unknown_rate: Share of the ``unknown`` images, those of held-out groups, below it.
    """

    level: int
    threshold: float
    auroc: float
    false_unknown_rate: float
    true_unknown_rate: float
    known: int
    unknown: int


def calibrate(
    recognizer: Recognizer, target: str | float = BALANCED, num_images: int = 2000, seed: int = 0
) -> list[LevelCalibration]:
    """Choose the least support of an answer at each level.

    Images of the gallery are the queries. At level 0 an image is known when only itself is left out of the gallery, and
    unknown when its whole class is: how images of a new class will look. At level 1 it is known when its class is left
    out but not its siblings, unknown when its parent is; and so on. Every search is filtered, none looks at what it
    should not see. Photos that are in the gallery twice make known images look too easy: remove duplicates first.

    Args:
        recognizer: Its gallery, k, temperature, space, filter and taxonomy count; its thresholds are ignored, and left
            as they are.
        target: See :func:`choose_threshold`.
        num_images: Number of images at most, drawn at random; each takes a few searches.
        seed: Seed of the draw.

    Returns:
        From level 0 upwards; a level at which nothing can be held out ends the list.

    Raises:
        RetrievalError: If the gallery has fewer than two classes, or no class of two images.
    """
    ids = np.asarray(recognizer.gallery.ids(recognizer.where), np.int64)
    names = recognizer.labels(ids)
    labelled = np.array([name is not None for name in names], bool)
    ids, names = ids[labelled], names[labelled]
    sizes = Counter(names.tolist())
    if len(sizes) < 2:
        raise RetrievalError('calibration needs at least two classes: add labelled images to the gallery')
    if len(ids) > num_images:
        chosen = np.sort(np.random.default_rng(seed).choice(len(ids), num_images, replace=False))
        ids, names = ids[chosen], names[chosen]
    levels: list[LevelCalibration] = []
    nearest = recognizer.neighbors(ids, recognizer.k + 1)
    nearest = hits_without(nearest, ids[:, None], nearest.ids.shape[1], recognizer.gallery.manifest.metric)
    known_hits = Hits(nearest.scores[:, : recognizer.k], nearest.ids[:, : recognizer.k])
    for level in range(recognizer.taxonomy.depth + 1):
        # Known is an image of whose group something is left: of its class another image, of its genus another class.
        members = Counter(recognizer.taxonomy.group(name, level) for name in (sizes if level else sizes.elements()))
        if len(members.keys() - {None}) < 2:
            break
        unknown_hits = _without_groups(recognizer, ids, names, list(sizes), level)
        measured = _measure(recognizer, names, members, level, known_hits, unknown_hits, target)
        if measured is None:
            break
        levels.append(measured)
        known_hits = unknown_hits
    if not levels:
        raise RetrievalError('calibration needs a class of at least two images: add images to the gallery')
    return levels


def _measure(
    recognizer: Recognizer,
    names: np.ndarray,
    members: Counter,
    level: int,
    known_hits: Hits,
    unknown_hits: Hits,
    target: str | float,
) -> LevelCalibration | None:
    groups = [recognizer.taxonomy.group(name, level) for name in names]
    shared = np.array([group is not None and members[group] > 1 for group in groups])
    present = np.array([group is not None for group in groups])
    if not shared.any():
        return None
    known = _supports(recognizer, known_hits, level)[shared]
    unknown = _supports(recognizer, unknown_hits, level)[present]
    threshold = choose_threshold(known, unknown, target)
    below = float((known < threshold).mean()), float((unknown < threshold).mean())
    return LevelCalibration(level, threshold, auroc(known, unknown), *below, len(known), len(unknown))


def _supports(recognizer: Recognizer, hits: Hits, level: int) -> np.ndarray:
    """Support of the best group of each query, 0 where it has no neighbour."""
    vote, _ = recognizer.vote(hits, recognizer.labels(hits.ids), level)
    return vote.supports[:, 0] if vote.supports.shape[1] else np.zeros(len(hits.ids), np.float32)


def _without_groups(recognizer: Recognizer, ids: np.ndarray, names: np.ndarray, labels: list[str], level: int) -> Hits:
    """Neighbours of each image outside its group at a level; outside its class where it has no such group."""
    groups = [recognizer.taxonomy.group(name, level) or name for name in names]
    scores = np.empty((len(ids), recognizer.k), np.float32)
    found = np.empty((len(ids), recognizer.k), np.int64)
    for group in dict.fromkeys(groups):
        rows = np.flatnonzero([own == group for own in groups])
        inside = [name for name in labels if (recognizer.taxonomy.group(name, level) or name) == group]
        scores[rows], found[rows] = recognizer.neighbors(ids[rows], recognizer.k, without=inside)
    return Hits(scores, found)


def format_calibration(levels: Sequence[LevelCalibration]) -> str:
    """A line of text for each level."""
    return '\n'.join(
        f'level {one.level}: threshold {one.threshold:.4f}, AUROC {one.auroc:.4f} on held-out classes; called unknown '
        f'are {one.false_unknown_rate:.1%} of {one.known} known and {one.true_unknown_rate:.1%} of {one.unknown} '
        'unknown images'
        for one in levels
    )
