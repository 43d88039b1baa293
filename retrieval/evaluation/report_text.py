"""An evaluation as text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from .report import ClassScores, RetrievalReport

TEXT_WIDTH = 80
_NAMED_CLASSES = 3


def format_report(report: RetrievalReport, num_classes: int = 0, width: int = TEXT_WIDTH) -> str:
    """A table of the metrics, what did not count, and the classes that are found worst.

    Args:
        num_classes: How many classes to list, those with the smallest MAP@R first.
        width: Characters per line; long names give way. Defaults to 80.

    Returns:
        Several lines; numbers in per cent.
    """
    lines = [_cut(f'{name + ":":<10} {value}', width) for name, value in report.settings.items()]
    lines += [f'queries:   {report.num_queries} of {len(report.classes)} classes', f'gallery:   {report.num_gallery}']
    lines += [_cut(line, width) for line in _not_counted(report)]
    lines += ['', f'{"per cent":<12}  {"over queries":>12}  {"over classes":>12}']
    for name, value in report.metrics.items():
        lines.append(f'{name:<12}  {100 * value:>12.2f}  {100 * report.class_metrics[name]:>12.2f}')
    if num_classes > 0:
        lines += ['', *_class_table(report.classes[:num_classes], width)]
    return '\n'.join(lines)


def _not_counted(report: RetrievalReport) -> list[str]:
    lines = []
    if report.num_shared:
        lines.append(f'warning: {report.num_shared} queries are in the gallery too, as the very same file')
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
    shown = [_cut(scores.name, room) for scores in classes]
    room = max(_columns(name) for name in (*shown, 'class'))
    lines = [f'{"class":<{room}}  queries' + ''.join(f'  {name:>{size}}' for name, size in zip(columns, sizes))]
    for name, scores in zip(shown, classes):
        cells = ''.join(f'  {100 * scores.metrics[column]:>{size}.2f}' for column, size in zip(columns, sizes))
        lines.append(f'{name}{" " * (room - _columns(name))}  {scores.num_queries:>7}{cells}')
    return lines


def _cut(text: str, width: int) -> str:
    """Text that fits; the middle gives way, because names of a group often differ at their end."""
    text = ''.join(character if character.isprintable() else ' ' for character in text)
    start, end = text[: len(text) // 2], text[len(text) // 2 :]
    while _columns(text) > width:
        start, end = (start[:-1], end) if len(start) > len(end) else (start, end[1:])
        text = f'{start}…{end}'
    return text


def _columns(text: str) -> int:
    """Columns of a terminal: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in 'WF' else 1 for character in text)
