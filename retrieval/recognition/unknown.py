"""Photos of classes that a gallery does not have: scores that tell them, tried on classes that are held out."""

from __future__ import annotations

import numpy as np

from ..errors import RetrievalError
from .left_out import Answers, Evidence, answers_about, choose_queries
from .settings import FALSE_ALARMS, NOVELTIES, Novelty, Settings
from .vote import knn_vote

SPLITS = 5
_HELD_OUT = 1 / 3  # of the classes; and of the observations of the others, which are asked for
_MOST_QUERIES = 1_000


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Area under the ROC curve, 0 to 1: the chance that a known query has the larger confidence than an unknown one.

    It is 0.5 for a confidence that says nothing; ties count one half. ``known`` are confidences of queries of known
    classes, (a,), ``unknown`` those of unseen classes, (b,). RetrievalError if either is empty or has NaN.
    """
    known, unknown = _check(known, 'known'), _check(unknown, 'unknown')
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, 'left')
    upto = np.searchsorted(ordered, known, 'right')
    return float((below + upto).sum() / (2 * len(known) * len(unknown)))


def _check(confidences: np.ndarray, name: str) -> np.ndarray:
    confidences = np.asarray(confidences, np.float64)
    if confidences.ndim != 1 or not confidences.size or np.isnan(confidences).any():
        raise RetrievalError(f'confidences of {name} images must be a vector of at least one number, without NaN')
    return confidences


def novelty_of_vote(alike: np.ndarray, classes: np.ndarray, settings: Settings) -> np.ndarray:
    """How new photos look by the support of their best class, (q,), the larger the newer."""
    supports = knn_vote(alike, classes, settings.temperature, settings.cap).supports
    return -supports[:, 0].astype(np.float64) if supports.shape[1] else np.zeros(len(alike))


def novelties_of_distances(distances: np.ndarray) -> dict[str, np.ndarray]:
    """How new photos look by squared distances (q, c) to class means: to the nearest, and its ratio to the second."""
    nearest = np.sort(distances, axis=1)[:, :2].astype(np.float64)
    found = {'distance': nearest[:, 0]}
    if nearest.shape[1] > 1:
        with np.errstate(divide='ignore', invalid='ignore'):
            found['ratio'] = np.nan_to_num(nearest[:, 0] / nearest[:, 1], nan=1.0)
    return found


def try_novelties(evidence: Evidence, settings: Settings, answers: Answers) -> dict[str, Novelty]:
    """Hold a third of the classes out, five times, and compare the scores of :data:`NOVELTIES` on them.

    A metric that was learned from the gallery's labels is learned anew without the classes that are held out, and
    without a third of the other observations, whose photos are the known ones. Each known photo is left out with its
    observation. Limits are those of all classes: 5 % of the ``answers`` about photos that were left out of the whole
    gallery are above them. Empty if there are too few classes.
    """
    can_be_asked = choose_queries(evidence)
    num_held = max(1, round(len(evidence.names) * _HELD_OUT))
    if len(evidence.names) - num_held < 2:
        return {}
    limits = {name: _limit(values) for name, values in _novelties(answers, settings).items()}
    tried: dict[str, list[tuple[float, float]]] = {name: [] for name in NOVELTIES}
    for seed in range(SPLITS):
        random = np.random.default_rng(seed)
        held = np.isin(evidence.codes, random.permutation(len(evidence.names))[:num_held])
        asked = random.permutation(evidence.observations.max() + 1)[evidence.observations] % round(1 / _HELD_OUT) == 0
        able = can_be_asked[(asked & ~held)[can_be_asked]]
        unseen = np.flatnonzero(held)
        if not len(able):
            continue
        searched = ~held
        teaching = searched & ~asked
        sizes = np.bincount(evidence.codes[teaching & (evidence.codes >= 0)], minlength=1)
        if evidence.learned and (sizes > 1).sum() < 2:
            continue
        rows = evidence.compared(teaching if evidence.learned else searched)
        scores = []
        for queries in (able, unseen):
            some = np.sort(random.permutation(queries)[:_MOST_QUERIES])
            scores.append(_novelties(answers_about(evidence, rows, some, searched, (settings.shrinkage,)), settings))
        for name in NOVELTIES:
            if name in scores[0] and np.isfinite(scores[0][name]).all() and np.isfinite(scores[1][name]).all():
                tried[name].append(_measure(scores[0][name], scores[1][name]))
    return {name: _summary(limits[name], np.array(values)) for name, values in tried.items() if values}


def _novelties(answers: Answers, settings: Settings) -> dict[str, np.ndarray]:
    found = {'support': novelty_of_vote(answers.alike[:, : settings.k], answers.classes[:, : settings.k], settings)}
    return {**found, **novelties_of_distances(answers.distances[settings.shrinkage])}


def _limit(known: np.ndarray) -> float:
    return float(np.quantile(known, 1 - FALSE_ALARMS, method='higher'))


def _measure(known: np.ndarray, unknown: np.ndarray) -> tuple[float, float]:
    """AUROC, and the share of the unknown photos that is caught."""
    return auroc(-known, -unknown), float((unknown > _limit(known)).mean())


def _summary(limit: float, values: np.ndarray) -> Novelty:
    means = values.mean(axis=0).tolist()
    spreads = values.std(axis=0, ddof=1).tolist() if len(values) > 1 else [0.0, 0.0]
    return Novelty(limit, means[0], spreads[0], means[1], spreads[1])
