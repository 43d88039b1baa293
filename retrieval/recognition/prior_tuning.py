"""How much place and month count: weight, floor and commonness of the prior, chosen on photos that were left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import RetrievalError
from ..evaluation.gallery_evaluation import read_labels
from ..gallery.contract import GalleryReader
from .places import PLACE_COLUMNS, Taken
from .prior import ClassPrior, Context
from .settings import PriorSettings

FLOORS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
COMMONNESS = (0.0, 0.5, 1.0)
_MOST_WEIGHT = 4.0
_STEPS, _CLOSE = 30, 1e-3
_LEAST = 1e-12


def read_contexts(gallery: GalleryReader, ids: np.ndarray, prior: ClassPrior) -> list[Context]:
    """What counts can use of the places and dates of some rows; of impossible ones, nothing.

    RetrievalError if it can use none.
    """
    columns = {name.lower(): name for name in gallery.columns()}
    told = {name: read_labels(gallery, ids, columns[name]) for name in PLACE_COLUMNS if name in columns}
    rows = [Taken.of({name: values[row] for name, values in told.items()})[0] for row in range(len(ids))]
    found = [prior.context(one) for one in rows]
    if all(one.reason for one in found):
        why = f'no photo of {gallery.location} has a place or date to tune the prior with ({found[0].reason})'
        raise RetrievalError(
            f'{why}: fill its columns {", ".join(PLACE_COLUMNS)}, as glsim build --exif does, or tune without --prior'
        )
    return found


def fit_prior(
    found: np.ndarray, truth: np.ndarray, contexts: Sequence[Context], prior: ClassPrior
) -> tuple[PriorSettings, np.ndarray]:
    """Settings of the prior whose log loss is least, and the probabilities (q, c) with it.

    For each floor and commonness, the log loss is a convex function of the weight. To its sum over the photos, half the
    squares are added by which the settings differ from the defaults (of the floor, in powers of ten): with few photos
    they stay near what Bayes' rule says, and the weight stays finite where places tell classes without fail.

    Args:
        found: Probabilities of photos that were left out, float64 (q, c); each row sums to 1.
        truth: Their classes, int64 (q,).
        contexts: Their places and months, of which the prior can use something.
        prior: Counts for these classes.
    """
    unique = list(dict.fromkeys(contexts))
    numbers = {one: number for number, one in enumerate(unique)}
    which = np.array([numbers[one] for one in contexts])
    told = np.flatnonzero(prior.known[truth])  # the probability of others stays as it is
    columns = np.cumsum(prior.known) - 1
    logarithms = np.log(np.maximum(found[told][:, prior.known], _LEAST))
    best, least = PriorSettings(weight=0.0), np.inf
    for floor in FLOORS:
        for commonness in COMMONNESS:
            tried = PriorSettings(floor=floor, commonness=commonness)
            every = np.array([prior.logarithms(one, tried)[prior.known] for one in unique])
            weight, loss = _best_weight(logarithms, every[which[told]], columns[truth[told]])
            loss += (np.log10(floor / PriorSettings.floor) ** 2 + (commonness - PriorSettings.commonness) ** 2) / 2
            if loss < least:
                best, least = replace(tried, weight=weight), loss
    rows = [prior.apply(row, [context], best) for row, context in zip(found, contexts)]
    return best, np.array(rows)


def _best_weight(logarithms: np.ndarray, prior: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Weight of the least loss, and that loss, by Newton's method between bounds that draw together."""
    own = np.take_along_axis(prior, truth[:, None], axis=1)[:, 0]
    low, high, weight = 0.0, _MOST_WEIGHT, 1.0
    for _ in range(_STEPS):
        slope, curvature = _derivatives(logarithms, prior, own, weight)
        low, high = (weight, high) if slope < 0 else (low, weight)
        step = weight - slope / curvature
        step = step if low < step < high else (low + high) / 2
        if abs(step - weight) < _CLOSE:
            break
        weight = step
    weight = 0.0 if weight < 2 * _CLOSE else weight
    parts = logarithms + weight * prior
    largest = parts.max(axis=1, initial=-np.inf)
    totals = largest + np.log(np.exp(parts - largest[:, None]).sum(axis=1))
    right = np.take_along_axis(parts, truth[:, None], axis=1)[:, 0]
    return weight, float((totals - right).sum() + (weight - 1) ** 2 / 2)


def _derivatives(logarithms: np.ndarray, prior: np.ndarray, own: np.ndarray, weight: float) -> tuple[float, float]:
    """First and second derivative of the loss by the weight."""
    parts = logarithms + weight * prior
    shares = np.exp(parts - parts.max(axis=1, initial=-np.inf, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    means = (shares * prior).sum(axis=1)
    spreads = (shares * np.square(prior)).sum(axis=1) - np.square(means)
    return float((means - own).sum() + weight - 1), float(spreads.sum() + 1)
