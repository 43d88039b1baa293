"""A filter costs no recall, and a filter or a copy on the GPU is never one of another state of the index."""

import faiss
import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.index import VectorIndex, make_part
from retrieval.index import part_search as part_search_module
from retrieval.index.copies import GpuCopies, OneAtATime
from retrieval.index.effort import filters_inside, parse_parameters, plan_effort
from retrieval.index.presets import build_faiss_index

GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(6000, 24)).astype(np.float32)
QUERIES = GENERATOR.normal(size=(150, 24)).astype(np.float32)


@pytest.mark.parametrize('share', [0.5, 0.2, 0.05])
@pytest.mark.parametrize('preset', ['ivf-flat', 'ivf-pq', 'hnsw', 'ivf-hnsw'])
def test_recall_under_a_filter(monkeypatch, preset, share):
    monkeypatch.setattr(part_search_module, 'GATHER_ROWS', 0)  # few rows would be compared one by one
    index = VectorIndex(24, 'l2', preset)
    index.add(X)
    index.compact()
    ids = np.flatnonzero(np.random.default_rng(1).random(len(X)) < share)
    allowed = index.select(ids)
    found = index.search(QUERIES, 10, allowed=allowed).ids
    assert np.isin(found, ids).all()
    truth = ids[faiss.knn(QUERIES, X[ids], 10)[1]]
    assert np.mean([np.isin(one, other).mean() for one, other in zip(truth, found)]) > 0.9


def test_inverted_lists_visited():
    index = build_faiss_index('IVF64,Flat', X, 'l2')
    index.nprobe = 4
    assert plan_effort(index, 10, 6000) == {}
    assert plan_effort(index, 10, 5500) == {}  # a few tombstones
    assert plan_effort(index, 10, 3000) == {'nprobe': 8}
    assert plan_effort(index, 10, 300) == {'nprobe': 64}
    assert plan_effort(index, 10, 300, {'nprobe': 2}) == {'nprobe': 2}


def test_queue_of_a_graph():
    index = build_faiss_index('HNSW8', X, 'l2')
    index.hnsw.efSearch = 16
    assert plan_effort(index, 10, 6000) == {}
    assert plan_effort(index, 300, 6000) == {'efSearch': 300}  # a graph returns no more rows than its queue holds
    assert plan_effort(index, 10, 3000) == {'efSearch': 32}
    assert plan_effort(index, 10, 600) is None  # 160 candidates, 2,560 distances: more than the rows themselves
    assert plan_effort(index, 10, 600, {'efSearch': 20}) == {'efSearch': 20}


@pytest.mark.parametrize('factory', ['PQ8', 'IVF16,PQ8+8', 'IVF16,RQ4x4', 'HNSW8', 'IVF16,SQ8', 'IVF16,PQ8x4fs'])
def test_kinds_of_faiss_under_a_filter(factory):
    index = VectorIndex(24, 'l2', factory)
    index.add(X)
    index.compact()
    ids = np.arange(0, 6000, 3)
    found = index.search(QUERIES[:20], 10, allowed=index.select(ids)).ids
    truth = ids[faiss.knn(QUERIES[:20], X[ids], 10)[1]]
    assert np.isin(found, ids).all()
    if not filters_inside(index.parts[0].approximate):
        np.testing.assert_array_equal(found, truth)
    assert np.mean([np.isin(one, other).mean() for one, other in zip(truth, found)]) > 0.85


@pytest.mark.parametrize('preset', ['flat', 'fp16', 'ivf-flat'])
@pytest.mark.parametrize(
    'parameters, words',
    [
        ({'nprobes': 3}, "no parameter 'nprobes'; they have: nprobe, max_codes, efSearch"),
        ({'nprobe': 0}, 'whole number of at least 1'),
        ({'nprobe': True}, 'whole number of at least 1'),
        ({'efSearch': 2.5}, 'whole number of at least 1'),
    ],
)
def test_parameters_that_no_search_has(preset, parameters, words):
    index = VectorIndex(24, 'l2', preset)
    index.add(X[:500])
    index.compact()
    with pytest.raises(RetrievalError, match=words):
        index.search(QUERIES, parameters=parameters)


def test_parameters_as_they_are_typed():
    assert parse_parameters([]) is None
    assert parse_parameters(['nprobe=64', 'max_codes=1000']) == {'nprobe': 64, 'max_codes': 1000}


@pytest.mark.parametrize('text', ['nprobe', 'nprobe=', '=4', 'nprobe=-1', 'nprobe=2.5', 'nprobe=x'])
def test_parameters_that_cannot_be_read(text):
    with pytest.raises(RetrievalError, match='is written as nprobe=64, got'):
        parse_parameters([text])


def test_a_filter_of_an_earlier_state_is_refused_every_time():
    index = VectorIndex(24, 'l2', 'flat')
    index.add(X[:200])
    for _ in range(200):  # memory of the earlier part is given to the later one again and again
        allowed = index.select([1, 2])
        index.compact()
        with pytest.raises(RetrievalError, match='select anew'):
            index.search(QUERIES[:1], allowed=allowed)


def test_copies_are_those_of_the_parts_that_are_there(monkeypatch):
    copied = []

    class Copy:
        def __init__(self, index):
            self.rows = index.ntotal

        def search(self, queries, k):
            return np.full((len(queries), k), self.rows), None

    def to_gpu(index, placement, half):
        copied.append(index.ntotal)
        return Copy(index) if index.ntotal < 5000 else None  # as of a kind that FAISS has not on the GPU

    monkeypatch.setattr('retrieval.index.copies.to_gpu', to_gpu)
    monkeypatch.setattr('retrieval.index.copies.LEAST_ROWS', 100)
    copies = GpuCopies('gpu', 'auto', False)
    for round_number in range(50):
        part = make_part(X[: 200 + round_number], np.arange(200 + round_number), 'l2')
        copy = copies.find(part, [part])
        assert isinstance(copy, OneAtATime) and copies.find(part, [part]) is copy
        assert copy.search(QUERIES[:1], 3)[0][0, 0] == 200 + round_number
    assert len(copied) == 50 and len(copies._copies) == 1
    large = make_part(X[:5500], np.arange(5500), 'l2')
    assert copies.find(large, [part, large]) is None and copies.find(large, [part, large]) is None
    assert copied[-1] == 5500 and len(copied) == 51 and len(copies._copies) == 2
    assert copies.find(make_part(X[:50], np.arange(50), 'l2'), []) is None  # too few rows
