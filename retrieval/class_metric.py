"""Metrics learned from the labels of a gallery, kept only where classes that were held out are found better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .errors import RetrievalError
from .evaluation.gallery_evaluation import check_same_model, read_labels
from .gallery.contract import GalleryReader, GalleryWriter
from .gallery.spaces import Spaces
from .held_out import LEAST_CLASSES, Labeled, Learn, Trial, class_sizes, classes_of_several, held_out_scores, prepare
from .metric_kinds import KINDS, find_kind
from .whitening import JOINT, Whitening, add_views

FUSED = 'fused'  # begins the names of spaces that are computed from several
_MOST_ROWS = 50_000


@dataclass
class LearnedMetric:
    """A metric, what it was learned from, and whether it is any good.

    Example:
        >>> print(fit_metric(gallery).describe())

    Attributes:
        space: The space that it compares, see :func:`name_space`.
        transform: From embeddings of its sources.
        kind: A key of :data:`retrieval.metric_kinds.KINDS`.
        rows: How many rows it was learned from.
        classes: Of how many classes they are.
        unlabeled: Rows that were left out because they have no label.
        lone: Classes that were left out because they have one row.
        shrinkage: See :func:`retrieval.whitening.within_class`; None where no label is read.
        trial: What held-out classes say; None if there are too few.
        foreign: Whether the gallery has too few labels of its own, and classes of the other gallery were held out.
        kept: Whether the gallery has it.
    """

    space: str
    transform: Whitening
    kind: str
    rows: int
    classes: int
    unlabeled: int
    lone: int
    shrinkage: float | None
    trial: Trial | None
    foreign: bool = False
    kept: bool = False
    learned_from: str = ''

    @property
    def gains(self) -> bool:
        """Whether held-out classes gain."""
        return self.trial is not None and self.trial.gains

    def notes(self) -> dict[str, Any]:
        """What the metric carries along."""
        names = ('kind', 'rows', 'classes', 'unlabeled', 'lone', 'shrinkage', 'foreign', 'learned_from')
        trial = None if self.trial is None else asdict(self.trial)
        return {**{name: getattr(self, name) for name in names}, 'trial': trial}

    def describe(self) -> str:
        """Sentences for people: what it was learned from, what held-out classes say, and what became of it."""
        lines = [describe_notes(self.space, self.notes())]
        if self.kept:
            kept = 'It is' if self.gains or not KINDS[self.kind].needs_labels else 'Because you insist, it is'
            lines.append(f'{kept} kept as the space {self.space}, which searches compare by default.')
        elif self.trial is None:
            lines.append(f'It is not kept, because testing it takes {LEAST_CLASSES} classes or more; --force keeps it.')
        elif self.gains:
            lines.append('It is worth keeping.')
        else:
            lines.append('It is not kept, because held-out classes do not gain for certain; --force keeps it.')
        return '\n'.join(lines)


def describe_notes(space: str, notes: dict[str, Any]) -> str:
    """Sentences about a metric that a gallery has, by what it carries along."""
    if not notes:
        return f'{space}: nothing is known of how it was learned.'
    kind = notes.get('kind', 'classes')
    if not KINDS[kind].needs_labels:
        lines = [f'{space}: {KINDS[kind].what}; {notes["rows"]} rows.']
    else:
        lines = [_describe_learning(space, notes, 'adapter, ' if kind == 'adapter' else '')]
    if notes['trial']:
        lines.append(f'{Trial(**notes["trial"]).describe()}.')
    if notes['foreign']:
        lines.append('These are classes of the gallery it was learned from: this one has too few labels for a test.')
    return '\n'.join(lines)


def _describe_learning(space: str, notes: dict[str, Any], more: str) -> str:
    """What a metric was learned from."""
    origin = f' of {notes["learned_from"]}' if notes['learned_from'] else ''
    left = [
        *([f'{notes["unlabeled"]} rows without a label'] if notes['unlabeled'] else []),
        *([f'{notes["lone"]} classes of one row'] if notes['lone'] else []),
    ]
    how = f'{more}shrinkage {notes["shrinkage"]:g}' + (f'; {" and ".join(left)} left out.' if left else '.')
    return f'{space}: learned from {notes["rows"]} rows of {notes["classes"]} classes{origin}, {how}'


def fit_metric(
    gallery: GalleryWriter,
    space: str | None = None,
    *,
    kind: str = 'classes',
    labels_from: GalleryReader | None = None,
    force: bool = False,
) -> LearnedMetric:
    """Learn a metric from stored embeddings and labels, and keep it as a space of the gallery if it helps.

    What needs no labels, the sum of several views or PCA whitening, is kept in any case.

    No model is needed. Rows without a label and classes of one row are left out; of more than 50,000 rows a random
    sample (seed 0) is used. A metric that was learned before is replaced.

    Args:
        gallery: In a folder.
        space: Whose embeddings to compare, or several as ``'global+crop'``, whose sum (:func:`add_views`) is compared;
            None for what searches compare by default, or its source.
        kind: A key of :data:`retrieval.metric_kinds.KINDS`.
        labels_from: Gallery of the same model from whose labels to learn; None for the gallery itself.
        force: Keep it whatever held-out classes say.

    Raises:
        RetrievalError: If the gallery takes no new space, there are too few labels, or models differ.
    """
    if gallery.fixed_spaces:
        raise RetrievalError(gallery.fixed_spaces)
    spaces = Spaces.of(gallery)
    sources = read_sources(spaces, space)
    own = read_labeled(gallery, sources)
    other = None
    if labels_from is not None:
        check_same_model(gallery, labels_from)
        check_same_space(gallery, labels_from, sources)
        other = read_labeled(labels_from, sources)
    name = '' if labels_from is None else labels_from.location
    found = learn_metric(own, sources, kind=kind, learn_from=other, metric=spaces.metric, location=name)
    if found.gains or force or not KINDS[kind].needs_labels:
        gallery.put_space(found.space, found.transform)
        found.kept = True
    return found


def read_sources(spaces: Spaces, text: str | None) -> tuple[str, ...]:
    """The spaces of the model behind a space, the default one for None, or behind several, written ``global+crop``.

    RetrievalError if one is unknown or comes twice, or they differ in dimension.
    """
    names = spaces.sources(spaces.space(None)) if text is None else tuple(text.split(JOINT))
    found = [source for name in names for source in spaces.sources(spaces.space(name))]
    if len(set(found)) < len(found):
        raise RetrievalError(f'{text} adds up an embedding twice: name each space once')
    if len({spaces.dimensions[name] for name in found}) > 1:
        sizes = ', '.join(f'{name} {spaces.dimensions[name]}' for name in found)
        raise RetrievalError(f'only embeddings of one dimension can be added up, these have {sizes}: leave one out')
    return tuple(found)


def name_space(sources: Sequence[str], kind: str) -> str:
    """Name of a space that is computed from some that the model gives: ``'global-metric'``, ``'fused-pca'``.

    RetrievalError if there is nothing to compute.
    """
    if kind == 'sum' and len(sources) == 1:
        raise RetrievalError(f'{sources[0]} alone is no sum: name several spaces, as global+crop')
    return (sources[0] if len(sources) == 1 else FUSED) + find_kind(kind).suffix


def describe_metrics(gallery: GalleryReader) -> str:
    """Sentences about the metrics that a gallery has learned."""
    learned = {space: one for space, one in gallery.transforms.items() if one.source}
    lines = [
        f'{describe_notes(space, one.notes)}\nfingerprint {one.fingerprint[:12]}' for space, one in learned.items()
    ]
    return '\n'.join(lines) or f'{gallery.location} has no learned metric: learn one with glsim metric fit'


def remove_metric(gallery: GalleryWriter, space: str | None = None) -> str:
    """Remove the metric of a space, by the name of either; None for the only one. Returns the name of what is gone."""
    if gallery.fixed_spaces:
        raise RetrievalError(gallery.fixed_spaces)
    learned = {name: one.source for name, one in gallery.transforms.items() if one.source}
    found = [name for name, source in learned.items() if space in (None, name, source)]
    if len(found) != 1:
        raise RetrievalError(
            f'{gallery.location} has {"several metrics" if found else "no such metric"}: name the space of one of '
            f'{", ".join(learned)}'
            if learned
            else f'{gallery.location} has no learned metric'
        )
    gallery.remove_space(found[0])
    return found[0]


def read_labeled(gallery: GalleryReader, sources: Sequence[str]) -> Labeled:
    """Stored embeddings of a space, or the sum of several, with labels; of many rows, a random sample (seed 0)."""
    ids = gallery.ids()
    if not len(ids):
        raise RetrievalError(f'{gallery.location} is empty: add photos with labels')
    ids = sample_rows(ids)
    return Labeled(add_views([gallery.vectors(ids, one) for one in sources]), read_labels(gallery, ids))


def sample_rows(ids: np.ndarray) -> np.ndarray:
    """Ids, or as many of them as a metric is learned from (seed 0), ascending."""
    return ids if len(ids) <= _MOST_ROWS else np.sort(np.random.default_rng(0).choice(ids, _MOST_ROWS, replace=False))


def check_same_space(gallery: GalleryReader, other: GalleryReader, sources: Sequence[str]) -> None:
    """Refuse (RetrievalError) another gallery that has not the embeddings of some spaces in the same form."""
    spaces = Spaces.of(other)
    for space in map(spaces.space, sources):
        prints = [one.transforms[space].fingerprint if space in one.transforms else '' for one in (gallery, other)]
        if prints[0] != prints[1] or gallery.manifest.metric != spaces.metric:
            raise RetrievalError(
                f'{other.location} keeps {space} in another form than {gallery.location}: build it again'
            )


def learn_metric(
    searched: Labeled,
    sources: Sequence[str],
    *,
    kind: str = 'classes',
    learn_from: Labeled | None = None,
    metric: str = 'cosine',
    location: str = '',
) -> LearnedMetric:
    """Learn a metric, choose its shrinkage and test it, all by leaving out classes.

    Args:
        searched: Embeddings among which to search, whose mean is taken away. Labels may all be None with
            ``learn_from``.
        sources: Their spaces; of several, the embeddings are the sum.
        kind: A key of :data:`retrieval.metric_kinds.KINDS`.
        learn_from: Embeddings with the labels to learn from; None for those that are searched.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``, by which embeddings are compared.
        location: Gallery of ``learn_from``, for people.

    Raises:
        RetrievalError: If fewer than two classes have two rows, or an embedding is not finite.
    """
    name, how = name_space(sources, kind), find_kind(kind)
    own = prepare(searched, metric)
    source = own if learn_from is None else prepare(learn_from, metric)
    sizes = class_sizes(source.labels)
    transform = how.learn(source, own.rows, metric)
    foreign = learn_from is not None and len(classes_of_several(own.labels)) < LEAST_CLASSES
    found = LearnedMetric(
        name,
        transform,
        kind,
        rows=sum(size for size in sizes.values() if size > 1) if how.needs_labels else len(own.rows),
        classes=sum(size > 1 for size in sizes.values()),
        unlabeled=sum(one is None for one in source.labels),
        lone=sum(size == 1 for size in sizes.values()),
        shrinkage=transform.notes.get('shrinkage'),
        trial=None if kind == 'sum' else _try(source, source if foreign else own, metric, how.learn),
        foreign=foreign,
        learned_from=location,
    )
    transform.source, transform.notes = JOINT.join(sources), found.notes()
    return found


def _try(source: Labeled, tested: Labeled, metric: str, learn: Learn) -> Trial | None:
    """What classes say that are held out; None if there are too few."""
    if len(classes_of_several(tested.labels)) < LEAST_CLASSES:
        return None
    before, after = (held_out_scores(source, tested, metric, one) for one in (None, learn))
    return Trial.of(before, after)
