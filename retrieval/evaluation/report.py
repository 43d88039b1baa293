"""What an evaluation found: means over queries and over classes, and the classes, worst first."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..errors import RetrievalError
from .labels import LabelCodes

SORTED_BY = 'MAP@R'


@dataclass(frozen=True)
class ClassScores:
    """How well the images of one class find each other.

    Attributes:
        name: Of the class.
        num_queries: Queries of the class.
        metrics: Means over them, 0 to 1, by name.
    """

    name: str
    num_queries: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class RetrievalReport:
    """Quality of a search.

    Attributes:
        metrics: Means over queries, 0 to 1: ``Recall@k`` for each k, ``R-Precision``, ``MAP@R`` and, where the whole
            ranking was made, ``mAP``.
        class_metrics: Means over classes of their means, the same names.
        classes: Those with queries that count, the smallest MAP@R first, then by name.
        num_queries: Queries that count: they have a relevant image in the gallery.
        num_gallery: Images that were searched.
        num_lone: Queries that do not count because no other image of their class is in the gallery.
        lone_classes: Their classes, by name.
        num_unlabeled: Queries that do not count because they have no label.
        num_unlabeled_gallery: Images of the gallery without a label; they are ranked and relevant to none.
        settings: What was evaluated, for people. Defaults to nothing.
        num_shared: Queries apart from the gallery whose very file is in it, which makes numbers too good.
    """

    metrics: dict[str, float]
    class_metrics: dict[str, float]
    classes: list[ClassScores]
    num_queries: int
    num_gallery: int
    num_lone: int
    lone_classes: list[str]
    num_unlabeled: int
    num_unlabeled_gallery: int
    settings: dict[str, str] = field(default_factory=dict)
    num_shared: int = 0

    def to_json(self) -> dict[str, Any]:
        """All of it in types that JSON knows."""
        return asdict(self)


def summarize(values: dict[str, np.ndarray], codes: LabelCodes) -> RetrievalReport:
    """Means of the scores of queries.

    Args:
        values: float64, (m,), by name of the metric; NaN for queries without a relevant image.
        codes: Classes of queries and gallery.

    Returns:
        Of these queries.

    Raises:
        RetrievalError: If no query has a relevant image.
    """
    labeled = codes.queries >= 0
    counted = labeled & (codes.num_relevant() > 0)
    if not counted.any():
        raise RetrievalError(
            'no query has another image of its class in the gallery: check the labels, the filters and that query and '
            'gallery share classes'
        )
    classes, members, sizes = np.unique(codes.queries[counted], return_inverse=True, return_counts=True)
    of_classes = {name: np.bincount(members, scores[counted]) / sizes for name, scores in values.items()}
    scores_of = [
        ClassScores(codes.names[label], int(size), {name: float(of_classes[name][row]) for name in values})
        for row, (label, size) in enumerate(zip(classes.tolist(), sizes.tolist()))
    ]
    lone = labeled & ~counted
    return RetrievalReport(
        metrics={name: float(scores[counted].mean()) for name, scores in values.items()},
        class_metrics={name: float(scores.mean()) for name, scores in of_classes.items()},
        classes=sorted(scores_of, key=lambda scores: (scores.metrics[SORTED_BY], scores.name)),
        num_queries=int(counted.sum()),
        num_gallery=len(codes.gallery),
        num_lone=int(lone.sum()),
        lone_classes=[codes.names[label] for label in np.unique(codes.queries[lone]).tolist()],
        num_unlabeled=int((~labeled).sum()),
        num_unlabeled_gallery=int((codes.gallery < 0).sum()),
    )
