"""Random sequences of changes, of taking them back, and of searches, compared with dictionaries and NumPy."""

import os
import shutil
import tempfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, back_up_gallery, create_gallery, open_gallery, restore_gallery

DIMENSION = 5
LABELS = ['wren', 'robin', None]
CHANGES = st.sampled_from(['set_labels', 'set_values', 'update', 'undo', 'undo', 'undo', 'remove', 'add_again'])
YEARS = [2003, 2008, 2004.5, None]


def unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


class GalleryMachine(RuleBasedStateMachine):
    """A gallery and a reader of it beside ``rows``: id -> vector and ``facts``: id -> column -> value.

    ``sets`` are its change sets, each the number of the set that it takes back, and id, column, old and new values.
    """

    @initialize(metric=st.sampled_from(['cosine', 'ip', 'l2']), seed=st.integers(0, 99))
    def start(self, metric, seed):
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()  # nothing is killed here, and waiting for the disk is most of the time
        self.patch.setattr(os, 'fsync', lambda descriptor: None)
        self.metric, self.rng = metric, np.random.default_rng(seed)
        self.gallery = create_gallery(self.folder / 'g', {'a': DIMENSION}, metric=metric, preset='flat')
        self.reader = open_gallery(self.folder / 'g')
        self.rows, self.facts, self.sets, self.reused, self.next_id = {}, {}, [], set(), 0
        self.kept = {}  # rows that were removed, with their facts, as long as they can be brought back
        self.seen, self.backup = ({}, []), None

    def teardown(self):
        if hasattr(self, 'gallery'):
            self.gallery.close()
            self.reader.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    def draw(self, count):
        vectors = self.rng.normal(size=(count, DIMENSION)).astype(np.float32)
        facts = [dict(label=LABELS[self.rng.integers(3)], year=int(self.rng.integers(2000, 2010))) for _ in vectors]
        records = [Record(f'{one["label"]}.jpg', label=one['label'], metadata={'year': one['year']}) for one in facts]
        return vectors, [{'path': record.path, **one} for record, one in zip(records, facts)], records

    def keep(self, ids, vectors):
        stored = unit(vectors) if self.metric == 'cosine' else vectors
        self.rows.update((int(number), row) for number, row in zip(ids, stored))

    def change(self, facts, undoes=None):
        """Give rows new facts, which the gallery has been given already, and note what differs."""
        changes = [
            (number, name, self.facts[number][name], value)
            for number in sorted(facts)
            for name, value in sorted(facts[number].items())
            if self.facts[number][name] != value
        ]
        for number, name, _, value in changes:
            self.facts[number] = {**self.facts[number], name: value}
        if changes:
            self.sets.append((undoes, changes))
        return len({number for number, *_ in changes})

    def some_ids(self, data):
        """Ids of few rows, which are changed again and again."""
        return data.draw(st.lists(st.sampled_from(sorted(self.rows)[:5]), min_size=1, max_size=4, unique=True))

    def forget(self, ids, undoes=None):
        if ids:
            self.sets.append((undoes, [(number, 'id', number, None) for number in sorted(ids)]))
        for number in ids:
            self.kept[number] = self.rows.pop(number), self.facts.pop(number)

    @rule(count=st.integers(1, 6))
    def add(self, count):
        vectors, facts, records = self.draw(count)
        ids = self.gallery.add(vectors, records)
        assert ids.tolist() == list(range(self.next_id, self.next_id + count))
        self.next_id += count
        self.keep(ids, vectors)
        self.facts.update(zip(ids.tolist(), facts))

    @rule(gap=st.integers(0, 50))
    def add_with_id(self, gap):
        self.add_one(self.next_id + gap)

    def _add_again(self, _):
        gone = [number for number in range(self.next_id) if number not in self.rows]
        if gone:
            self.add_one(gone[0])

    def add_one(self, number):
        vectors, facts, records = self.draw(1)
        self.gallery.add(vectors, records, ids=[number])
        self.next_id = max(self.next_id, number + 1)
        self.keep([number], vectors)
        self.facts[number] = facts[0]
        self.kept.pop(number, None)
        self.reused |= {(position, number) for position in range(1, len(self.sets) + 1)}

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def add_known_id(self, data):
        known = data.draw(st.sampled_from(sorted(self.rows)))
        with pytest.raises(RetrievalError, match='already'):
            self.gallery.add(self.draw(2)[0], ids=[self.next_id, known])

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), kinds=st.lists(CHANGES, min_size=1, max_size=10))
    def change_and_take_back(self, data, kinds):
        self.apply(data, kinds)

    def apply(self, data, kinds):
        for kind in kinds:
            if self.rows and (self.sets or kind != 'undo'):
                getattr(self, f'_{kind}')(data)

    def _update(self, data):
        ids, with_vectors = self.some_ids(data), data.draw(st.booleans())
        vectors, facts, records = self.draw(len(ids))
        self.gallery.update(ids, vectors if with_vectors else None, records)
        if with_vectors:
            self.keep(ids, vectors)
        self.change(dict(zip(ids, facts)))

    def _set_labels(self, data):
        ids, label = self.some_ids(data), data.draw(st.sampled_from(LABELS))
        done = self.gallery.set_labels(ids, label, by='anna')
        assert done.rows == self.change({number: {'label': label} for number in ids})

    def _set_values(self, data):
        ids, years = self.some_ids(data), data.draw(st.lists(st.sampled_from(YEARS), min_size=4, max_size=4))
        values = [{'YEAR': year, 'path': f'{year}.jpg'} for year in years[: len(ids)]]
        planned = self.gallery.plan_values(ids, values)
        done = self.gallery.set_values(ids, values, by='bert')
        assert self.gallery.changes(done.number) == [one._replace(number=done.number) for one in sorted(planned)]
        new = {number: {'year': one['YEAR'], 'path': one['path']} for number, one in zip(ids, values)}
        assert done.rows == self.change(new)

    def _undo(self, data):
        skip = data.draw(st.booleans())
        number = data.draw(st.sampled_from([*range(1, len(self.sets) + 1), None]))
        chosen = number or len(self.sets)
        if self.sets[chosen - 1][1][0][1] == 'id':
            return self.undo_rows(number, chosen, skip)
        new, left = {}, {}
        for row in sorted({row for row, *_ in self.sets[chosen - 1][1]}):
            values = {name: pair for own, name, *pair in self.sets[chosen - 1][1] if own == row}
            now = self.facts.get(row, {})
            todo = {name: old for name, (old, _) in values.items() if now.get(name) != old}
            if row not in self.rows or (chosen, row) in self.reused:
                left.setdefault('removed since', []).append(row)
            elif any(now[name] != values[name][1] for name in todo):
                left.setdefault('changed since', []).append(row)
            elif todo:
                new[row] = todo
        assert self.gallery.plan_undo(number).left == left
        if left and not (skip and new):
            with pytest.raises(RetrievalError, match=f'change {chosen} cannot be taken back'):
                self.gallery.undo(number, skip_changed=skip)
        else:
            done = self.gallery.undo(number, skip_changed=skip)
            assert done.undoes == chosen and done.rows == self.change(new, chosen)

    def undo_rows(self, number, chosen, skip):
        """Rows that were removed come back, or those that were brought back are removed again."""
        changes = self.sets[chosen - 1][1]
        gone = changes[0][3] is None
        bad = [row for row, *_ in changes if (chosen, row) in self.reused]
        bad += [row for row, *_ in changes if gone and row not in {*bad, *self.rows, *self.kept}]
        new = [row for row, *_ in changes if row not in bad and (row in self.rows) != gone]
        assert sorted(self.gallery.plan_undo(number).left.get('removed for good', [])) == sorted(bad)
        if bad and not (skip and new):
            with pytest.raises(RetrievalError, match=f'change {chosen} cannot be taken back'):
                self.gallery.undo(number, skip_changed=skip)
            return
        assert self.gallery.undo(number, skip_changed=skip).rows == len(new)
        if gone and new:
            for row in new:
                self.rows[row], self.facts[row] = self.kept.pop(row)
            self.sets.append((chosen, [(row, 'id', None, row) for row in new]))
        elif new:
            self.forget(new, chosen)

    def _remove(self, data):
        ids = self.some_ids(data)
        assert self.gallery.remove(ids).rows == len(ids)
        self.forget(ids)

    @rule()
    def remove_unknown(self):
        with pytest.raises(RetrievalError, match='not in the gallery'):
            self.gallery.remove([*list(self.rows)[:1], self.next_id + 1000])

    @rule(label=st.sampled_from(LABELS[:2]))
    def remove_by_filter(self, label):
        doomed = [number for number, facts in self.facts.items() if facts['label'] == label]
        assert self.gallery.remove(where={'label': label}).rows == len(doomed)
        self.forget(doomed)

    @rule(preset=st.sampled_from(['flat', 'fp16', None]))
    def compact(self, preset):
        self.gallery.compact(preset)
        self.kept = {}

    @rule()
    def reopen(self):
        self.gallery.close()
        self.gallery = open_gallery(self.folder / 'g', writable=True)
        self.gallery.verify()

    @rule()
    def back_up(self):
        """A new backup, or the earlier one brought up to date; then the older one is still what it was."""
        back_up_gallery(self.folder / 'g', self.folder / 'b')
        self.backup = sorted(self.rows), deepcopy(self.facts), list(self.sets)

    @precondition(lambda self: self.backup)
    @rule()
    def restore(self):
        restore_gallery(self.folder / 'b', self.folder / 'r', overwrite=True)
        for place in ('b', 'r'):
            with open_gallery(self.folder / place) as gallery:
                gallery.verify()
                ids, *facts = self.backup
                assert gallery.ids().tolist() == ids
                self.same_facts(gallery, *facts)

    @rule()
    def refresh(self):
        self.reader.refresh()
        self.seen = dict(self.facts), list(self.sets)

    @rule(
        k=st.integers(1, 9),
        label=st.sampled_from(['all', *LABELS]),
        year=st.integers(1999, 2010),
        share=st.sampled_from([1, 0.5]),
    )
    def search(self, k, label, year, share):
        queries = self.draw(3)[0]
        where = {'year': ('>=', year)} if self.rows else {}
        where.update({} if label == 'all' else {'label': label})
        listed = [number for number in sorted(self.rows) if self.rng.random() < share]
        where.update({} if share == 1 else {'id': listed})
        hits = self.gallery.search(queries, k, where=where)
        allowed = [
            n for n in listed if (self.facts[n]['year'] or 0) >= year and label in ('all', self.facts[n]['label'])
        ]
        assert ((hits.ids >= 0).sum(axis=1) == min(k, len(allowed))).all()
        for query, scores, ids in zip(queries, hits.scores, hits.ids):
            expected = np.sort([self.score(query, number) for number in allowed])
            expected = expected[:k] if self.metric == 'l2' else expected[::-1][:k]
            np.testing.assert_allclose(scores[: len(expected)], expected, rtol=1e-4, atol=1e-4)
            found = [self.score(query, number) for number in ids[ids >= 0]]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
            assert set(ids[ids >= 0].tolist()) <= set(allowed)

    @rule(radius=st.floats(-1, 3))
    def range_search(self, radius):
        query = self.draw(1)[0]
        hits = self.gallery.range_search(query, radius)
        for number in self.rows:
            score = self.score(query[0], number)
            if abs(score - radius) > 1e-3:
                inside = score < radius if self.metric == 'l2' else score > radius
                assert (number in hits.ids) == inside

    def score(self, query, number):
        stored = self.rows[number]
        if self.metric == 'l2':
            return float(((query - stored) ** 2).sum())
        return float((unit(query) if self.metric == 'cosine' else query) @ stored)

    @invariant()
    def same_rows(self):
        if not hasattr(self, 'gallery'):
            return
        ids = sorted(self.rows)
        assert self.gallery.ids().tolist() == ids and len(self.gallery) == len(ids)
        if ids:
            np.testing.assert_allclose(self.gallery.vectors(ids), [self.rows[n] for n in ids], rtol=1e-6, atol=1e-6)
        self.same_facts(self.gallery, self.facts, self.sets)
        changes = self.gallery.changes()
        assert {(one.number, one.id) for one in changes if one.reused} <= self.reused

    @invariant()
    def the_reader_keeps_its_state(self):
        if hasattr(self, 'gallery'):
            self.same_facts(self.reader, *self.seen)

    @staticmethod
    def same_facts(gallery, facts, sets):
        for record in gallery.records(sorted(facts)):
            assert {'path': record.path, 'label': record.label, 'year': record.metadata.get('year')} == facts[record.id]
        assert [(one.number, one.undoes) for one in gallery.history()] == [
            (number, undoes) for number, (undoes, _) in enumerate(sets, 1)
        ]
        expected = [(number, *change) for number, (_, changes) in enumerate(sets, 1) for change in changes]
        assert [tuple(one)[:5] for one in gallery.changes()] == expected


GalleryMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestGalleryEqualsModel = GalleryMachine.TestCase


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), kinds=st.lists(CHANGES, min_size=8, max_size=25))
def test_changes_are_taken_back_as_in_the_model(data, kinds):
    machine = GalleryMachine()
    try:
        machine.start('l2', 0)
        machine.add(3)
        machine.apply(data, kinds)
        machine.same_rows()
    finally:
        machine.teardown()
