"""A writer that is killed at random points, and a model of its gallery in NumPy that knows what it may have done.

Each step is a change that follows from the seed, the number of the step and the state before it, so that the parent can
tell the states before and after the one at which the writer was killed.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retrieval.gallery import Record, back_up_gallery, create_gallery, open_gallery

DIMENSION = 6
LABELS = ('wren', 'robin', 'finch', 'tit')
PRESETS = ('flat', 'fp16', 'IVF2,Flat')


class Row(NamedTuple):
    vector: tuple[float, ...]
    label: str
    number: int


@dataclass(frozen=True)
class State:
    """Rows by id, and what else a gallery and its backup have to show."""

    rows: dict[int, Row] = field(default_factory=dict)
    next_id: int = 0
    changes: int = 0  # change sets in the history
    last_labels: dict[int, tuple[str, str]] = field(default_factory=dict)  # what an undo takes back
    last_removed: dict[int, Row] = field(default_factory=dict)  # or brings back
    backup: tuple | None = None

    @property
    def view(self) -> tuple:
        return sorted(self.rows.items()), self.changes


Change = tuple[str, State, Callable[[Any], object]]


def change(state: State, seed: int, step: int, backup: Path) -> Change:
    """Name of the change of a step, the state after it, and how to make it."""
    rng = np.random.default_rng([seed, step])
    ids = sorted(state.rows)
    kinds = ['add'] * (4 if len(ids) < 60 else 1) + ['compact', 'backup']
    if ids:
        kinds += ['update', 'remove', 'remove', 'label', 'label'] + ['undo'] * 2 * bool(state.last_labels)
    kinds += ['bring back'] * 4 * bool(state.last_removed)
    kind = str(rng.choice(kinds))
    some = sorted(rng.choice(ids, size=rng.integers(1, len(ids) + 1), replace=False).tolist()) if ids else []
    same = replace(state, last_labels={}, last_removed={})
    if kind == 'add':
        count = int(rng.integers(1, 20))
        vectors = rng.normal(size=(count, DIMENSION)).astype(np.float32)
        labels = rng.choice(LABELS, size=count).tolist()
        new = {state.next_id + n: Row(tuple(vectors[n].tolist()), labels[n], step) for n in range(count)}
        records = [Record(f'{number}.jpg', label=row.label, metadata={'n': row.number}) for number, row in new.items()]
        after = replace(same, rows={**state.rows, **new}, next_id=state.next_id + count)
        return kind, after, lambda gallery: gallery.add(vectors, records)
    if kind == 'update':
        vectors = rng.normal(size=(len(some), DIMENSION)).astype(np.float32)
        new = {number: state.rows[number]._replace(vector=tuple(row.tolist())) for number, row in zip(some, vectors)}
        return kind, replace(same, rows={**state.rows, **new}), lambda gallery: gallery.update(some, vectors)
    if kind == 'remove':
        label = str(rng.choice(LABELS))
        kept = {number: row for number, row in state.rows.items() if row.label != label}
        gone = {number: row for number, row in state.rows.items() if row.label == label}
        after = replace(same, rows=kept, last_removed=gone, changes=state.changes + bool(gone))
        return kind, after, lambda gallery: gallery.remove(where={'label': label})
    if kind == 'bring back':
        after = replace(same, rows={**state.rows, **state.last_removed}, changes=state.changes + 1)
        return kind, after, lambda gallery: gallery.undo()
    if kind == 'label':
        labels = rng.choice(LABELS, size=len(some)).tolist()
        old = {number: state.rows[number].label for number in some}
        changed = {number: (old[number], label) for number, label in zip(some, labels) if label != old[number]}
        after = replace(_relabelled(same, changed), last_labels=changed)
        return kind, after, lambda gallery: gallery.set_labels(some, labels)
    if kind == 'undo':
        back = {number: (new, old) for number, (old, new) in state.last_labels.items()}
        return kind, replace(_relabelled(same, back), last_labels=back), lambda gallery: gallery.undo()
    if kind == 'compact':
        preset = str(rng.choice(PRESETS))
        return kind, replace(state, last_removed={}), lambda gallery: gallery.compact(preset)
    return kind, replace(state, backup=state.view), lambda gallery: back_up_gallery(gallery.location, backup)


def _relabelled(state: State, changed: dict[int, tuple[str, str]]) -> State:
    rows = {number: state.rows[number]._replace(label=label) for number, (_, label) in changed.items()}
    return replace(state, rows={**state.rows, **rows}, changes=state.changes + bool(changed))


def view_of(place: Path) -> tuple | None:
    """What a reader sees, after checking that it hangs together; None where nothing is."""
    if not (place / 'gallery.sqlite').exists():
        return None
    with open_gallery(place) as gallery:
        gallery.verify()
        ids = gallery.ids()
        records, vectors = gallery.records(ids), gallery.vectors(ids)
        assert len(gallery) == len(ids)
        if len(ids):
            np.testing.assert_array_equal(gallery.search(vectors, 1).ids[:, 0], ids)
        assert all(record.path == f'{record.id}.jpg' for record in records)
        rows = [
            (record.id, Row(tuple(vector.tolist()), record.label, record.metadata['n']))
            for record, vector in zip(records, vectors)
        ]
        return rows, len(gallery.history())


def start_writer(folder: Path, state: State, seed: int, step: int) -> int:
    """Fork a writer that makes one change after the other, noting each before it begins; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        _write(folder, state, seed, step)
    finally:
        (folder / 'error').write_text(traceback.format_exc())
        os._exit(1)


def _write(folder: Path, state: State, seed: int, step: int) -> None:
    notes = os.open(folder / 'steps', os.O_WRONLY)
    while True:
        with open_gallery(folder / 'gallery', writable=True) as gallery:
            for _ in range(4):
                _, state, make = change(state, seed, step, folder / 'backup')
                os.write(notes, f'{step}\n'.encode())
                make(gallery)
                step += 1


def make_place(folder: Path) -> State:
    """An empty gallery, and the state that it has."""
    create_gallery(folder / 'gallery', DIMENSION, metric='l2').close()
    return State()
