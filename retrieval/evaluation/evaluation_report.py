"""What an evaluation found: means over queries and over classes, the classes themselves, and all of it as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..answers import TERMINAL_WIDTH, shorten, text_width
from ..errors import RetrievalError
from .labels import LabelCodes

SORTED_BY = 'MAP@R'
_NAMED_CLASSES = 3


@dataclass(frozen=True)
class ClassScores:
    """How well the images of one class find each other.

    Example:
        >>> worst = report.classes[0]
        >>> print(worst.name, worst.metrics['Recall@1'])  # means over its num_queries queries, 0 to 1
    """

    name: str
    num_queries: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class RetrievalReport:
    """Quality of a search.

    Example:
        >>> report = evaluate_embeddings(embeddings, labels)
        >>> report.metrics['MAP@R'], report.classes[0].name  # the class that is found worst

    Attributes:
        metrics: Means over queries, 0 to 1, by name; see :func:`retrieval.metrics.metrics_of`.
        class_metrics: Means over classes of their means, by the same names.
        classes: Classes with queries that count, the smallest MAP@R first, then by name.
        num_queries: Number of queries that count: they have a relevant image in the gallery.
        num_gallery: Number of images that were searched.
        num_lone: Number of queries that do not count because no other image of their class is in the gallery.
        lone_classes: Names of the classes of these queries, in order.
        num_unlabeled: Number of queries that do not count because they have no label.
        num_unlabeled_gallery: Number of images of the gallery without a label; they are ranked, but relevant to none.
        settings: What was evaluated, for people.
        num_shared: Number of queries, of another gallery, whose very file is in this one, which makes numbers too good.
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
    """Means of each query's scores, float64 (m,) by name; RetrievalError if no query has a relevant image."""
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


def format_report(report: RetrievalReport, num_classes: int = 0, width: int = TERMINAL_WIDTH) -> str:
    """A table of the metrics, what did not count, and the ``num_classes`` classes with the smallest MAP@R."""
    lines = [shorten(f'{name + ":":<10} {value}', width) for name, value in report.settings.items()]
    lines += [f'queries:   {report.num_queries} of {len(report.classes)} classes', f'gallery:   {report.num_gallery}']
    lines += [shorten(line, width) for line in _not_counted(report)]
    lines += ['', f'{"per cent":<12}  {"over queries":>12}  {"over classes":>12}']
    for name, value in report.metrics.items():
        lines.append(f'{name:<12}  {100 * value:>12.2f}  {100 * report.class_metrics[name]:>12.2f}')
    if num_classes > 0:
        lines += ['', *_class_table(report.classes[:num_classes], width)]
    return '\n'.join(lines)


def _not_counted(report: RetrievalReport) -> list[str]:
    lines = []
    if report.num_shared:
        lines.append(f'warning: {report.num_shared} queries are in the gallery too, as the very same file;')
        lines.append('  --exclude-same leaves these rows out')
    if report.num_lone:
        names = ', '.join(report.lone_classes[:_NAMED_CLASSES])
        more = len(report.lone_classes) - _NAMED_CLASSES
        names += f' and {more} more' if more > 0 else ''
        lines += [f'not counted: {report.num_lone} with no other image of their class in the gallery:', f'  {names}']
    if report.num_unlabeled:
        lines.append(f'not counted: {report.num_unlabeled} queries without a label')
    if report.num_unlabeled_gallery:
        lines.append(f'without a label, so relevant to no query: {report.num_unlabeled_gallery} of the gallery')
    return lines


def _class_table(classes: Sequence[ClassScores], width: int) -> list[str]:
    """Classes below each other; of the recalls only the first, so that a line has room."""
    names = list(classes[0].metrics)
    columns = [*names[:1], *(name for name in names[1:] if not name.startswith('Recall@'))]
    sizes = [max(len(name), 6) for name in columns]
    room = max(width - 9 - sum(sizes) - 2 * len(sizes), 8)
    shown = [shorten(scores.name, room) for scores in classes]
    room = max(text_width(name) for name in (*shown, 'class'))
    lines = [f'{"class":<{room}}  queries' + ''.join(f'  {name:>{size}}' for name, size in zip(columns, sizes))]
    for name, scores in zip(shown, classes):
        cells = ''.join(f'  {100 * scores.metrics[column]:>{size}.2f}' for column, size in zip(columns, sizes))
        lines.append(f'{name}{" " * (room - text_width(name))}  {scores.num_queries:>7}{cells}')
    return lines
