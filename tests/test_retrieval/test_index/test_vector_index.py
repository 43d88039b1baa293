"""Search among embeddings of one space, for every kind of index."""

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from retrieval.errors import RetrievalError
from retrieval.index import PRESETS, VectorIndex

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(12, 32))
X = (CENTRES[RNG.integers(0, 12, 2000)] + 0.6 * RNG.normal(size=(2000, 32))).astype(np.float32)
QUERIES = (CENTRES[RNG.integers(0, 12, 20)] + 0.6 * RNG.normal(size=(20, 32))).astype(np.float32)
METRICS = ('cosine', 'ip', 'l2')


def unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def all_scores(queries, rows, metric):
    if metric == 'l2':
        return ((queries[:, None] - rows) ** 2).sum(2)
    return unit(queries) @ unit(rows).T if metric == 'cosine' else queries @ rows.T


def best(scores, k, metric):
    ordered = np.sort(scores, axis=1)
    return ordered[:, :k] if metric == 'l2' else ordered[:, ::-1][:, :k]


@pytest.fixture(scope='module')
def built():
    """An index of each preset, built once, with tombstones and a tail."""
    indexes = {}

    def build(preset, metric):
        if (preset, metric) not in indexes:
            index = VectorIndex(32, metric, preset)
            index.add(X[:1900])
            index.compact()
            index.remove(range(0, 100))
            index.add(X[1900:])
            indexes[preset, metric] = index
        return indexes[preset, metric]

    return build


