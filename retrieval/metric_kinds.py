"""The kinds of maps that a gallery can compare embeddings by: one table, to fit them and to choose among them."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from .adapter import fit_adapter
from .errors import RetrievalError
from .held_out import Labeled, class_scores, classes_of_several, halves, of_classes
from .whitening import DEFAULT_SHRINKAGE, Whitening, within_class

SHRINKAGES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
PCA_DIMENSION = 64


class Kind(NamedTuple):
    """A row of :data:`KINDS`.

    Attributes:
        suffix: What the name of a space gets behind that of its source.
        learn: Learns from labeled embeddings, for those that are searched (m, d), both of length 1 for cosine, and the
            metric by which they are compared.
        what: What it is, for people.
        needs_labels: Whether it reads labels.
    """

    suffix: str
    learn: Callable[[Labeled, np.ndarray, str], Whitening]
    what: str
    needs_labels: bool = True


def learn_nothing(labeled: Labeled, searched: np.ndarray, metric: str) -> Whitening:
    """The map that changes nothing, by which a sum of views becomes a space."""
    width = searched.shape[1]
    return Whitening(np.eye(width, dtype=np.float32), np.zeros(width, np.float32), metric == 'cosine')


def learn_pca(labeled: Labeled, searched: np.ndarray, metric: str) -> Whitening:
    """PCA whitening, see :meth:`retrieval.whitening.Whitening.fit`, of what is searched."""
    return Whitening.fit(searched, min(PCA_DIMENSION, searched.shape[1], len(searched) - 1), metric == 'cosine')


def learn_classes(labeled: Labeled, searched: np.ndarray, metric: str) -> Whitening:
    """Within-class whitening, see :func:`retrieval.whitening.within_class`, after which what is searched has mean 0.

    Its shrinkage, which is chosen on held-out classes, is in its notes.
    """
    shrinkage = _choose_shrinkage(labeled, metric)
    mean = searched.mean(axis=0, dtype=np.float64)
    found = within_class(labeled.rows, labeled.labels).whitening(shrinkage, mean, metric == 'cosine')
    found.notes['shrinkage'] = shrinkage
    return found


def learn_adapter(labeled: Labeled, searched: np.ndarray, metric: str) -> Whitening:
    """A residual adapter, see :func:`retrieval.adapter.fit_adapter`, and behind it :func:`learn_classes`."""
    if metric != 'cosine':
        raise RetrievalError(f'an adapter goes with cosine similarity, the gallery compares by {metric}')
    residual = fit_adapter(labeled.rows, labeled.labels)
    adapted = Labeled(residual.apply(labeled.rows), labeled.labels)
    found = learn_classes(adapted, residual.apply(searched), metric)
    found.residual = residual
    return found


KINDS = {
    'sum': Kind('', learn_nothing, 'the embeddings as they are, or of several views their sum', False),
    'pca': Kind('-pca', learn_pca, f'PCA whitening to {PCA_DIMENSION} dimensions', False),
    'classes': Kind('-metric', learn_classes, 'within-class whitening'),
    'adapter': Kind('-adapter', learn_adapter, 'a residual adapter and within-class whitening'),
}
"""What can be fitted to embeddings, by the names that command lines use."""


def find_kind(name: str) -> Kind:
    """A row of :data:`KINDS`; RetrievalError if there is none, with the nearest."""
    if name not in KINDS:
        near = get_close_matches(str(name), KINDS, 1)
        hint = f'did you mean {near[0]}?' if near else f'take one of {", ".join(KINDS)}'
        raise RetrievalError(f'there is no kind of metric {name!r}; {hint}')
    return KINDS[name]


def _choose_shrinkage(labeled: Labeled, metric: str) -> float:
    """The shrinkage with which one half of the classes, and then the other, is found best by a metric of the rest."""
    classes = classes_of_several(labeled.labels)
    if len(classes) < 4:
        return DEFAULT_SHRINKAGE
    scores = np.zeros(len(SHRINKAGES))
    for half in halves(classes, 1):
        rest, held = of_classes(labeled, half, inside=False), of_classes(labeled, half)
        learned = within_class(rest.rows, rest.labels)
        for number, shrinkage in enumerate(SHRINKAGES):
            transform = learned.whitening(shrinkage, held.rows.mean(axis=0, dtype=np.float64), metric == 'cosine')
            scores[number] += np.mean(list(class_scores(held, transform, metric)['MAP@R'].values()))
    return SHRINKAGES[int(np.argmax(scores))]
