"""How a gallery recognises best: rule, k, temperature and the like, chosen on its own photos, each left out in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..gallery.contract import GalleryReader, Space
from ..metrics import calibration_error
from .class_means import softmax_of_distances
from .class_names import ClassIndex
from .left_out import Answers, Progress, choose_queries, count_alone, leave_out, read_evidence
from .prior import ClassPrior, Context, Prior
from .prior_tuning import fit_prior, read_contexts
from .settings import RULES, PriorSettings, Settings, fingerprint_of
from .unknown import try_novelties
from .vote import to_probabilities, vote_weights

KS = (1, 3, 5, 10, 20, 50, 100)
CAPS = (None, 1, 3)
SHRINKAGES = (0.0, 1.0, 3.0, 10.0, 30.0)
RESTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)
POOLINGS = (0.0, 0.25, 0.5, 0.75, 1.0)
_STEPS = 2.0 ** np.arange(-6, 4)  # temperatures, in standard deviations of what they divide; refined later
_REFINEMENTS, _ROUNDS = 10, 3
_MOST = {'rest': 0.9}
_POINTS = 60  # of the curve
_DOUBT = 0.05
LEAST = 1e-12


def tune(
    gallery: GalleryReader,
    space: Space = None,
    where: Any = None,
    prior: Prior | None = None,
    progress: Progress | None = None,
) -> Settings:
    """Choose how a gallery recognises, by the log loss of answers about its own photos, each left out in turn.

    The log loss is a proper score: it is least, on average, for the true probabilities. So the temperature that it
    chooses also makes probabilities what they say they are (temperature scaling, Guo et al., arXiv 1706.04599). With
    each photo its whole observation is left out, by the column ``observation``; see
    :func:`retrieval.recognition.leave_out` for metrics that were learned from the same labels.

    Args:
        gallery: At least two classes, one of which has photos of two observations.
        space: Embeddings to compare, as in the gallery's ``search``.
        where: Filter; only rows that pass it count.
        prior: Counts by place and month; how much they count is chosen then, too, on the photos whose columns
            ``latitude``, ``longitude`` or ``taken`` tell a place or a date.
        progress: Told how many photos have been left out, and, now and then while settings are chosen, that all are.

    Returns:
        Settings to keep (:func:`retrieval.recognition.store_settings`).

    Raises:
        RetrievalError: If there are too few classes or photos, or none with a place or date for the prior.
    """
    evidence = read_evidence(gallery, space, where)
    queries = choose_queries(evidence)
    by_classes = None if prior is None else ClassPrior(prior, ClassIndex(gallery, where), evidence.names)
    contexts = [] if by_classes is None else read_contexts(gallery, evidence.ids[queries], by_classes)
    answers = leave_out(evidence, queries, SHRINKAGES, progress)

    def check() -> None:
        if progress is not None:
            progress(len(queries), len(queries))

    truth = evidence.codes[answers.rows]
    both = best_means(best_vote(answers, truth, len(evidence.names), check), answers, truth)
    losses = {rule: log_loss(replace(both, rule=rule), answers, truth) for rule in RULES}
    chosen, other = (replace(both, rule=rule) for rule in sorted(RULES, key=lambda one: losses[one]))
    found = probabilities(chosen, answers, len(evidence.names))
    chosen = replace(chosen, pooling=best_pooling(found, truth, evidence.observations[answers.rows]))
    confidences, right = found.max(axis=1), found.argmax(axis=1) == truth
    check()
    measured = dict(
        accuracy=float(right.mean()),
        log_loss=losses[chosen.rule],
        ece=calibration_error(confidences, right)[0] / 100,
        other_accuracy=accuracy(other, answers, truth),
        other_log_loss=losses[other.rule],
        alone=count_alone(evidence),
        plain_accuracy=accuracy(replace(Settings(), classes=len(evidence.names)), answers, truth),
    )
    return replace(
        chosen,
        fingerprint=fingerprint_of(gallery, space, where),
        photos=len(answers.rows),
        measured=measured,
        curve=accuracy_curve(confidences, right),
        novelty=try_novelties(evidence, chosen, answers),
        prior=None
        if prior is None or by_classes is None
        else tune_prior(prior, by_classes, dict(zip(queries.tolist(), contexts)), answers.rows, found, truth),
    )


def tune_prior(
    prior: Prior,
    by_classes: ClassPrior,
    contexts: Mapping[int, Context],
    rows: np.ndarray,
    found: np.ndarray,
    truth: np.ndarray,
) -> PriorSettings:
    """How much place and month count, and what answers with them are worth.

    Args:
        prior: The counts.
        by_classes: The same, by the classes of ``found``.
        contexts: Places and months, by row.
        rows: Photos that were left out, (q,), with their probabilities ``found`` (q, c) and classes ``truth`` (q,).
    """
    used = np.array([not contexts[row].reason for row in rows.tolist()])
    own = [contexts[row] for row in rows[used].tolist()]
    chosen, with_prior = fit_prior(found[used], truth[used], own, by_classes)
    right = with_prior.argmax(axis=1) == truth[used]
    measured = dict(
        accuracy=float(right.mean()),
        log_loss=_mean_loss(with_prior, truth[used]),
        ece=calibration_error(with_prior.max(axis=1), right)[0] / 100,
        photo_accuracy=float((found[used].argmax(axis=1) == truth[used]).mean()),
        photo_log_loss=_mean_loss(found[used], truth[used]),
    )
    curve = accuracy_curve(with_prior.max(axis=1), right)
    return replace(chosen, counts=prior.fingerprint, photos=len(own), measured=measured, curve=curve)


def _mean_loss(found: np.ndarray, truth: np.ndarray) -> float:
    return -float(np.log(np.maximum(found[np.arange(len(truth)), truth], LEAST)).mean())


def best_vote(
    answers: Answers, truth: np.ndarray, num_classes: int, check: Callable[[], object] = lambda: None
) -> Settings:
    """The vote whose log loss is least: of all k, caps, and coarse temperatures and rests, then refined in turn.

    What ``check`` raises, which is called now and then, ends it.
    """
    there = np.isfinite(answers.alike)
    spread = float(np.std(answers.alike, axis=1, where=there).mean()) if there.any(axis=1).all() else 0.0
    best, least = Settings(classes=num_classes), math.inf
    for k in [one for one in KS if one <= answers.alike.shape[1]]:
        for cap in [one for one in CAPS if one is None or one < k]:
            check()
            for temperature in (spread or best.temperature) * _STEPS:
                shares = _true_shares(answers, truth, k, temperature, cap)
                for rest in RESTS:
                    loss = float(-np.log((1 - rest) * shares + rest / num_classes).mean())
                    if loss < least:
                        best = Settings('vote', k, float(temperature), cap, rest=rest, classes=num_classes)
                        least = loss
    classes = answers.classes[:, : best.k]
    places = _first_places(classes)
    for _ in range(_ROUNDS):
        for name in ('temperature', 'sharpness', 'rest'):
            best = _refined(best, name, lambda one: _loss_of_vote(one, answers, truth, places))
    return best


def _first_places(classes: np.ndarray) -> np.ndarray:
    """For each neighbour, (q, k), the column of the first one of its class."""
    order = np.argsort(classes, axis=1, kind='stable')
    ordered = np.take_along_axis(classes, order, axis=1)
    starts = np.ones(classes.shape, bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    columns = np.maximum.accumulate(np.where(starts, np.arange(classes.shape[1]), 0), axis=1)
    places = np.empty(classes.shape, np.int64)
    np.put_along_axis(places, order, np.take_along_axis(order, columns, axis=1), axis=1)
    return places


def _loss_of_vote(settings: Settings, answers: Answers, truth: np.ndarray, places: np.ndarray) -> float:
    """Log loss of a vote, in a memory of (q, k), where classes are known by the places of their first neighbours."""
    classes = answers.classes[:, : settings.k]
    weights = vote_weights(answers.alike[:, : settings.k], classes, settings.temperature, settings.cap)
    count, k = classes.shape
    flat = np.arange(count)[:, None] * k + places
    shares = np.bincount(flat.ravel(), weights.ravel(), count * k).reshape(count, k)
    is_first = (places == np.arange(k)) & (classes >= 0)
    floor = max(settings.rest, LEAST) / settings.classes
    parts = np.where(is_first, ((1 - settings.rest) * shares + floor) ** settings.sharpness, 0.0)
    totals = parts.sum(axis=1) + (settings.classes - is_first.sum(axis=1)) * floor**settings.sharpness
    own = np.where((classes == truth[:, None]) & is_first, parts, 0.0).sum(axis=1)
    own = np.where(own > 0, own, floor**settings.sharpness)
    return max(0.0, float(-np.log(own / totals).mean()))


def best_means(settings: Settings, answers: Answers, truth: np.ndarray) -> Settings:
    """Settings with the shrinkage and temperature of class means whose log loss is least."""
    best, least = settings, math.inf
    for shrinkage, distances in answers.distances.items():
        scale = float(np.std(distances, axis=1, where=np.isfinite(distances)).mean()) or 1.0
        for temperature in scale * _STEPS:
            loss = _loss_of_distances(distances, truth, temperature)
            if loss < least:
                least = loss
                best = replace(best, shrinkage=float(shrinkage), mean_temperature=float(temperature))
    distances = answers.distances[best.shrinkage]
    return _refined(best, 'mean_temperature', lambda one: _loss_of_distances(distances, truth, one.mean_temperature))


def _refined(settings: Settings, name: str, loss: Callable[[Settings], float]) -> Settings:
    """Settings with the value of least loss within a factor of 2 either way, by golden section of its logarithm."""
    middle = math.log(getattr(settings, name))
    low, high = middle - math.log(2), min(middle + math.log(2), math.log(_MOST.get(name, math.inf)))
    golden = (math.sqrt(5) - 1) / 2

    def changed(logarithm: float) -> Settings:
        values: dict[str, Any] = {name: math.exp(logarithm)}
        return replace(settings, **values)

    for _ in range(_REFINEMENTS):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(changed(left)) < loss(changed(right)) else (left, high)
    return changed((low + high) / 2)


def _true_shares(answers: Answers, truth: np.ndarray, k: int, temperature: float, cap: int | None) -> np.ndarray:
    classes = answers.classes[:, :k]
    weights = vote_weights(answers.alike[:, :k], classes, temperature, cap)
    return (weights * (classes == truth[:, None])).sum(axis=1)


def _loss_of_distances(distances: np.ndarray, truth: np.ndarray, temperature: float) -> float:
    nearest = distances.min(axis=1)
    exponents = (nearest[:, None] - distances) / temperature
    own = np.take_along_axis(exponents, truth[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(exponents).sum(axis=1)) - own).mean())


def probabilities(settings: Settings, answers: Answers, num_classes: int) -> np.ndarray:
    """Probability of each class, float64 (q, c)."""
    if settings.rule == 'means':
        return softmax_of_distances(answers.distances[settings.shrinkage], settings.mean_temperature)
    classes = answers.classes[:, : settings.k]
    weights = vote_weights(answers.alike[:, : settings.k], classes, settings.temperature, settings.cap)
    places = np.arange(len(classes))[:, None] * num_classes + np.maximum(classes, 0)
    shares = np.bincount(places.ravel(), weights.ravel(), len(classes) * num_classes).reshape(-1, num_classes)
    return to_probabilities(shares, settings.rest, settings.sharpness, num_classes)


def log_loss(settings: Settings, answers: Answers, truth: np.ndarray) -> float:
    """Mean of minus the logarithm of the true class's probability; lower is better."""
    if settings.rule == 'means':
        return _loss_of_distances(answers.distances[settings.shrinkage], truth, settings.mean_temperature)
    return _loss_of_vote(settings, answers, truth, _first_places(answers.classes[:, : settings.k]))


