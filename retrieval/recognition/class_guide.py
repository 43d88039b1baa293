"""What an identification guide shows of each class: typical photos, and the classes that it may be taken for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import RetrievalError
from ..gallery.contract import GalleryReader, Space
from .class_means import ClassMeans
from .left_out import Evidence, able_to_be_left_out, choose_queries, gather
from .opinions import Opinions, ask
from .settings import Settings, read_settings

PROTOTYPES, NEAREST_CLASSES = 4, 5
_MOST_PHOTOS = 500  # of a class that are compared with each other


@dataclass(frozen=True)
class NearClass:
    """A class that another one may be taken for.

    Example:
        >>> for near in class_guide(gallery)['Wren'].nearest:
        ...     print(near.label, near.confused, near.pair)

    Attributes:
        label: Its name.
        similarity: Cosine similarity of the mean embeddings of both classes, -1 to 1.
        confused: Share of the photos of the class that are taken for this one when they are left out, 0 to 1; None if
            none could be left out.
        pair: Ids of the photos that are most alike, of the class and of this one.
    """

    label: str
    similarity: float
    confused: float | None
    pair: tuple[int, int]


@dataclass(frozen=True)
class ClassEntry:
    """What a guide shows of a class.

    Example:
        >>> entry = class_guide(gallery)['Wren']
        >>> print(entry.count, entry.prototypes, [one.label for one in entry.nearest])

    Attributes:
        label: Its name.
        count: Its photos.
        prototypes: Ids of typical photos, the most typical first, that differ from each other.
        recognised: Share of its photos that are recognised when they are left out, 0 to 1; None if none could be.
        nearest: The classes that it is most often taken for, then those that are most alike.
    """

    label: str
    count: int
    prototypes: list[int]
    recognised: float | None
    nearest: list[NearClass]


def prototypes(gallery: GalleryReader, count: int = 1, space: Space = None, where: Any = None) -> dict[str, list[int]]:
    """Ids of up to ``count`` typical photos of each class, by its label; empty where no photo has a label.

    The first is the medoid, which is most similar to all photos of its class on average. Each further one is that by
    which the photos are most similar to the nearest one chosen (greedy k-medoids), so that other sides of the class are
    shown. Of a class of more than 500 photos, the further ones are chosen among 500.
    """
    evidence = gather(gallery, space, where)
    rows, members = evidence.given, _members(evidence)
    return {evidence.names[code]: evidence.ids[_medoids(rows, own, count)].tolist() for code, own in members.items()}


def class_guide(
    gallery: GalleryReader,
    labels: Sequence[str] | None = None,
    space: Space = None,
    where: Any = None,
    *,
    prototypes: int = PROTOTYPES,
    nearest: int = NEAREST_CLASSES,
    settings: Settings | None = None,
) -> dict[str, ClassEntry]:
    """What a guide shows of some classes, by their labels, or of all for None; empty where no photo has a label.

    Photos are compared as the model sees them, without a metric that was learned from labels, which moves classes
    apart. How often a class is taken for others is found by leaving up to 4,000 photos of the classes that are wanted
    out in turn, and asking the gallery for them; only these photos are compared with others. Of more than 200,000 rows
    a random sample is used.

    Args:
        gallery: With labels.
        labels: Classes; None for all.
        space: Embeddings to compare, as in the gallery's ``search``.
        where: Filter; only rows that pass it count.
        prototypes: Typical photos of a class, at most.
        nearest: Classes that each may be taken for, at most.
        settings: How the gallery is asked; None for as it was tuned, or else the plain vote.

    Raises:
        RetrievalError: If there is no such class, or the space or the filter does not fit the gallery.
    """
    evidence = gather(gallery, space, where)
    numbers = {name: code for code, name in enumerate(evidence.names)}
    wanted = evidence.names if labels is None else list(labels)
    for label in wanted:
        if label not in numbers:
            raise RetrievalError(gallery.why_empty({'label': label}) or f'no photo that counts is of class {label!r}')
    if not wanted:
        return {}
    rows, members = evidence.given, _members(evidence)
    alike = _similar_classes(rows, evidence)
    codes = None if len(wanted) == len(evidence.names) else [numbers[label] for label in wanted]
    confusion = _Confusion.of(evidence, settings or read_settings(gallery, space, where)[0], codes)
    return {
        label: _entry(numbers[label], evidence, rows, members, alike, confusion, prototypes, nearest)
        for label in wanted
    }


class _Confusion(NamedTuple):
    """How often classes are taken for each other, sparse: photos by class, and by ``class * c + answer``."""

    asked: np.ndarray
    answers: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, evidence: Evidence, settings: Settings, classes: Sequence[int] | None) -> _Confusion:
        count = len(evidence.names)
        able = able_to_be_left_out(evidence)
        if count < 2 or not (able if classes is None else able & np.isin(evidence.codes, classes)).any():
            return cls(np.zeros(count, int), np.zeros(0, int), np.zeros(0, int))
        queries = choose_queries(evidence, classes)
        found: Opinions = ask(evidence, settings, queries, evidence.codes, (settings.rule,), few=classes is not None)
        codes = evidence.codes[found.rows]
        return cls(
            np.bincount(codes, minlength=count),
            *np.unique(codes * count + found.classes[:, 0], return_counts=True),
        )

    def shares(self, code: int) -> np.ndarray | None:
        """Share of a class's photos that are taken for each class, (c,); None if none was asked for."""
        count = len(self.asked)
        if not self.asked[code]:
            return None
        own = self.answers // count == code
        shares = np.zeros(count)
        shares[self.answers[own] % count] = self.counts[own] / self.asked[code]
        return shares


