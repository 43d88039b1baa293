"""Labels of queries and gallery as numbers, and how many gallery rows are relevant to each query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import RetrievalError

Labels = np.ndarray | Sequence[int | str | None]


class LabelCodes(NamedTuple):
    """Classes of queries (m,) and gallery (n,), numbered from 0, -1 where there is no label; see :func:`encode_labels`.

    ``own_rows`` are the gallery rows that are the queries themselves; -1 where there is none. ``left_out``, (m, e), are
    all rows that are not searched for a query, -1 for none, if it is not only itself.
    """

    queries: np.ndarray
    gallery: np.ndarray
    own_rows: np.ndarray
    names: list[str]
    left_out: np.ndarray | None = None

    def num_relevant(self) -> np.ndarray:
        """Number of gallery rows of each query's class that are not left out, int64 (m,); 0 without a label."""
        sizes = np.bincount(self.gallery[self.gallery >= 0], minlength=len(self.names) + 1)
        rows = self.own_rows[:, None] if self.left_out is None else self.left_out
        alike = (np.append(self.gallery, -1)[rows] == self.queries[:, None]).sum(axis=1)
        return np.where(self.queries >= 0, sizes[self.queries] - alike, 0)


def encode_labels(
    query_labels: Labels,
    gallery_labels: Labels,
    own_rows: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
) -> LabelCodes:
    """Number the classes of queries (m,) and gallery (n,), in the order of their labels; None is no label.

    ``own_rows`` is the gallery row that is the query itself, -1 for none; ``class_names`` are for labels that are
    integers from 0. RetrievalError if labels are of both kinds, or something does not fit.
    """
    queries, gallery = _to_vector(query_labels, 'queries'), _to_vector(gallery_labels, 'the gallery')
    own = np.full(len(queries), -1, np.int64) if own_rows is None else np.asarray(own_rows, np.int64)
    if own.shape != queries.shape or (len(own) and not -1 <= own.min() <= own.max() < len(gallery)):
        raise RetrievalError(f'own_rows must be rows of the gallery, or -1, for each of the {len(queries)} queries')
    every = np.concatenate([queries, gallery])
    present = np.array([label is not None for label in every]) if every.dtype == object else np.ones(len(every), bool)
    kinds = {isinstance(label, str) for label in every[present]} if every.dtype == object else set()
    if len(kinds) > 1:
        raise RetrievalError('some labels are strings, others numbers: give all in one form')
    codes = np.full(len(every), -1, np.int64)
    classes = every[present]
    if len(classes):
        classes, codes[present] = np.unique(classes, return_inverse=True)
    names = classes.tolist()
    if class_names is not None:
        for label in names:
            if not isinstance(label, int) or not 0 <= label < len(class_names):
                raise RetrievalError(f'there are names of {len(class_names)} classes, but none of label {label}')
        names = [class_names[label] for label in names]
    return LabelCodes(codes[: len(queries)], codes[len(queries) :], own, list(map(str, names)))


def unseen_classes(labels: Iterable[str | None], num_train_classes: int | None = None) -> list[str]:
    """Classes that a class-disjoint protocol searches: those after the first half, in the order of their names.

    The protocol of metric learning (Oh Song et al., CVPR 2016): train on the first 100 classes of CUB-200-2011, search
    among all images of the other 100.

    Args:
        labels: Labels of images, or of classes.
        num_train_classes: So many of the first classes were for training; None for half, rounded down.

    Raises:
        RetrievalError: If that leaves none, or all.
    """
    names = sorted({label for label in labels if label is not None})
    first = len(names) // 2 if num_train_classes is None else num_train_classes
    if not 0 < first < len(names):
        raise RetrievalError(
            f'{first} of {len(names)} classes for training leaves none to search, or none to train: choose another '
            'number'
        )
    return names[first:]


def _as_objects(labels: Labels) -> np.ndarray:
    """Labels one by one, where NumPy would turn numbers among strings into strings."""
    values = list(labels)
    array = np.empty(len(values), object)
    for index, value in enumerate(values):
        array[index] = value
    return array


def _to_vector(labels: Labels, name: str) -> np.ndarray:
    array = labels if isinstance(labels, np.ndarray) else _as_objects(labels)
    if array.dtype.kind not in 'iuUO':
        raise RetrievalError(f'labels of {name} must be integers or strings, got {array.dtype}')
    if array.dtype == object:
        wrong = [
            one
            for one in array.flat
            if isinstance(one, bool) or not isinstance(one, (int, np.integer, str, type(None)))
        ]
        if wrong:
            raise RetrievalError(f'labels of {name} must be integers or strings, got {wrong[0]!r}')
        if array.size and all(isinstance(one, (int, np.integer)) for one in array.flat):
            array = array.astype(np.int64)
    if array.ndim != 1 or not len(array):
        raise RetrievalError(f'labels of {name} must be a vector with at least one entry, got shape {array.shape}')
    return array if array.dtype.kind in 'iu' else array.astype(object)
