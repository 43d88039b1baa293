"""Search among embeddings of one space, for every kind of index."""

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.index import PRESETS, VectorIndex, make_part

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(12, 32))
X = (CENTRES[RNG.integers(0, 12, 2000)] + 0.6 * RNG.normal(size=(2000, 32))).astype(np.float32)
QUERIES = (CENTRES[RNG.integers(0, 12, 20)] + 0.6 * RNG.normal(size=(20, 32))).astype(np.float32)


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
    """An index of each preset, built once, with tombstones and a second part that is searched exactly."""
    indexes = {}

    def build(preset, metric):
        if (preset, metric) not in indexes:
            stored = unit(X) if metric == 'cosine' else X
            whole = make_part(stored[:1900], np.arange(1900), metric, preset).with_alive(np.arange(1900) >= 100)
            tail = make_part(stored[1900:], np.arange(1900, 2000), metric)
            indexes[preset, metric] = VectorIndex(32, metric, [whole, tail])
        return indexes[preset, metric]

    return build


KINDS = [*PRESETS, 'IVF8,SQ8', 'PCA8,Flat', 'PQ4']


@pytest.mark.parametrize(
    'preset, metric',
    [(preset, 'cosine') for preset in KINDS]
    + [(preset, metric) for preset in ('flat', 'fp16', 'ivf-pq', 'hnsw') for metric in ('ip', 'l2')],
)
class TestEveryPreset:
    def test_scores_are_exact_and_most_neighbours_are_found(self, built, preset, metric):
        index = built(preset, metric)
        scores = all_scores(QUERIES, X, metric)
        hits = index.search(QUERIES, 10)
        assert (hits.ids >= 100).all()
        np.testing.assert_allclose(hits.scores, np.take_along_axis(scores, hits.ids, 1), rtol=1e-4, atol=1e-4)
        expected = best(scores[:, 100:], 10, metric)
        recall = np.isclose(hits.scores, expected, rtol=1e-4, atol=1e-4).mean()
        least = 0.5 if preset == 'hnsw-pca' else 0.7  # the axes that it keeps have half of what sets neighbours apart
        assert recall == 1 if preset == 'flat' else recall > least

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
    from retrieval.index import effort

    monkeypatch.setattr(effort, 'most_compared', lambda *arguments: 0)
    index = VectorIndex.build(X, preset=preset)
    allowed = np.arange(0, 2000, 3)
    hits = index.search(QUERIES, 10, allowed=index.select(allowed))
    assert np.isin(hits.ids, allowed).all()
    expected = best(all_scores(QUERIES, X[allowed], 'cosine'), 10, 'cosine')
    assert np.isclose(hits.scores, expected, atol=1e-4).mean() > 0.8


def test_rescoring_and_effort():
    index = VectorIndex.build(X, preset='ivf-pq')
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
    for call in (index.search, lambda array: index.range_search(array, 0.5)):
        with pytest.raises(RetrievalError, match=words):
            call(queries)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(metric='hamming'), 'metric must be one of'),
        (dict(dimension=0), 'at least 1'),
        (dict(device='tpu'), 'device must be'),
    ],
)
def test_impossible_indexes(options, words):
    with pytest.raises(RetrievalError, match=words):
        VectorIndex(**{'dimension': 4, **options})


def test_unknown_preset_and_foreign_filter():
    with pytest.raises(RetrievalError, match='neither one of flat, fp16.*nor a FAISS factory string'):
        VectorIndex.build(X[:50], preset='best')
    index = VectorIndex.build(X[:50])
    chosen = index.select([1, 2])
    assert set(index.search(QUERIES, 5, allowed=chosen).ids.ravel().tolist()) == {1, 2, -1}
    for _ in range(50):  # memory of an earlier index is given to a later one again and again
        with pytest.raises(RetrievalError, match='select again'):
            VectorIndex.build(X[:50]).search(QUERIES, 5, allowed=chosen)
    with pytest.raises(RetrievalError, match='k must be at least 1'):
        index.search(QUERIES, 0)
    with pytest.raises(RetrievalError, match='finite'):
        index.range_search(QUERIES, float('nan'))
    with pytest.raises(RetrievalError, match='id 70 is not in the index'):
        index.reconstruct([3, 70])


@pytest.mark.parametrize('ids, words', [([1, 1], 'id 1 occurs twice'), ([-1, 3], 'from 0'), ([5], '1 ids were given')])
def test_ids_of_an_index(ids, words):
    with pytest.raises(RetrievalError, match=words):
        VectorIndex.build(X[:2], ids)
    index = VectorIndex.build(X[:2], [2**60, 5])
    assert index.search(X[:2], 1).ids.tolist() == [[2**60], [5]] and len(index) == 2


def test_works_where_torch_utils_replaced_the_methods_of_faiss():
    """pytorch-metric-learning imports faiss.contrib.torch_utils, whose search knows no parameters."""
    import pytorch_metric_learning.utils.inference  # noqa: F401

    index = VectorIndex.build(X, preset='hnsw')
    hits = index.search(QUERIES, 3, allowed=index.select(range(0, 2000, 2)), parameters={'efSearch': 50})
    assert (hits.ids % 2 == 0).all()
    assert len(index.range_search(QUERIES[:1], 0.5, allowed=index.select([1, 2])).limits) == 2
