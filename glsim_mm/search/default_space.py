"""Which space of a new gallery searches compare by default, and why; docs/studies has the measurements."""

from collections.abc import Sequence

from retrieval.class_metric import LearnedMetric, read_sources
from retrieval.errors import RetrievalError
from retrieval.gallery.spaces import Spaces
from retrieval.held_out import LEAST_CLASSES, classes_of_several
from retrieval.whitening import check_classes

from .base_encoder import AGGREGATED, CONCAT, GLOBAL, BaseEncoder

AUTO, LABELS, NONE = METRICS_FROM = ('auto', 'labels', 'none')


def check_metric_from(metric_from: str, whiten: int | None, labels: Sequence[str | None] | None) -> None:
    """Refuse (RetrievalError) what is no choice, or cannot be learned from some labels, before anything is encoded."""
    if metric_from not in METRICS_FROM or (metric_from == LABELS and whiten is not None):
        raise RetrievalError(
            f'metric_from must be one of {", ".join(METRICS_FROM)}, and not labels with whiten, got {metric_from!r}'
        )
    if metric_from == LABELS and labels is not None:
        check_classes(labels)


def is_computed(encoder: BaseEncoder, metric_from: str, whiten: int | None) -> bool:
    """Whether a space is computed from those of the model, by a metric or as their sum."""
    return whiten is None and (metric_from == LABELS or (metric_from == AUTO and encoder.adds_up))


def views_of(encoder: BaseEncoder, spaces: Spaces, wanted: str | None = None) -> tuple[str, ...]:
    """The spaces that are added up: those ``wanted``, as ``'global+crop'``.

    Otherwise all alike of an encoder that is not trained for search, and the first alone of others. RetrievalError if
    one is unknown, comes twice, or has another dimension.
    """
    if wanted is not None:
        return read_sources(spaces, wanted)
    first, *others = spaces.dimensions
    if not encoder.adds_up or first == CONCAT:
        return (first,)
    return (first, *(name for name in others if spaces.dimensions[name] == spaces.dimensions[first]))


def is_worth_learning(labels: Sequence[str | None], metric_from: str) -> bool:
    """Whether a metric is to be learned: where it is asked for, or there are classes enough to test it."""
    return metric_from == LABELS or len(classes_of_several(labels)) >= LEAST_CLASSES


def explain_default(
    encoder: BaseEncoder, space: str, views: Sequence[str], computed: LearnedMetric | None, given: Sequence[str]
) -> str:
    """One line: a space that searches compare by default, and why it is this one.

    Args:
        encoder: Made the embeddings.
        space: The space.
        views: What it is computed from.
        computed: How; None for an embedding of the model.
        given: All spaces of the gallery.
    """
    is_learned = computed is not None and computed.kept
    if not encoder.adds_up:
        if is_learned:
            return f'{space}, because classes that were held out gain'
        if space == GLOBAL and AGGREGATED in given:
            return f'{space}, which finds classes that were not trained better than {AGGREGATED}'
        if space == AGGREGATED:
            return f'{space}, which the model was trained to be searched by'
        return f'{space}, the first'
    passes = encoder.count_passes()
    cost = 'one pass of the encoder for each photo'
    if passes > 1:
        cost = f'{passes} passes of the encoder for each photo; --spaces global takes one'
    what = ' + '.join(views)
    if is_learned:
        return f'{space}, {what} with a metric, because classes that were held out gain ({cost})'
    if space in views:
        return f'{space} ({cost})'
    return f'{space}, {what}, the best of an encoder without training where labels tell no more ({cost})'
