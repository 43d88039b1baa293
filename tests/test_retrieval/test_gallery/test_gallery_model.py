"""Random sequences of changes and searches, compared with a dictionary and NumPy."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, open_gallery

DIMENSION = 5
LABELS = ['wren', 'robin', None]


def unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


class GalleryMachine(RuleBasedStateMachine):
    """A gallery beside ``rows``: id -> (vector, label, year)."""

    @initialize(metric=st.sampled_from(['cosine', 'ip', 'l2']), seed=st.integers(0, 99))
    def start(self, metric, seed):
        self.folder = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()  # nothing is killed here, and waiting for the disk is most of the time
        self.patch.setattr(os, 'fsync', lambda descriptor: None)
        self.metric, self.rng = metric, np.random.default_rng(seed)
        self.gallery = create_gallery(self.folder / 'g', {'a': DIMENSION}, metric=metric, preset='flat')
        self.rows, self.next_id = {}, 0

    def teardown(self):
        if hasattr(self, 'gallery'):
            self.gallery.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    def draw(self, count):
        vectors = self.rng.normal(size=(count, DIMENSION)).astype(np.float32)
        facts = [(LABELS[self.rng.integers(3)], int(self.rng.integers(2000, 2010))) for _ in range(count)]
        records = [Record(f'{label}.jpg', label=label, metadata={'year': year}) for label, year in facts]
        return vectors, facts, records

    def keep(self, ids, vectors, facts):
        stored = unit(vectors) if self.metric == 'cosine' else vectors
        self.rows.update({int(number): (row, *fact) for number, row, fact in zip(ids, stored, facts)})

    @rule(count=st.integers(1, 6))
    def add(self, count):
        vectors, facts, records = self.draw(count)
        ids = self.gallery.add(vectors, records)
        assert ids.tolist() == list(range(self.next_id, self.next_id + count))
        self.next_id += count
        self.keep(ids, vectors, facts)

    @rule(gap=st.integers(0, 50))
    def add_with_id(self, gap):
        vectors, facts, records = self.draw(1)
        number = self.next_id + gap
        self.gallery.add(vectors, records, ids=[number])
        self.next_id = number + 1
        self.keep([number], vectors, facts)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def add_known_id(self, data):
        known = data.draw(st.sampled_from(sorted(self.rows)))
        with pytest.raises(RetrievalError, match='already'):
            self.gallery.add(self.draw(2)[0], ids=[self.next_id, known])

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def update(self, data):
        ids = data.draw(st.lists(st.sampled_from(sorted(self.rows)), min_size=1, max_size=4, unique=True))
        vectors, facts, records = self.draw(len(ids))
        self.gallery.update(ids, vectors, records)
        self.keep(ids, vectors, facts)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def remove(self, data):
        ids = data.draw(st.lists(st.sampled_from(sorted(self.rows)), min_size=1, max_size=4, unique=True))
        assert self.gallery.remove(ids) == len(ids)
        for number in ids:
            del self.rows[number]

    @rule()
    def remove_unknown(self):
        with pytest.raises(RetrievalError, match='not in the gallery'):
            self.gallery.remove([*list(self.rows)[:1], self.next_id + 1000])

    @rule(label=st.sampled_from(LABELS[:2]))
    def remove_by_filter(self, label):
        doomed = [number for number, row in self.rows.items() if row[1] == label]
        assert self.gallery.remove(where={'label': label}) == len(doomed)
        for number in doomed:
            del self.rows[number]

    @rule(preset=st.sampled_from(['flat', 'fp16', None]))
    def compact(self, preset):
        self.gallery.compact(preset)

    @rule()
    def reopen(self):
        self.gallery.close()
        self.gallery = open_gallery(self.folder / 'g', writable=True)
        self.gallery.verify()

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
        allowed = [n for n in listed if self.rows[n][2] >= year and label in ('all', self.rows[n][1])]
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
        stored = self.rows[number][0]
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
            np.testing.assert_allclose(self.gallery.vectors(ids), [self.rows[n][0] for n in ids], rtol=1e-6, atol=1e-6)
            records = self.gallery.records(ids)
            assert [(one.label, one.metadata['year']) for one in records] == [self.rows[n][1:] for n in ids]


GalleryMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestGalleryEqualsModel = GalleryMachine.TestCase
