"""How far an index looks is measured when it is built, and a filter costs no recall."""

import faiss
import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import create_gallery, open_gallery
from retrieval.index import PRESETS, VectorIndex
from retrieval.index import effort as effort_module
from retrieval.index.effort import TARGET, calibrate, draw_queries, most_compared, parse_parameters, plan_effort
from retrieval.index.faiss_calls import filters_inside, innermost
from retrieval.index.training import build_faiss_index
from retrieval.vectors import unit_length

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(6000, 24)).astype(np.float32)
QUERIES = GENERATOR.normal(size=(150, 24)).astype(np.float32)

HARD = np.random.default_rng(0).normal(size=(5000, 24)).astype(np.float32)  # no clusters: neighbours lie in many lists
CENTRES = 40 * GENERATOR.normal(size=(30, 24))
EASY = (CENTRES.repeat(100, axis=0) + GENERATOR.normal(size=(3000, 24))).astype(np.float32)


@pytest.mark.parametrize('preset', [name for name in PRESETS if name != 'flat'])
def test_recall_under_a_filter_is_that_without_one(monkeypatch, preset):
    index = VectorIndex.build(X, metric='l2', preset=preset)
    unfiltered = _share_found(index.search(QUERIES, 10).ids, np.arange(len(X)))
    for share in (0.5, 0.1, 0.01, 0.0001):
        ids = np.sort(np.random.default_rng(1).choice(len(X), max(1, int(len(X) * share)), replace=False))
        for most in (len(X), 0):  # compared one by one, and inside the index
            monkeypatch.setattr(effort_module, 'most_compared', lambda *arguments, most=most: most)
            found = index.search(QUERIES, 10, allowed=index.select(ids)).ids
            assert np.isin(found[found >= 0], ids).all()
            assert _share_found(found, ids) >= (1 if most else unfiltered - 0.01)


def _share_found(found, ids):
    truth = ids[faiss.knn(QUERIES, X[ids], min(10, len(ids)))[1]]
    return np.mean([np.isin(one, other).mean() for one, other in zip(truth, found)])


def test_inverted_lists_visited():
    index = build_faiss_index('IVF64,Flat', X, 'l2')
    index.nprobe = 4
    assert plan_effort(index, 10, 6000) == {}
    assert plan_effort(index, 10, 5500) == {}  # a few tombstones
    assert plan_effort(index, 10, 3000) == {'nprobe': 8}
    assert most_compared(index, 10, 100) == 866 and most_compared(index, 10, 1) == 387
    assert plan_effort(index, 10, 600) == {'nprobe': 40}
    assert plan_effort(index, 10, 600, {'nprobe': 2}) == {'nprobe': 2}
    assert plan_effort(index, 10, 600, queries=100) is None and plan_effort(index, 10, 300) is None


def test_queue_of_a_graph():
    index = build_faiss_index('HNSW8', X, 'l2')
    index.hnsw.efSearch = 16
    assert plan_effort(index, 10, 6000) == {}
    assert plan_effort(index, 300, 6000) == {'efSearch': 300}  # a graph returns no more rows than its queue holds
    assert plan_effort(index, 10, 3000) == {'efSearch': 32}
    assert most_compared(index, 10, 100) == 1239
    assert plan_effort(index, 10, 500) is None  # 192 candidates, 3,072 distances: more than the rows themselves
    assert plan_effort(index, 10, 1000, {'efSearch': 20}) == {'efSearch': 20}


@pytest.mark.parametrize('factory', ['PQ8', 'IVF16,PQ8+8', 'IVF16,RQ4x4', 'HNSW8', 'IVF16,SQ8', 'IVF16,PQ8x4fs'])
def test_kinds_of_faiss_under_a_filter(factory):
    index = VectorIndex.build(X[:2400], metric='l2', preset=factory)
    ids = np.arange(0, 2400, 3)
    found = index.search(QUERIES[:20], 10, allowed=index.select(ids)).ids
    truth = ids[faiss.knn(QUERIES[:20], X[ids], 10)[1]]
    assert np.isin(found, ids).all()
    if not filters_inside(index.parts[0].approximate):
        np.testing.assert_array_equal(found, truth)
    assert np.mean([np.isin(one, other).mean() for one, other in zip(truth, found)]) > 0.85


@pytest.mark.parametrize('preset', ['flat', 'fp16', 'ivf-flat'])
def test_parameters_that_no_search_has(preset):
    index = VectorIndex.build(X[:500], metric='l2', preset=preset)
    for parameters, words in [
        ({'nprobes': 3}, "no parameter 'nprobes'; they have: nprobe, max_codes, efSearch"),
        ({'nprobe': 0}, 'whole number of at least 1'),
        ({'nprobe': True}, 'whole number of at least 1'),
        ({'efSearch': 2.5}, 'whole number of at least 1'),
    ]:
        with pytest.raises(RetrievalError, match=words):
            index.search(QUERIES, parameters=parameters)


def test_parameters_as_they_are_typed():
    assert parse_parameters([]) is None
    assert parse_parameters(['nprobe=64', 'max_codes=1000']) == {'nprobe': 64, 'max_codes': 1000}