def accuracy(settings: Settings, answers: Answers, truth: np.ndarray) -> float:
    """Share of right answers."""
    return float((probabilities(settings, answers, settings.classes).argmax(axis=1) == truth).mean())


# -- several photos --------------------------------------------------------------------------------------------------


def pool(logarithms: np.ndarray, pooling: float) -> np.ndarray:
    """Probabilities (c,) of what several photos show together, from the logarithms (n, c) of those of each.

    Their sum is divided by ``n ** pooling``: photos that tell the same as each other (1) count as one, photos that tell
    something of their own (0) as so many.
    """
    total = logarithms.sum(axis=0) / len(logarithms) ** pooling
    parts = np.exp(total - total.max())
    return parts / parts.sum()


def best_pooling(found: np.ndarray, truth: np.ndarray, observations: np.ndarray) -> float:
    """How much photos of one observation repeat each other, by log loss; 1, which is cautious, where none has two."""
    groups: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(observations.tolist(), truth.tolist())):
        groups.setdefault(key, []).append(row)
    several = [(code, rows) for (_, code), rows in groups.items() if len(rows) > 1]
    if not several:
        return 1.0
    logarithms = np.log(np.maximum(found, LEAST))

    def loss(pooling: float) -> float:
        own = [pool(logarithms[rows], pooling)[code] for code, rows in several]
        return -float(np.log(np.maximum(own, LEAST)).mean())

    return min(POOLINGS, key=loss)


