"""The threshold of 'unknown', from the gallery itself: its images and classes are held out one at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..errors import RetrievalError
from ..hits import Hits
from .recognizer import Recognizer
from .unknown import BALANCED, auroc, choose_threshold


@dataclass(frozen=True)
class LevelCalibration:
    """How well support tells known from unknown at one level of the taxonomy.

    Attributes:
        level: 0 for classes, 1 for their parents and so on.
        threshold: Chosen least support.
        auroc: 0 to 1, see :func:`retrieval.recognition.auroc`.
        false_unknown_rate: Share of the known images below the threshold.
        true_unknown_rate: Share of the unknown images below it.
        known: Number of images of known groups.
        unknown: Number of images of held-out groups.
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
        recognizer: Its gallery, k, temperature, space, filter and taxonomy; thresholds are ignored, and left as they
            are.
        target: See :func:`retrieval.recognition.choose_threshold`. Defaults to ``'balanced'``.
        num_images: So many images at most, drawn at random, each a few searches.
        seed: Of the draw.

    Returns:
        Of level 0 upwards; a level at which nothing can be held out ends the list.

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
    known_hits = _without_selves(recognizer, ids)
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


def _without_selves(recognizer: Recognizer, ids: np.ndarray) -> Hits:
    """Neighbours of each image but itself."""
    hits = recognizer.neighbors(ids, recognizer.k + 1)
    order = np.argsort(hits.ids == ids[:, None], axis=1, kind='stable')[:, : recognizer.k]
    return Hits(np.take_along_axis(hits.scores, order, 1), np.take_along_axis(hits.ids, order, 1))


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