@pytest.mark.parametrize('text', ['nprobe', 'nprobe=', '=4', 'nprobe=-1', 'nprobe=2.5', 'nprobe=x'])
def test_parameters_that_cannot_be_read(text):
    with pytest.raises(RetrievalError, match='is written as nprobe=64, got'):
        parse_parameters([text])


def _compacted(rows, preset, metric='l2'):
    return VectorIndex.build(rows, metric=metric, preset=preset)


@pytest.mark.parametrize('metric', ['cosine', 'l2'])
@pytest.mark.parametrize('preset', ['ivf-flat', 'ivf-pq', 'hnsw', 'ivf-hnsw'])
def test_new_queries_find_their_neighbours_without_any_setting(preset, metric):
    index = _compacted(HARD, preset, metric)
    truth = _compacted(HARD, 'flat', metric).search(QUERIES, 10).ids
    found = index.search(QUERIES, 10).ids
    assert np.mean([np.isin(one, other).mean() for one, other in zip(truth, found)]) > TARGET - 0.04
    effort = index.parts[0].effort
    assert effort.recall >= TARGET and effort.queries == 256
    assert f'{effort.name} {effort.value} (of {effort.most}) finds' in str(effort)


def test_easy_rows_need_few_lists():
    easy, hard = (_compacted(rows, 'IVF32,Flat').parts[0].effort for rows in (EASY, HARD))
    assert easy.name == hard.name == 'nprobe'
    assert easy.value <= 4 < 8 <= hard.value <= 32 == hard.most


def test_the_file_carries_it():
    index = build_faiss_index('ivf-flat', HARD, 'l2')
    effort = calibrate(index, HARD, 'l2', 'ivf-flat')
    again = faiss.deserialize_index(faiss.serialize_index(index))
    assert innermost(again).nprobe == effort.value == innermost(index).nprobe
    graph = build_faiss_index('hnsw', HARD, 'l2')
    effort = calibrate(graph, HARD, 'l2', 'hnsw')
    assert faiss.deserialize_index(faiss.serialize_index(graph)).hnsw.efSearch == effort.value


def test_codes_that_tell_little_do_not_make_it_look_everywhere():
    rows = (CENTRES[:8].repeat(1000, axis=0) + GENERATOR.normal(size=(8000, 24))).astype(np.float32)
    index = build_faiss_index('IVF64,PQ1', rows, 'l2')
    effort = calibrate(index, rows, 'l2', 'IVF64,PQ1')
    assert 0.3 < effort.recall < TARGET and effort.value < effort.most == 64
    index.nprobe = 64  # would find hardly more
    queries = draw_queries(rows, 'l2', 256)
    truth, found = faiss.knn(queries, rows, 10)[1], index.search(queries, 256)[1]
    assert np.mean([np.isin(one, other).mean() for one, other in zip(truth, found)]) < effort.recall + 0.03


@pytest.mark.parametrize('preset', ['fp16', 'sq8', 'PQ8'])
def test_kinds_without_such_a_parameter(preset):
    index = _compacted(HARD[:600], preset)
    assert index.parts[0].effort is None


@pytest.mark.parametrize('preset', ['hnsw', 'ivf-flat', 'IVF1,Flat'])
@pytest.mark.parametrize('count', [1, 2, 3, 12])
def test_few_rows(preset, count):
    index = _compacted(HARD[:count], preset)
    assert (np.sort(index.search(HARD[:1], 12).ids[0, :count]) == np.arange(count)).all()


def test_rows_that_are_all_the_same():
    index = _compacted(np.ones((500, 8), np.float32), 'ivf-flat', 'cosine')
    assert (index.search(np.ones((1, 8), np.float32), 10).ids >= 0).all()


def test_queries_lie_among_the_rows():
    rows = unit_length(HARD)
    queries = draw_queries(rows, 'cosine', 100)
    np.testing.assert_array_equal(queries, draw_queries(rows, 'cosine', 100))
    assert len(queries) == 100 and queries.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, rtol=1e-5)
    nearest = faiss.knn(queries, rows, 1, faiss.METRIC_INNER_PRODUCT)[0]
    own = faiss.knn(rows[:100], rows, 2, faiss.METRIC_INNER_PRODUCT)[0][:, 1]
    assert nearest.max() < 1 - 1e-4  # none is a row
    assert abs(np.median(nearest) - np.median(own)) < 0.2
    assert len(draw_queries(rows[:7], 'cosine', 100)) == 7


def test_the_gallery_says_it(tmp_path):
    with create_gallery(tmp_path / 'g', {'a': 24, 'b': 8}, metric='l2', preset='IVF16,Flat') as gallery:
        gallery.add({'a': HARD[:1000], 'b': HARD[:1000, :8]})
        gallery.compact()
    with open_gallery(tmp_path / 'g') as gallery:
        reason = gallery.manifest.preset_reason
        assert reason.startswith('IVF16,Flat: as asked for. a: nprobe ') and ' b: nprobe ' in reason
        assert innermost(gallery._state.segments[0].parts['b'].approximate).nprobe >= 1