# -- what is certain enough ------------------------------------------------------------------------------------------


def accuracy_curve(confidences: np.ndarray, right: np.ndarray) -> tuple[tuple[float, int, int], ...]:
    """How many answers have at least some probability, and how many of them are right, for up to 60 probabilities."""
    order = np.argsort(-confidences, kind='stable')
    ordered, hits = confidences[order], np.cumsum(right[order])
    ends = np.flatnonzero(np.diff(ordered, append=-1.0))  # equal ones go together
    picked = np.unique(ends[np.linspace(0, len(ends) - 1, min(_POINTS, len(ends))).round().astype(int)])
    return tuple((float(ordered[one]), int(one) + 1, int(hits[one])) for one in picked)


def accepting(settings: Settings | PriorSettings, share: float) -> tuple[float, float]:
    """The least probability of answers of which at least this share is right, and the coverage: how many have it.

    Of the answers about photos that were left out, so many must be right that a share below the wanted one would be
    refuted at the level of 5 % (the bound of Clopper and Pearson, as Geifman and El-Yaniv use it for selective
    classification, arXiv 1705.08500). +inf and 0 where no probability is enough.
    """
    best = (math.inf, 0.0)
    for least, count, right in settings.curve:
        if _chance_of_so_few(count, count - right, 1 - share) <= _DOUBT:
            best = (least, count / settings.photos)
    return best


def _chance_of_so_few(count: int, errors: int, rate: float) -> float:
    """Chance of at most so many errors in ``count`` answers of which each is wrong at a rate, above 0 and up to 1."""
    if rate >= 1:
        return float(errors >= count)
    terms = [
        math.lgamma(count + 1)
        - math.lgamma(one + 1)
        - math.lgamma(count - one + 1)
        + one * math.log(rate)
        + (count - one) * math.log1p(-rate)
        for one in range(errors + 1)
    ]
    return min(1.0, float(np.exp(terms).sum()))