@pytest.mark.parametrize('metric', METRICS)
@pytest.mark.parametrize('preset', [*PRESETS, 'IVF8,SQ8', 'PCA8,Flat', 'PQ4'])
class TestEveryPreset:
    def test_scores_are_exact_and_most_neighbours_are_found(self, built, preset, metric):
        index = built(preset, metric)
        scores = all_scores(QUERIES, X, metric)
        hits = index.search(QUERIES, 10)
        assert (hits.ids >= 100).all()
        np.testing.assert_allclose(hits.scores, np.take_along_axis(scores, hits.ids, 1), rtol=1e-4, atol=1e-4)
        expected = best(scores[:, 100:], 10, metric)
        recall = np.isclose(hits.scores, expected, rtol=1e-4, atol=1e-4).mean()
        assert recall == 1 if preset == 'flat' else recall > 0.7

    def test_filters_give_as_many_rows_as_are_allowed(self, built, preset, metric):
        index = built(preset, metric)
        scores = all_scores(QUERIES, X, metric)
        for allowed in (np.arange(0, 2000, 7), np.array([150, 1950, 5]), np.array([3, 4]), np.empty(0, np.int64)):
            alive = allowed[allowed >= 100]
            hits = index.search(QUERIES, 10, allowed=index.select(allowed))
            expected = best(scores[:, alive], 10, metric)
            np.testing.assert_allclose(hits.scores[:, : expected.shape[1]], expected, rtol=1e-4, atol=1e-4)
            assert ((hits.ids >= 0).sum(axis=1) == min(10, len(alive))).all()
            assert np.isin(hits.ids[hits.ids >= 0], alive).all()

    def test_all_rows_are_found_if_asked_for(self, built, preset, metric):
        hits = built(preset, metric).search(QUERIES[:2], 2500)
        assert all(set(ids[ids >= 0].tolist()) == set(range(100, 2000)) for ids in hits.ids)
        assert (hits.ids[:, 1900:] == -1).all()
        assert (hits.scores[:, 1900:] == (np.inf if metric == 'l2' else -np.inf)).all()

    def test_range_search_is_exact(self, built, preset, metric):
        index = built(preset, metric)
        scores = all_scores(QUERIES, X[100:], metric)
        radius = float(np.quantile(scores, 0.05 if metric == 'l2' else 0.95))
        hits = index.range_search(QUERIES, radius)
        inside = scores < radius if metric == 'l2' else scores > radius
        assert abs(len(hits.ids) - inside.sum()) <= 2
        for row in range(len(QUERIES)):
            part = slice(hits.limits[row], hits.limits[row + 1])
            ordered = hits.scores[part] if metric == 'l2' else -hits.scores[part]
            assert (np.diff(ordered) >= 0).all()
            np.testing.assert_allclose(hits.scores[part], scores[row, hits.ids[part] - 100], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('preset', ['ivf-flat', 'hnsw', 'sq8', 'PQ4'])
def test_large_filters_are_inside_the_search_of_the_index(preset, monkeypatch):
    """With few rows to copy together out of the way, FAISS's own selectors filter."""
    from retrieval.index import part_search

    monkeypatch.setattr(part_search, 'GATHER_ROWS', 0)
    index = VectorIndex(32, 'cosine', preset)
    index.add(X)
    index.compact()
    allowed = np.arange(0, 2000, 3)
    hits = index.search(QUERIES, 10, allowed=index.select(allowed))
    assert np.isin(hits.ids, allowed).all()
    expected = best(all_scores(QUERIES, X[allowed], 'cosine'), 10, 'cosine')
    assert np.isclose(hits.scores, expected, atol=1e-4).mean() > 0.8


def test_rescoring_and_effort():
    index = VectorIndex(32, 'cosine', 'ivf-pq')
    index.add(X)
    index.compact()
    scores = all_scores(QUERIES, X, 'cosine')
    expected = best(scores, 5, 'cosine')
    recall = {}
    for rescore in (0, 10, 500):
        hits = index.search(QUERIES, 5, rescore=rescore, parameters={'nprobe': 64})
        exact = np.take_along_axis(scores, hits.ids, 1)
        recall[rescore] = np.isin(np.round(exact, 5), np.round(expected, 5)).mean()
        assert np.allclose(hits.scores, exact, atol=1e-4) == (rescore > 0)
    assert recall[0] < recall[10] < recall[500] == 1
    few = index.search(QUERIES, 5, parameters={'nprobe': 1})
    assert (few.ids >= 0).all()
    for parameters, words in (({'efSearch': 3}, 'has no parameter'), ({'nprobe': 0}, 'at least 1')):
        with pytest.raises(RetrievalError, match=words):
            index.search(QUERIES, parameters=parameters)


class IndexMachine(RuleBasedStateMachine):
    """An index beside a dictionary."""

    @initialize(metric=st.sampled_from(METRICS), seed=st.integers(0, 99))
    def start(self, metric, seed):
        self.rng, self.metric, self.rows, self.next = np.random.default_rng(seed), metric, {}, 0
        self.index = VectorIndex(4, metric, 'flat')

    @rule(count=st.integers(1, 8), gap=st.integers(0, 9))
    def add(self, count, gap):
        vectors = self.rng.normal(size=(count, 4)).astype(np.float32)
        ids = self.rng.permutation(np.arange(self.next + gap, self.next + gap + count))
        self.index.add(vectors, ids)
        self.next += gap + count
        self.rows.update(zip(ids.tolist(), vectors))

    @rule(data=st.data())
    def change(self, data):
        if not self.rows:
            return
        ids = data.draw(st.lists(st.sampled_from(sorted(self.rows)), min_size=1, unique=True))
        if data.draw(st.booleans()):
            assert self.index.remove(ids) == len(ids)
            for number in ids:
                del self.rows[number]
        else:
            vectors = self.rng.normal(size=(len(ids), 4)).astype(np.float32)
            self.index.update(ids, vectors)
            self.rows.update(zip(ids, vectors))

    @rule()
    def refuse(self):
        before = self.index.ids.tolist()
        vectors = np.ones((2, 4), np.float32)
        for wrong in ([self.next + 100, *before[:1]], [self.next + 100] * 2):
            if len(wrong) == 2:
                for change in (self.index.update, lambda ids, new: self.index.add(new, ids)):
                    with pytest.raises(RetrievalError):
                        change(wrong, vectors)
        assert self.index.ids.tolist() == before

    @rule()
    def compact(self):
        self.index.compact()
        assert len(self.index.parts) <= 1

    @rule(k=st.integers(1, 12), share=st.floats(0, 1))
    def search(self, k, share):
        query = self.rng.normal(size=(2, 4)).astype(np.float32)
        ids = sorted(self.rows)
        assert self.index.ids.tolist() == ids and len(self.index) == len(ids)
        allowed = [number for number in ids if self.rng.random() < share]
        for chosen, row_filter in ((ids, None), (allowed, self.index.select(allowed))):
            hits = self.index.search(query, k, allowed=row_filter)
            assert ((hits.ids >= 0).sum(axis=1) == min(k, len(chosen))).all()
            if chosen:
                scores = all_scores(query, np.array([self.rows[number] for number in chosen]), self.metric)
                expected = best(scores, k, self.metric)
                np.testing.assert_allclose(hits.scores[:, : expected.shape[1]], expected, rtol=1e-4, atol=1e-5)
                found = [self.rows[number] for number in hits.ids[0][hits.ids[0] >= 0]]
                own = all_scores(query[:1], np.array(found), self.metric)[0]
                np.testing.assert_allclose(own, expected[0], rtol=1e-4, atol=1e-5)


IndexMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
TestIndexEqualsModel = IndexMachine.TestCase


@pytest.mark.parametrize(
    'queries, words',
    [
        (QUERIES[:, :5], 'have 5 columns, the index 32'),
        (QUERIES.astype(int), 'floating point'),
        (np.full((1, 32), np.nan, np.float32), 'row 0 has NaN'),
        (np.zeros((1, 32), np.float32), 'row 0 is all zeros'),
        (QUERIES[:0], 'at least one row'),
    ],
)
def test_queries_that_do_not_fit(queries, words):
    index = VectorIndex(32)
    for call in (index.search, index.add, lambda array: index.range_search(array, 0.5)):
        with pytest.raises(RetrievalError, match=words):
            call(queries)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(metric='hamming'), 'metric must be one of'),
        (dict(dimension=0), 'at least 1'),
        (dict(device='tpu'), 'device must be'),
        (dict(placement='x'), 'placement must be'),
    ],
)
def test_impossible_indexes(options, words):
    with pytest.raises(RetrievalError, match=words):
        VectorIndex(**{'dimension': 4, **options})


