"""Which embeddings of a gallery, and which metric, find classes best that are held out, from stored vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from .class_metric import fit_metric, read_labeled, read_sources
from .errors import RetrievalError
from .evaluation.gallery_evaluation import check_same_model
from .gallery.contract import GalleryReader, GalleryWriter
from .gallery.spaces import Spaces
from .held_out import (
    LEAST_CLASSES,
    LEVEL,
    SCORES,
    ClassScores,
    Labeled,
    classes_of_several,
    differences,
    held_out_scores,
    mean_of,
    prepare,
    sign_flip,
)
from .metric_kinds import KINDS, find_kind
from .whitening import JOINT, add_views

DEFAULT_KINDS = tuple(KINDS)
_MOST_SUBSETS = 4  # of more spaces, sums are those of two and of all
_DRAWS = 2_000
# Embeddings by space, and the label of each row.
Views = tuple[dict[str, np.ndarray], list[str | None]]


class Candidate(NamedTuple):
    """A way to compare photos: the spaces of the model whose embeddings are added up, and a kind of metric."""

    sources: tuple[str, ...]
    kind: str

    @property
    def views(self) -> str:
        """As ``--space`` of ``metric.py`` takes it."""
        return JOINT.join(self.sources)


@dataclass(frozen=True)
class Row:
    """What held-out classes say of a candidate, as means over classes, 0 to 1.

    Attributes:
        candidate: What was tried.
        scores: MAP@R and Recall@1.
        gain: MAP@R above the first row's.
        interval: 95 % interval of the gain: bootstrap over classes (2,000 draws, seed 0).
        p: Chance of such a gain if there were none, see :func:`retrieval.held_out.sign_flip`.
    """

    candidate: Candidate
    scores: dict[str, float]
    gain: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True)
class Choice:
    """All candidates, what is searched today first.

    Attributes:
        rows: One for each candidate.
        classes: How many classes were held out, each at least once.
        best: Number of the row that is best, which is the first unless another gains for certain.
        frugal: Number of the row with the fewest views, the best of those, than which the best is not better for
            certain.
    """

    rows: list[Row]
    classes: int
    best: int
    frugal: int

    @property
    def winner(self) -> Candidate:
        """The best candidate."""
        return self.rows[self.best].candidate


def list_candidates(
    spaces: Spaces, names: Sequence[str] | None = None, kinds: Iterable[str] = DEFAULT_KINDS
) -> list[Candidate]:
    """Each space of the model, and each sum of several of one dimension, with each kind; what is searched today first.

    Of more than four spaces, sums are those of two and of all. RetrievalError if a space or kind is unknown.
    """
    given = list(spaces.given) if names is None else [spaces.space(name) for name in names]
    if any(not spaces.is_given(name) for name in given):
        raise RetrievalError(f'only spaces that the model gives are added up: {", ".join(spaces.given)}')
    alike: dict[int, list[str]] = {}
    for name in dict.fromkeys(given):
        alike.setdefault(spaces.dimensions[name], []).append(name)
    sums: list[tuple[str, ...]] = [(name,) for name in dict.fromkeys(given)]
    for group in alike.values():
        sizes = range(2, len(group) + 1) if len(group) <= _MOST_SUBSETS else (2, len(group))
        sums += [found for size in sizes for found in combinations(group, size)]
    today = Candidate(read_sources(spaces, None), _kind_of(spaces))
    tried = [Candidate(sources, kind) for sources in sums for kind in dict.fromkeys(kinds) if find_kind(kind)]
    return list(dict.fromkeys([today, *tried]))


def choose(
    gallery: GalleryReader,
    candidates: Sequence[Candidate] | None = None,
    *,
    labels_from: GalleryReader | None = None,
    note: Callable[[], object] = lambda: None,
) -> Choice:
    """Compare spaces of a gallery, their sums and kinds of metrics by classes that are held out; no model is needed.

    Several random halves of the classes are held out in turn, the same for all candidates. A metric is learned from
    the others, or from all classes of another gallery that are not held out. The best MAP@R wins if it is above that of
    what is searched today by a randomisation test over classes at the level of 5 %, divided by the number of the others
    (Bonferroni), and Recall@1 does not lose at the level of 5 %.

    Args:
        gallery: Rows have labels.
        candidates: What to compare, what is searched today first; None for what :func:`list_candidates` gives.
        labels_from: Gallery of the same model to learn metrics from; None for the gallery itself.
        note: Called whenever a candidate is done.

    Raises:
        RetrievalError: If fewer than five classes have two rows, or the galleries do not belong together.
    """
    spaces = Spaces.of(gallery)
    candidates = candidates or list_candidates(spaces)
    if labels_from is not None:
        check_same_model(gallery, labels_from)
    views = _read_views(gallery, candidates)
    others = views if labels_from is None else _read_views(labels_from, candidates)
    found: list[ClassScores] = []
    for candidate in candidates:
        own, source = (_add_up(one, candidate.sources, spaces.metric) for one in (views, others))
        if len(classes_of_several(own.labels)) < LEAST_CLASSES:
            raise RetrievalError(
                f'comparing takes {LEAST_CLASSES} classes of two photos or more, {gallery.location} has '
                f'{len(classes_of_several(own.labels))}: give more photos their labels'
            )
        learn = None if candidate.kind == 'sum' else KINDS[candidate.kind].learn
        found.append(held_out_scores(source, own, spaces.metric, learn))
        note()
    rows = [_compare(candidate, found[0], scores) for candidate, scores in zip(candidates, found)]
    best = max(range(len(rows)), key=lambda number: rows[number].scores['MAP@R'])
    loss = sign_flip(-differences(found[0], found[best], 'Recall@1'))
    is_certain = rows[best].p * max(1, len(rows) - 1) <= LEVEL and loss > LEVEL
    if not is_certain:
        best = 0
    alike = [
        number for number, scores in enumerate(found) if sign_flip(differences(scores, found[best], 'MAP@R')) > LEVEL
    ]
    frugal = min(alike, key=lambda one: (len(rows[one].candidate.sources), -rows[one].scores['MAP@R']))
    return Choice(rows, len(found[0]['MAP@R']), best, frugal if best else 0)


def apply_choice(gallery: GalleryWriter, choice: Choice, labels_from: GalleryReader | None = None) -> str:
    """Make searches compare what is best by default; a sentence that says so, and how it was learned."""
    if choice.best == 0:
        return 'Nothing is changed.'
    sources, kind = choice.winner
    if kind == 'sum' and len(sources) == 1:
        gallery.prefer_space(sources[0])
        return f'Searches now compare {sources[0]} by default.'
    found = fit_metric(gallery, choice.winner.views, kind=kind, labels_from=labels_from, force=True)
    return found.describe()


def format_choice(choice: Choice) -> str:
    """A table of 80 columns, what is searched today first and the best last, and what it means."""
    width = max(len(row.candidate.views) for row in choice.rows)
    lines = [f'{"embeddings":<{width}}  {"metric":<8} {"MAP@R":>6} {"R@1":>6} {"MAP@R above today":>24}']
    order = [0, *sorted(range(1, len(choice.rows)), key=lambda number: choice.rows[number].scores['MAP@R'])]
    lines += [_format_row(choice.rows[number], width, number == 0, number == choice.best) for number in order]
    lines.append(f'{choice.classes} classes, held out by halves; 95 % intervals, bootstrap over classes; *: best')
    return '\n'.join([*lines, _advise(choice)])


def command_of(choice: Choice, location: str, labels_from: str | None = None) -> list[str]:
    """The command that makes the best the default, as words; none where it is already."""
    sources, kind = choice.winner
    if choice.best == 0:
        return []
    if kind == 'sum' and len(sources) == 1:
        return ['search', location, 'PHOTO.jpg', '--space', sources[0]]
    words = ['metric', 'fit', location, '--space', choice.winner.views]
    words += ['--kind', kind] if kind != 'classes' else []
    return words + (['--labels-from', labels_from] if labels_from and KINDS[kind].needs_labels else [])


def choice_to_json(choice: Choice) -> dict[str, Any]:
    """All numbers, in types that JSON knows."""
    rows = [
        {**asdict(row), 'candidate': dict(sources=list(row.candidate.sources), kind=row.candidate.kind)}
        for row in choice.rows
    ]
    return dict(classes=choice.classes, best=choice.best, rows=rows)


def _advise(choice: Choice) -> str:
    if choice.best:
        best, frugal = (choice.rows[number].candidate for number in (choice.best, choice.frugal))
        text = f'Best: {best.views}, {KINDS[best.kind].what}'
        if len(frugal.sources) < len(best.sources):
            text += f'\nFewer views, not worse for certain: {frugal.views}, {frugal.kind}'
        return text
    today = choice.rows[0].candidate
    return f'Nothing is better for certain than what is searched today: {today.views}, {today.kind}'


def _format_row(row: Row, width: int, is_today: bool, is_best: bool) -> str:
    gain = 'today'
    if not is_today:
        low, high = (f'{100 * one:+.1f}' for one in row.interval)
        gain = f'{100 * row.gain:+.1f} [{low}, {high}]'
    scores = ' '.join(f'{100 * row.scores[name]:>6.1f}' for name in SCORES)
    kind = 'none' if row.candidate.kind == 'sum' else row.candidate.kind
    return f'{row.candidate.views:<{width}}  {kind:<8} {scores} {gain:>24}{" *" if is_best else ""}'


def _kind_of(spaces: Spaces) -> str:
    """The kind of the space that is searched today."""
    transform = spaces.transforms.get(spaces.space(None))
    return 'sum' if transform is None or not transform.source else transform.notes.get('kind', 'classes')


def _read_views(
    gallery: GalleryReader, candidates: Sequence[Candidate]
) -> tuple[dict[str, np.ndarray], list[str | None]]:
    """Stored embeddings of all spaces that are tried, and the labels."""
    names = list(dict.fromkeys(name for candidate in candidates for name in candidate.sources))
    read = [read_labeled(gallery, [name]) for name in names]
    return {name: one.rows for name, one in zip(names, read)}, list(read[0].labels)


def _add_up(views: Views, sources: Sequence[str], metric: str) -> Labeled:
    rows, labels = views
    return prepare(Labeled(add_views([rows[name] for name in sources]), labels), metric)


def _compare(candidate: Candidate, today: ClassScores, scores: ClassScores) -> Row:
    gains = differences(today, scores, 'MAP@R')
    drawn = np.random.default_rng(0).integers(len(gains), size=(_DRAWS, len(gains)))
    low, high = np.quantile(gains[drawn].mean(axis=1), (0.025, 0.975))
    means = {name: mean_of(scores, name) for name in SCORES}
    return Row(candidate, means, float(gains.mean()), (float(low), float(high)), sign_flip(gains))
