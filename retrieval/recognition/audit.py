"""What may be wrong with the labels and photos of a gallery, found by asking the gallery about its own photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..gallery.contract import GalleryReader, Space
from ..gallery.spaces import Spaces
from ..names import pretty_name
from ..records import Record, check_number
from .duplicates import DuplicateGroup, find_duplicates, near_threshold
from .left_out import OBSERVATION, Evidence, Progress, able_to_be_left_out, gather
from .opinions import Opinions, ask, best_other, choose_settings, contradicted, doubts
from .outliers import find_outliers
from .reviewed import are_reviewed
from .settings import Settings

HARD, CHANCE = 0.75, 0.05
_LEAST_PHOTOS = 5  # of each of two classes that are compared
_SUGGESTED = 5


@dataclass(frozen=True)
class Suspect:
    """A photo whose label the rest of the gallery contradicts.

    Example:
        >>> for one in audit(gallery).suspects:
        ...     print(one.id, one.label, one.suggestions[0], one.reason)

    Attributes:
        id: Of the row.
        label: The given label.
        share: Its probability by the rest of the gallery, 0 to 1.
        suggestions: Up to five other labels with their probabilities, the likeliest first.
        doubt: 0.9 to 1, see :func:`retrieval.recognition.opinions.doubts`.
        reason: One sentence for people.
    """

    id: int
    label: str
    share: float
    suggestions: list[tuple[str, float]]
    doubt: float
    reason: str


@dataclass(frozen=True)
class Conflict:
    """Photos that are the same, or show the same, but have different labels or lie in different splits.

    Example:
        >>> [(one.kind, one.differ, [record.path for record in one.records]) for one in audit(gallery).conflicts]

    Attributes:
        kind: ``'equal'`` or ``'similar'``, as in :class:`DuplicateGroup`, or ``'observation'``: photos of one
            individual, by the column of that name.
        records: Two or more.
        differ: ``'label'``, ``'split'``, or both.
    """

    kind: str
    records: list[Record]
    differ: tuple[str, ...]


@dataclass(frozen=True)
class HardPair:
    """Two classes that the gallery cannot tell apart, or hardly.

    Example:
        >>> [(one.first, one.second, one.accuracy) for one in audit(gallery).pairs]

    Attributes:
        first, second: Labels.
        photos: How many there are of each.
        wrong: How many of each are taken for the other rather than for their own class.
        accuracy: Between these two alone, mean of both classes, 0 to 1; 0.5 is what guessing gives.
        is_chance: Whether that is no better than guessing, by a test at the level of 5 %.
    """

    first: str
    second: str
    photos: tuple[int, int]
    wrong: tuple[int, int]
    accuracy: float
    is_chance: bool


@dataclass(frozen=True)
class Outlier:
    """A photo that is far from all others: a wrong file, a blank, or the only one of its kind.

    Example:
        >>> [(one.id, one.distance) for one in audit(gallery).outliers]

    Attributes:
        id: Of the row.
        label: The given label, if any.
        distance: To the nearest class, in times of what is usual, see
            :func:`retrieval.recognition.outliers.find_outliers`.
    """

    id: int
    label: str | None
    distance: float


@dataclass(frozen=True)
class Audit:
    """What an audit has found; each list is ordered, the worst first.

    Example:
        >>> found = audit(gallery)
        >>> print(len(found.suspects), 'of', found.checked, 'labels are doubtful')

    Attributes:
        photos: Rows of the gallery that were looked at.
        labelled: How many of them have a label.
        classes: How many classes there are.
        checked: Labels that could be checked; a photo that is alone in its class cannot.
        accuracy: Share of the checked labels that the rest of the gallery agrees with; None if none was checked.
        settings: How it was asked; None likewise.
        notes: Sentences about what could not be done, and why.
    """

    photos: int
    labelled: int
    classes: int
    checked: int
    accuracy: float | None
    settings: Settings | None
    suspects: list[Suspect] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    pairs: list[HardPair] = field(default_factory=list)
    outliers: list[Outlier] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def audit(
    gallery: GalleryReader,
    space: Space = None,
    where: Any = None,
    *,
    threshold: float | Literal['auto'] | None = 'auto',
    progress: Progress | None = None,
) -> Audit:
    """Look for wrong labels, copies that contradict each other, classes that are hard to tell apart, and odd photos.

    Each photo is left out with its observation, and the rest of the gallery is asked what it is, both by a vote and by
    class means, as the gallery was tuned or else as ``tune`` would choose. Labels that are contradicted are then taken
    out of what is asked, and all photos are asked for once more, so that wrong labels do not vouch for each other.
    Labels that a person has confirmed (:mod:`retrieval.recognition.reviewed`) are not doubted. No model is needed. Of
    more than 200,000 rows a random sample is audited.

    Args:
        gallery: Of any size, with labels or without.
        space: Embeddings to compare, as in the gallery's ``search``.
        where: Filter; only rows that pass it count.
        threshold: Least similarity of near-duplicates, or for ``'l2'`` largest squared distance, in the embeddings of
            the model; ``'auto'`` for that of :func:`retrieval.recognition.near_threshold`, None for files with the same
            bytes alone.
        progress: Told how far it is, where each photo counts three times: left out twice, and compared with others.

    Raises:
        RetrievalError: If the space or the filter does not fit the gallery.
    """
    if threshold not in ('auto', None):
        check_number(threshold, 'threshold')
    evidence = gather(gallery, space, where)
    every = np.arange(len(evidence.ids))
    able = able_to_be_left_out(evidence)
    labelled = int((evidence.codes >= 0).sum())
    confirmed = are_reviewed(gallery, evidence.ids, where)
    notes = _notes(evidence, labelled, int(able.sum()), len(gallery.ids(where)))

    def part(before: int, each: int = 1) -> Progress | None:
        return None if progress is None else lambda done, _: progress(before + each * done, 3 * len(every))

    settings, asked = None, ask(evidence, Settings(), every[:0], evidence.codes)
    if able.any() and len(evidence.names) > 1:
        settings = choose_settings(evidence, gallery, space, where, part(0, each=0))
        asked = ask_twice(evidence, settings, confirmed, part(0), part(len(every))).of_rows(able)
    codes = evidence.codes[asked.rows]
    labels = [*evidence.names, None]
    return Audit(
        photos=len(every),
        labelled=labelled,
        classes=len(evidence.names),
        checked=len(asked.rows),
        accuracy=float((asked.classes[:, 0] == codes).mean()) if settings else None,
        settings=settings,
        suspects=_suspects(evidence, asked, confirmed),
        conflicts=_conflicts(gallery, space, where, threshold, part(2 * len(every))),
        pairs=hard_pairs(evidence.names, codes, asked),
        outliers=[
            Outlier(int(evidence.ids[place]), labels[evidence.codes[place]], distance)
            for place, distance in zip(*map(np.ndarray.tolist, find_outliers(evidence.given, evidence.codes)))
        ],
        notes=notes,
    )


def ask_twice(
    evidence: Evidence,
    settings: Settings,
    confirmed: np.ndarray | None = None,
    in_first: Progress | None = None,
    in_second: Progress | None = None,
) -> Opinions:
    """Opinions on all photos, by those whose label was not contradicted in a first round, or is confirmed, bool (n,).

    Each round has a progress.
    """
    every = np.arange(len(evidence.ids))
    first = ask(evidence, settings, every, evidence.codes, progress=in_first)
    able = able_to_be_left_out(evidence)
    doubtful = contradicted(first, evidence.codes, len(evidence.names)) & able
    if confirmed is not None:
        doubtful &= ~confirmed
    if not doubtful.any():
        return first
    known = evidence.codes >= 0
    sizes = np.bincount(evidence.codes[known], minlength=len(evidence.names))
    gone = np.bincount(evidence.codes[doubtful], minlength=len(evidence.names))
    # A class most of whose photos are doubted is kept whole: without it, it would be wrong by itself.
    trusted = np.where(doubtful & (2 * gone < sizes)[evidence.codes], -1, evidence.codes)
    second = ask(evidence._replace(codes=trusted), settings, every, evidence.codes, progress=in_second)
    return second._replace(nearest=first.nearest)  # by the labels that people see


def _notes(evidence: Evidence, labelled: int, able: int, rows: int) -> list[str]:
    notes = []
    if len(evidence.ids) < rows:
        notes.append(f'A random sample of {len(evidence.ids):,} of {rows:,} photos was audited.')
    if not labelled:
        notes.append('No photo has a label, so that only copies and odd photos were looked for.')
    elif len(evidence.names) < 2:
        notes.append(f'All labelled photos are of one class, {pretty_name(evidence.names[0])}: labels say nothing.')
    elif able < labelled:
        alone = labelled - able
        notes.append(
            f'{alone:,} photos are alone in their class and cannot be checked.'
            if alone > 1
            else '1 photo is alone in its class and cannot be checked.'
        )
    return notes


def _suspects(evidence: Evidence, asked: Opinions, confirmed: np.ndarray) -> list[Suspect]:
    is_wrong = contradicted(asked, evidence.codes, len(evidence.names)) & ~confirmed[asked.rows]
    found = asked.of_rows(is_wrong)
    codes, doubt = evidence.codes[found.rows], doubts(found, evidence.codes)
    other = best_other(found, evidence.codes)[0]
    agree = [(found.nearest == one[:, None]).sum(axis=1) for one in (codes, other)]
    counted = (found.nearest >= 0).sum(axis=1)
    suspects = []
    for place in np.argsort(-doubt, kind='stable').tolist():
        label = evidence.names[codes[place]]
        shown = [
            (evidence.names[code], share)
            for code, share in zip(found.classes[place].tolist(), found.shares[place].tolist())
            if code not in (-1, codes[place]) and share > 0
        ][:_SUGGESTED]
        best = evidence.names[other[place]]
        reason = (
            f'labelled {pretty_name(label)}, but looks like {pretty_name(best)}: {agree[1][place]} of its '
            f'{counted[place]} nearest photos are of that class, {agree[0][place]} of its own (P = {shown[0][1]:.2f} '
            f'against {found.own[place]:.2f})'
        )
        row_id = int(evidence.ids[found.rows[place]])
        suspects.append(Suspect(row_id, label, float(found.own[place]), shown, float(doubt[place]), reason))
    return suspects


def _conflicts(
    gallery: GalleryReader,
    space: Space,
    where: Any,
    threshold: float | Literal['auto'] | None,
    progress: Progress | None,
) -> list[Conflict]:
    spaces = Spaces.of(gallery)
    compared = next(iter(spaces.weights(space)))
    given = spaces.sources(compared)[0]
    if threshold == 'auto':
        threshold = near_threshold(gallery, given, where)
    groups = find_duplicates(gallery, threshold, space=given, where=where, progress=progress)
    groups += _observations(gallery, where)
    return [
        Conflict(group.kind, group.records, differ)
        for group in groups
        if (differ := tuple(name for name in ('label', 'split') if _differ(group.records, name)))
    ]


def _differ(records: Sequence[Record], name: str) -> bool:
    return len({value for record in records if (value := getattr(record, name)) is not None}) > 1


def _observations(gallery: GalleryReader, where: Any) -> list[DuplicateGroup]:
    """Photos of each individual of several."""
    if OBSERVATION not in gallery.columns():
        return []
    ids, values = gallery.column(OBSERVATION, where)
    members: dict[Any, list[int]] = {}
    for row_id, value in zip(ids.tolist(), values):
        if value is not None:
            members.setdefault(value, []).append(row_id)
    return [DuplicateGroup(OBSERVATION, gallery.records(rows)) for rows in members.values() if len(rows) > 1]


def hard_pairs(names: Sequence[str], codes: np.ndarray, asked: Opinions) -> list[HardPair]:
    """Pairs of classes that are told apart in less than 75 of 100 photos, with five photos or more each.

    A photo of one is taken for the other where the other is likelier than its own class, whatever a third one is.
    ``codes`` are the given classes, int64 (q,).
    """
    count = len(names)
    sizes = np.bincount(codes, minlength=count)
    place, column = np.nonzero((asked.classes >= 0) & (asked.shares > asked.own[:, None]))
    pairs, wrong = np.unique(codes[place] * count + asked.classes[place, column], return_counts=True)
    taken = dict(zip(pairs.tolist(), wrong.tolist()))
    found = []
    for first, second in sorted({tuple(sorted(divmod(pair, count))) for pair in taken}):
        both = sizes[[first, second]]
        missed = np.array([taken.get(first * count + second, 0), taken.get(second * count + first, 0)])
        accuracy = float(1 - (missed / np.maximum(both, 1)).mean())
        if both.min() >= _LEAST_PHOTOS and accuracy < HARD:
            # The normal approximation of the chance of so many right guesses.
            spread = np.sqrt((0.25 / both).sum()) / 2
            found.append(
                HardPair(
                    names[first],
                    names[second],
                    (int(both[0]), int(both[1])),
                    (int(missed[0]), int(missed[1])),
                    accuracy,
                    bool(accuracy < 0.5 + 1.645 * spread),
                )
            )
    return sorted(found, key=lambda one: (one.accuracy, one.first, one.second))