def test_unknown_preset_and_stale_filter():
    index = VectorIndex(32)
    index.add(X[:50])
    before = index.search(QUERIES, 3)
    with pytest.raises(RetrievalError, match='neither one of flat, fp16.*nor a FAISS factory string'):
        index.compact('best')
    np.testing.assert_array_equal(index.search(QUERIES, 3).ids, before.ids)
    chosen = index.select([1, 2])
    index.add(X[50:51])
    assert set(index.search(QUERIES, 5, allowed=chosen).ids.ravel().tolist()) == {1, 2, -1}
    index.compact()
    with pytest.raises(RetrievalError, match='select anew'):
        index.search(QUERIES, 5, allowed=chosen)
    with pytest.raises(RetrievalError, match='k must be at least 1'):
        index.search(QUERIES, 0)
    with pytest.raises(RetrievalError, match='finite'):
        index.range_search(QUERIES, float('nan'))
    with pytest.raises(RetrievalError, match='id 70 is not in the index'):
        index.reconstruct([3, 70])


def test_auto_says_why():
    index = VectorIndex(32)
    index.add(X)
    index.compact()
    assert index.preset == 'auto' and index.preset_reason.startswith('flat: 2,000 x 32')


def test_searches_run_beside_changes():
    index = VectorIndex(32, preset='flat')
    index.add(X[:500])
    errors = []

    def search():
        try:
            for _ in range(60):
                hits = index.search(QUERIES, 5)
                assert (hits.ids >= 0).all()
                np.testing.assert_allclose(
                    hits.scores, np.take_along_axis(all_scores(QUERIES, X, 'cosine'), hits.ids, 1), atol=1e-4
                )
        except AssertionError as error:
            errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(500, 2000, 50):
        index.add(X[start : start + 50])
        index.remove([start, start + 1])
    index.compact()
    for thread in threads:
        thread.join()
    assert not errors


def test_works_where_torch_utils_replaced_the_methods_of_faiss():
    """pytorch-metric-learning imports faiss.contrib.torch_utils, whose search knows no parameters."""
    import pytorch_metric_learning.utils.inference  # noqa: F401

    index = VectorIndex(32, preset='hnsw')
    index.add(X)
    index.compact()
    hits = index.search(QUERIES, 3, allowed=index.select(range(0, 2000, 2)), parameters={'efSearch': 50})
    assert (hits.ids % 2 == 0).all()
    assert len(index.range_search(QUERIES[:1], 0.5, allowed=index.select([1, 2])).limits) == 2
