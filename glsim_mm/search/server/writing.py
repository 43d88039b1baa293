"""Changing what a gallery says of its rows, and taking that back. No HTTP here but its refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.gallery import ChangeSet, GalleryReader, GalleryWriter, UndoPlan, parse_conditions
from retrieval.gallery.history import ROW
from retrieval.relabelling import count_rows, describe_columns

from .galleries import ServedGallery
from .problems import Problem

_LOOKED_AT = 500  # rows of a change set, up to which it is found out whether it can be taken back
_SHOWN = 3


def write(
    served: ServedGallery,
    generation: int,
    change: Callable[[GalleryWriter], ChangeSet],
    follows: bool = False,
) -> dict[str, Any]:
    """Change a gallery that is still as the one who asks has seen it.

    Args:
        served: The gallery.
        generation: The one that was seen.
        change: Does it.
        follows: Whether rows that were added since do no harm, because the change says by ids what it is about.

    Raises:
        Problem: If the gallery has changed, or somebody else writes to it.
    """
    with served.writing() as writer:
        check_generation(served, writer, generation, follows)
        done = change(writer)
        now = writer.manifest.generation
    return dict(gallery=served.name, generation=now, changed=done.rows, change=done.number or None)


def check_generation(served: ServedGallery, gallery: GalleryReader, seen: int, follows: bool = False) -> None:
    """Refuse what is based on another generation than a gallery has.

    Raises:
        Problem: Then; ``generation`` is that of today.
    """
    now = gallery.manifest.generation
    if seen != now and not (follows and served.has_only_grown(seen, now)):
        raise Problem(
            412,
            'changed-meanwhile',
            f'{served.name} has changed since it was looked at: look at it again',
            {'ETag': f'"{now}"'},
            generation=now,
        )


def set_values(
    served: ServedGallery, number: int, values: dict[str, Any], by: str | None
) -> Callable[[GalleryWriter], ChangeSet]:
    """New values of one row.

    Raises:
        Problem: If there is no such row.
    """

    def change(writer: GalleryWriter) -> ChangeSet:
        served.record(number, writer)
        return writer.set_values([number], values, by=by)

    return change


def set_label(
    ids: Sequence[int] | None, where: Sequence[str] | None, label: str | None, by: str | None
) -> Callable[[GalleryWriter], ChangeSet]:
    """One label for rows that are given by ids or by a filter."""

    def change(writer: GalleryWriter) -> ChangeSet:
        return writer.set_labels(chosen_rows(writer, ids, where), label, by=by)

    return change


def chosen_rows(gallery: GalleryReader, ids: Sequence[int] | None, where: Sequence[str] | None) -> np.ndarray:
    """Ids of rows that are given by ids, each once, or by a filter.

    Raises:
        Problem: If a row is not there, or no row passes the filter.
    """
    if ids is None:
        conditions = parse_conditions(where or ())
        found = gallery.ids(conditions)
        if not len(found):
            raise Problem(404, 'no-such-row', gallery.why_empty(conditions) or 'the gallery is empty')
        return found
    wanted = np.unique(np.array(ids, np.int64))
    missing = wanted[~np.isin(wanted, gallery.ids())]
    if len(missing):
        raise Problem(404, 'no-such-row', f'the gallery has no row {missing[0]}')
    return wanted


def undo(
    number: int, by: str | None, skip_changed: bool, check_rows: Callable[[], None]
) -> Callable[[GalleryWriter], ChangeSet]:
    """Take back a change; ``check_rows`` is asked first where rows as a whole come back or go.

    Raises:
        Problem: If there is no such change, or rows are in the way.
    """

    def change(writer: GalleryWriter) -> ChangeSet:
        if number not in [one.number for one in writer.history()]:
            raise Problem(404, 'no-such-change', f'there is no change {number}')
        plan = writer.plan_undo(number)
        if any(one.column == ROW for one in plan.changes):
            check_rows()
        if plan.left and not (skip_changed and plan.changes):
            raise _cannot_undo(plan)
        return writer.undo(number, by=by, skip_changed=skip_changed)

    return change


def list_changes(gallery: GalleryReader, limit: int) -> list[dict[str, Any]]:
    """The last changes of a gallery, the newest first."""
    history = gallery.history()
    undone: set[int] = set()
    for one in reversed(history):  # what was taken back, by something that was not taken back itself
        if one.undoes is not None and one.number not in undone:
            undone.add(one.undoes)
    return [
        dict(
            id=one.number,
            time=one.time,
            what=_describe(gallery, one),
            rows=one.rows,
            by=one.by,
            undone=one.number in undone,
            can_undo=one.number not in undone and _can_undo(gallery, one),
        )
        for one in reversed(history[-limit:])
    ]


def _can_undo(gallery: GalleryReader, one: ChangeSet) -> bool:
    if one.rows > _LOOKED_AT:
        return True
    try:
        plan = gallery.plan_undo(one.number)
    except RetrievalError:
        return False
    return bool(plan.changes) and not plan.left


def _describe(gallery: GalleryReader, one: ChangeSet) -> str:
    """A change in words: ``'label: Wren'`` where all its rows have got one value, else the columns."""
    said = ', '.join(one.columns)
    if ROW in one.columns:
        said = f'{count_rows(one.rows)} {describe_columns(one)}'
    elif one.rows <= _LOOKED_AT and len(one.columns) == 1:
        new = list(dict.fromkeys(change.new for change in gallery.changes(one.number)))
        shown = ', '.join('no value' if value is None else str(value) for value in new[:_SHOWN])
        said += f': {shown}' + (f' and {len(new) - _SHOWN} more' if len(new) > _SHOWN else '')
    return said if one.undoes is None else f'took back change {one.undoes} ({said})'


def _cannot_undo(plan: UndoPlan) -> Problem:
    reasons = '; '.join(f'{count_rows(len(ids))} {reason}' for reason, ids in plan.left.items())
    advice = '; with skip_changed, the others are taken back' if plan.changes else ''
    return Problem(409, 'cannot-undo', f'change {plan.number} cannot be taken back whole: {reasons}{advice}')