def _members(evidence: Evidence) -> dict[int, np.ndarray]:
    """Rows of each class."""
    order = np.argsort(evidence.codes, kind='stable')
    order = order[evidence.codes[order] >= 0]
    starts = np.flatnonzero(np.diff(evidence.codes[order], prepend=-1))
    return {int(evidence.codes[part[0]]): part for part in np.split(order, starts[1:]) if len(part)}


def _medoids(rows: np.ndarray, own: np.ndarray, count: int) -> np.ndarray:
    """Typical ones of the rows of a class, the most typical first; squared distances, so that any metric will do."""
    vectors = rows[own].astype(np.float64)
    first = int(np.square(vectors - vectors.mean(axis=0)).sum(axis=1).argmin())
    chosen = [first]
    if count > 1 and len(own) > 1:
        some = np.arange(len(own))
        if len(own) > _MOST_PHOTOS:
            drawn = np.random.default_rng(0).choice(len(own), _MOST_PHOTOS, replace=False)
            some = np.unique(np.append(drawn, first))
        part = vectors[some]
        squares = np.square(part).sum(axis=1)
        distances = (squares[:, None] + squares - 2 * part @ part.T).clip(min=0)
        places = [int(np.searchsorted(some, first))]
        covered = distances[places[0]]
        while len(places) < min(count, len(some)):
            gains = np.maximum(covered - distances, 0).sum(axis=1)
            gains[places] = -1.0
            places.append(int(gains.argmax()))
            covered = np.minimum(covered, distances[places[-1]])
        chosen = some[places].tolist()
    return own[chosen]


def _similar_classes(rows: np.ndarray, evidence: Evidence) -> np.ndarray:
    """Mean embeddings of classes, of length 1, float64 (c, d); zeros stay."""
    found = ClassMeans.of(rows, evidence.codes, len(evidence.names))
    means = found.sums / np.maximum(found.counts, 1)[:, None]
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def _entry(
    code: int,
    evidence: Evidence,
    rows: np.ndarray,
    members: dict[int, np.ndarray],
    means: np.ndarray,
    confusion: _Confusion,
    prototypes: int,
    nearest: int,
) -> ClassEntry:
    own = members[code]
    alike = means @ means[code]
    shares = confusion.shares(code)
    taken = np.zeros(len(alike)) if shares is None else shares
    order = [one for one in np.lexsort((-alike, -taken)).tolist() if one != code][:nearest]
    near = [
        NearClass(
            evidence.names[other],
            float(alike[other]),
            None if shares is None else float(shares[other]),
            _most_alike(rows, own, members[other], evidence.ids),
        )
        for other in order
    ]
    chosen = evidence.ids[_medoids(rows, own, prototypes)].tolist()
    recognised = None if shares is None else float(shares[code])
    return ClassEntry(evidence.names[code], len(own), chosen, recognised, near)


def _most_alike(rows: np.ndarray, first: np.ndarray, second: np.ndarray, ids: np.ndarray) -> tuple[int, int]:
    """Ids of the two photos of two classes that are nearest to each other."""
    left, right = rows[first], rows[second]
    distances = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1) - 2 * left @ right.T
    row, column = np.unravel_index(int(distances.argmin()), distances.shape)
    return int(ids[first[row]]), int(ids[second[column]])
