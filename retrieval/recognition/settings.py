"""How a gallery recognises: what was chosen by leaving photos out, and what it promises, kept in the gallery itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..errors import RetrievalError
from ..gallery.conditions import read_conditions
from ..gallery.contract import GalleryReader, GalleryWriter, Space
from ..gallery.spaces import Spaces
from ..records import check_count, check_number

KEY = 'recognition'  # of the manifest's origin
RULES = ('vote', 'means')
NOVELTIES = ('support', 'distance', 'ratio')
FALSE_ALARMS = 0.05
LEAST_CAUGHT = 2 * FALSE_ALARMS  # of unknown photos, for a gallery that can tell them
TUNE = 'glsim classify GALLERY --tune'


@dataclass(frozen=True)
class Novelty:
    """How well one score tells photos of unknown classes, over random splits of the classes.

    Example:
        >>> recognizer.settings.novelty['distance'].caught

    Attributes:
        threshold: What is above it is unlike anything in the gallery; 5 % of photos of known classes are.
        auroc, auroc_spread: 0 to 1, see :func:`retrieval.recognition.auroc`: mean and standard deviation over splits.
        caught, caught_spread: Share of photos of unknown classes above the threshold, likewise.
    """

    threshold: float
    auroc: float
    auroc_spread: float
    caught: float
    caught_spread: float


@dataclass(frozen=True)
class PriorSettings:
    """How much place and month count, see :meth:`retrieval.recognition.ClassPrior.logarithms`.

    The defaults are Bayes' rule for a gallery that has as many photos of rare classes as of common ones.

    Example:
        >>> recognizer.settings.prior.measured['log_loss']

    Attributes:
        weight: Of the logarithm of the prior, 0 or more; 0 leaves answers as they are.
        floor: Above 0 and up to 1: this part of what is seen may be of any class that is counted, whatever is counted.
        commonness: 0 to 1, how far it counts how common a class is everywhere: 1 where photos to come are as the counts
            and the gallery has as many photos of each class, 0 where its classes are as common as in photos to come.
        counts: Fingerprint of the counts that these were chosen with; '' if they were not chosen.
        photos: Photos with a place or date, each left out, with which they were chosen.
        measured: Of these photos, ``accuracy``, ``log_loss`` and ``ece`` with the prior, ``photo_accuracy`` and
            ``photo_log_loss`` without.
        curve: As that of :class:`Settings`, of answers with the prior.
    """

    weight: float = 1.0
    floor: float = 0.01
    commonness: float = 1.0
    counts: str = ''
    photos: int = 0
    measured: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[tuple[float, int, int], ...] = ()

    def __post_init__(self) -> None:
        """RetrievalError for what is no weight, floor or share."""
        for name in ('weight', 'floor', 'commonness'):
            check_number(getattr(self, name), name)
        if not (self.weight >= 0 and 0 < self.floor <= 1 and 0 <= self.commonness <= 1):
            raise RetrievalError(
                'of a prior, the weight must be 0 or more, the floor above 0 and up to 1, and commonness from 0 to 1'
            )


@dataclass(frozen=True)
class Settings:
    """How a gallery recognises. The defaults are those of a gallery that was never tuned.

    Example:
        >>> Recognizer(gallery, Settings(k=5, temperature=0.05))

    Attributes:
        rule: ``'vote'`` of neighbours, or nearest class ``'means'``.
        k: Neighbours that vote; an answer names ten of them at most.
        temperature: Of the vote, see :func:`retrieval.recognition.knn_vote`.
        cap: Most neighbours of one class that vote; None for all.
        rest, sharpness: From shares of the votes to probabilities, see :func:`retrieval.recognition.to_probabilities`.
        shrinkage: Of class means, in photos, see :meth:`retrieval.recognition.ClassMeans.distances`.
        mean_temperature: Of squared distances to class means.
        pooling: How much photos of one observation repeat each other: 0 multiplies their probabilities, 1 takes the
            geometric mean.
        classes: How many classes the gallery has.
        fingerprint: Of the embeddings and rows compared, see :func:`fingerprint_of`; '' if never tuned.
        generation: Of the gallery, once these settings are in it.
        rows: Photos that it had.
        photos: Photos that were left out in turn.
        measured: What leaving out has shown, by name: ``accuracy``, ``log_loss`` and ``ece`` (0 to 1), of the other
            rule ``other_accuracy`` and ``other_log_loss``, of a vote that is not tuned ``plain_accuracy``; and how many
            photos are ``alone`` in their class, so that they could not be left out.
        curve: Least probability, answers that have it, and how many of these are right; the most certain first.
        novelty: What tells unknown photos, by the names of :data:`NOVELTIES`; empty if that could not be tried.
        prior: How much place and month count; None if that was not tuned.
    """

    rule: str = 'vote'
    k: int = 10
    temperature: float = 0.07
    cap: int | None = None
    rest: float = 0.0
    sharpness: float = 1.0
    shrinkage: float = 0.0
    mean_temperature: float = 0.07
    pooling: float = 1.0
    classes: int = 0
    fingerprint: str = ''
    generation: int = -1
    rows: int = 0
    photos: int = 0
    measured: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[tuple[float, int, int], ...] = ()
    novelty: Mapping[str, Novelty] = field(default_factory=dict)
    prior: PriorSettings | None = None

    def __post_init__(self) -> None:
        """RetrievalError for what no gallery can recognise by."""
        if self.rule not in RULES:
            raise RetrievalError(f'rule must be {" or ".join(RULES)}, got {self.rule!r}')
        check_count(self.k, 'k')
        if self.cap is not None:
            check_count(self.cap, 'cap')
        for name in ('temperature', 'sharpness', 'mean_temperature'):
            if not getattr(self, name) > 0:
                raise RetrievalError(f'{name} must be positive, got {getattr(self, name)}')
        if not (0 <= self.rest < 1 and 0 <= self.pooling <= 1 and 0 <= self.shrinkage):
            raise RetrievalError('rest must be from 0 to below 1, pooling from 0 to 1, and shrinkage 0 or more')

    @property
    def is_tuned(self) -> bool:
        """Whether they were chosen on a gallery, so that probabilities mean something."""
        return bool(self.fingerprint)

    @property
    def best_novelty(self) -> str | None:
        """The score that tells unknown photos best; None where none was tried."""
        return max(self.novelty, key=lambda name: self.novelty[name].auroc, default=None)

    @property
    def tells_unknown(self) -> bool:
        """Whether it finds unknown photos clearly more often than it suspects known ones."""
        best = self.best_novelty
        return best is not None and self.novelty[best].caught >= LEAST_CAUGHT

    def to_json(self) -> str:
        """As text that :meth:`from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Settings from a gallery; RetrievalError if they are damaged."""
        try:
            values = json.loads(text)
            known = {one.name for one in fields(cls)}
            if set(values) != known:
                raise ValueError('other fields than this version knows')
            for name in ('temperature', 'rest', 'sharpness', 'shrinkage', 'mean_temperature', 'pooling'):
                check_number(values[name], name)
            values['curve'] = _read_curve(values['curve'])
            values['novelty'] = {name: Novelty(**values['novelty'][name]) for name in values['novelty']}
            if values['prior'] is not None:
                told = {**values['prior'], 'curve': _read_curve(values['prior']['curve'])}
                values['prior'] = PriorSettings(**told)
            return cls(**values)
        except (TypeError, ValueError, KeyError, AttributeError, RetrievalError) as error:
            raise RetrievalError(f'the settings of recognition are damaged ({error}): tune again, {TUNE}') from error


def _read_curve(curve: Any) -> tuple[tuple[float, int, int], ...]:
    return tuple((float(one), int(count), int(right)) for one, count, right in curve)


def fingerprint_of(gallery: GalleryReader, space: Space = None, where: Any = None) -> str:
    """What settings belong to: the model, the embeddings that are compared and the filter of rows, as a hash."""
    spaces = Spaces.of(gallery)
    names = spaces.weights(space)
    model = gallery.manifest.fingerprint
    about = [
        spaces.metric,
        sorted(names.items()),
        [spaces.dimensions[name] for name in sorted(names)],
        [spaces.transforms[name].fingerprint if name in spaces.transforms else '' for name in sorted(names)],
        None if model is None else [model.weights, model.config, model.pipeline],
        sorted(map(str, read_conditions(where))),
    ]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def store_settings(gallery: GalleryWriter, settings: Settings) -> Settings:
    """Keep settings in the gallery; returns them with the generation that it has then."""
    kept = replace(settings, generation=gallery.manifest.generation + 1, rows=len(gallery))
    gallery.set_origin({KEY: kept.to_json()})
    return kept


def read_settings(gallery: GalleryReader, space: Space = None, where: Any = None) -> tuple[Settings, str]:
    """Settings that a gallery keeps for these embeddings and rows, and a sentence if they are missing or out of date.

    Those of other embeddings are not used.
    """
    text = gallery.manifest.origin.get(KEY)
    if not text:
        return Settings(), f'{gallery.location} is not tuned, so that answers have no probability: {TUNE}'
    found = Settings.from_json(text)
    if found.fingerprint != fingerprint_of(gallery, space, where):
        return Settings(), (
            f'{gallery.location} was tuned for other embeddings or rows than are compared now, so that answers have no '
            f'probability: {TUNE}'
        )
    if found.generation != gallery.manifest.generation:
        return found, (
            f'{gallery.location} has changed since it was tuned ({found.rows} photos then, {len(gallery)} now), so '
            f'that probabilities may be off: {TUNE}'
        )
    return found, ''
