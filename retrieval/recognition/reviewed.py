"""Labels that a person has looked at, which nobody is asked about again as long as the row keeps them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..gallery.contract import GalleryReader

REVIEWED = 'reviewed_label'
"""Column: the label that a person has confirmed, or :data:`NO_LABEL`."""

NO_LABEL = 'unknown'


def review_values(label: str | None) -> dict[str, str | None]:
    """What a row is given when a person says what it is, None for unknown: the label, and that it was looked at."""
    return {'label': label, REVIEWED: NO_LABEL if label is None else label}


def labels_to_review(gallery: GalleryReader, where: Any = None) -> dict[int, str | None]:
    """Labels, by ascending id, of the rows that nobody has looked at with the label that they have."""
    ids, labels = gallery.column('label', where)
    reviewed = gallery.column(REVIEWED, where)[1] if REVIEWED in gallery.columns() else [None] * len(ids)
    return {
        number: label
        for number, label, seen in zip(ids.tolist(), labels, reviewed)
        if seen != review_values(label)[REVIEWED]
    }


def are_reviewed(gallery: GalleryReader, ids: np.ndarray, where: Any = None) -> np.ndarray:
    """Which rows, int64 (n,), have a label that a person has looked at, bool (n,)."""
    if REVIEWED not in gallery.columns():
        return np.zeros(len(ids), bool)
    return ~np.isin(ids, np.fromiter(labels_to_review(gallery, where), np.int64))
