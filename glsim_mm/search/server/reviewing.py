"""What waits for a person to decide: groups of copies, doubtful labels, rows without one, and new rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.gallery import ChangeSet, GalleryReader, GalleryWriter
from retrieval.gallery.spaces import Spaces
from retrieval.names import pretty_name
from retrieval.recognition import decide_duplicates, describe_recognition, read_names
from retrieval.recognition.duplicates import DISTINCT, KEPT, is_decided, read_decisions
from retrieval.recognition.reviewed import labels_to_review, review_values

from .answering import recognizer_of, show_row
from .galleries import ServedGallery
from .job_files import DONE, Job
from .jobs import Jobs
from .kinds_looking import AUDIT, DUPLICATES, read_found
from .kinds_writing import ADD
from .problems import Problem
from .writing import chosen_rows

SUSPECTS, UNKNOWN, NEW = 'suspects', 'unknown', 'new'
_SUGGESTED = 5


# -- copies ----------------------------------------------------------------------------------------------------------


def list_duplicates(served: ServedGallery, jobs: Jobs, cursor: str | None, limit: int) -> dict[str, Any]:
    """Groups of the last search for duplicates about which nobody has decided yet.

    Raises:
        Problem: If the cursor is of another search.
    """
    state, job = served.newest(), jobs.last(DUPLICATES.name, served)
    start = _read_cursor(cursor, job)
    found = [] if job is None else _open_groups(served, state, jobs, job)
    page = [one for one in found if one['place'] >= start][:limit]
    is_last = not page or page[-1] is found[-1]
    shown = [
        dict(
            id=one['id'],
            similarity=one['similarity'],
            same_content=one['same_content'],
            rows=[show_row(served, record) for record in state.records(one['ids'])],
        )
        for one in page
    ]
    following = None if is_last or job is None else f'{job.id}.{page[-1]["place"] + 1}'
    about = dict(gallery=served.name, generation=state.manifest.generation, job=None if job is None else job.id)
    return dict(about, total=len(found), groups=shown, next=following)


def _open_groups(served: ServedGallery, state: GalleryReader, jobs: Jobs, job: Job) -> list[dict[str, Any]]:
    """Groups of a search that still have two rows, and about which nobody has decided, with their places in it."""

    def find() -> list[dict[str, Any]]:
        every, decisions = state.ids(), read_decisions(state)
        groups = []
        for place, one in enumerate(_found_by(served, jobs, job)):
            ids = [number for number, is_there in zip(one['ids'], np.isin(one['ids'], every)) if is_there]
            if len(ids) > 1 and not is_decided(decisions, ids):
                groups.append(dict(one, ids=ids, place=place))
        return groups

    return served.kept.get(state, ('duplicates', job.id), find)


def _found_by(served: ServedGallery, jobs: Jobs, job: Job) -> list[dict[str, Any]]:
    """What a job has found, read once for each state of the gallery."""
    folder: Path = jobs.folder_of(job)
    return served.kept.get(served.newest(), ('found', job.id), lambda: read_found(folder))


def decide(
    served: ServedGallery, jobs: Jobs, group: str, action: str, keep: Sequence[int], by: str | None
) -> Callable[[GalleryWriter], ChangeSet]:
    """What becomes of a group: its rows are remembered as duplicates, or as none, or are removed but for some.

    Raises:
        Problem: If there is no such group, or nothing of it would be kept.
    """

    def change(writer: GalleryWriter) -> ChangeSet:
        job = jobs.last(DUPLICATES.name, served)
        found = [] if job is None else [one for one in _found_by(served, jobs, job) if one['id'] == group]
        wanted = np.array(found[0]['ids'] if found else [], np.int64)
        ids = wanted[np.isin(wanted, writer.ids())].tolist()
        if len(ids) < 2:
            raise Problem(404, 'no-such-group', 'the last search for duplicates has no such group, or it is gone')
        if action != 'remove':
            values = decide_duplicates(writer, ids, KEPT if action == 'keep' else DISTINCT)
            return writer.set_values(ids, values, by=by)
        if not keep or not set(keep) <= set(ids):
            raise Problem(422, 'wrong-rows', 'say which rows of the group to keep: at least one')
        return writer.remove([one for one in ids if one not in keep], by=by)

    return change


# -- labels ----------------------------------------------------------------------------------------------------------


def list_reviews(served: ServedGallery, jobs: Jobs, kind: str, cursor: str | None, limit: int) -> dict[str, Any]:
    """Rows whose label a person should look at, with labels that they may have.

    Raises:
        Problem: If the cursor is of another list.
    """
    state = served.newest()
    job = jobs.last(AUDIT.name, served) if kind == SUSPECTS else None
    start = _read_cursor(cursor, job)
    waiting = _waiting(served, state, jobs, kind, job)
    places = [place for place in waiting if place >= start][:limit]
    last = max(waiting, default=0)
    shown = _show_suspects(served, state, waiting, places) if kind == SUSPECTS else _show_rows(served, state, places)
    following = None
    if places and places[-1] != last:
        following = f'{"" if job is None else job.id}.{places[-1] + 1}'
    about = dict(gallery=served.name, generation=state.manifest.generation, kind=kind, total=len(waiting))
    return dict(about, items=shown, next=following)


def _waiting(
    served: ServedGallery, state: GalleryReader, jobs: Jobs, kind: str, job: Job | None
) -> dict[int, dict[str, Any]]:
    """What nobody has reviewed yet, by its place: of suspects that in the audit, else the id of the row."""

    added: list[Job] = []
    if kind == NEW:
        added = [one for one in jobs.listed(served.name) if one.kind == ADD.name and one.state == DONE]

    def find() -> dict[int, dict[str, Any]]:
        labels = labels_to_review(state)
        if kind == SUSPECTS:
            found = [] if job is None else _found_by(served, jobs, job)
            return {place: one for place, one in enumerate(found) if labels.get(one['id'], None) == one['label']}
        if kind == UNKNOWN:
            return {number: {} for number, label in labels.items() if label is None}
        new = {number for one in added for number in one.result.get('ids', ())}
        return {number: {} for number in labels if number in new}

    key = 'review', kind, None if job is None else job.id, tuple(one.id for one in added)
    return served.kept.get(state, key, find, len(state))


def _show_suspects(
    served: ServedGallery, state: GalleryReader, waiting: dict[int, dict[str, Any]], places: Sequence[int]
) -> list[dict[str, Any]]:
    found = [waiting[place] for place in places]
    records = state.records([one['id'] for one in found]) if found else []
    return [
        dict(row=show_row(served, record), reason=one['reason'], suggestions=_suggestions(one['suggestions']))
        for record, one in zip(records, found)
    ]


def _show_rows(served: ServedGallery, state: GalleryReader, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Rows with what the gallery's recogniser says of them, each without itself and without rows of its file."""
    if not len(ids):
        return []
    records = state.records(ids)
    recognizer = recognizer_of(served, state)
    vectors = {name: state.vectors(ids, name) for name in Spaces.of(state).weights(None)}
    same = state.same_content([record.content_hash for record in records])
    exclude = [np.union1d(own, [number]) for own, number in zip(same, ids)]
    found = recognizer.recognize(vectors, exclude, transformed=True)
    names = read_names(state, found)
    return [
        dict(
            row=show_row(served, record),
            reason=describe_recognition(answer, names),
            suggestions=_suggestions([(one.label, one.probability) for one in answer.candidates]),
        )
        for record, answer in zip(records, found)
    ]


def _suggestions(candidates: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(label=label, name=pretty_name(label), share=share) for label, share in candidates[:_SUGGESTED]]


def review(ids: Sequence[int], label: str | None, by: str | None) -> Callable[[GalleryWriter], ChangeSet]:
    """Give rows a label, or none, and remember that a person has looked at them.

    Raises:
        Problem: If a row is not there.
    """

    def change(writer: GalleryWriter) -> ChangeSet:
        return writer.set_values(chosen_rows(writer, ids, None), review_values(label), by=by)

    return change


# -- pages -----------------------------------------------------------------------------------------------------------


def _read_cursor(cursor: str | None, job: Job | None) -> int:
    """Place from which a page begins, in what a job has found, or in the order of ids where there is no job."""
    if cursor is None:
        return 0
    name, _, place = cursor.rpartition('.')
    if name != ('' if job is None else job.id) or not (place.isascii() and place.isdecimal() and len(place) < 20):
        raise Problem(422, 'wrong-cursor', 'this cursor belongs to another list: begin with the first page')
    return int(place)
