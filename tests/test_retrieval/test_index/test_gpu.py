"""GPUs: what can be checked without one, and what runs as soon as there is one."""

import importlib.metadata
import logging

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.index import PRESETS, VectorIndex, make_part
from retrieval.index.gpu import (
    LEAST_ROWS,
    Device,
    GpuCopies,
    GpuSearcher,
    cloner_options,
    count_gpus,
    needs_half_tables,
    read_device,
    to_gpu,
    usable_devices,
    why_not,
)
from retrieval.index.part_search import search_overfetch
from retrieval.index.presets import preset_of
from retrieval.index.training import build_faiss_index

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2000, 32)).astype(np.float32)
QUERIES = RNG.normal(size=(9, 32)).astype(np.float32)


class IgnoresFilters:
    """A stand-in for a GPU index: searches what it was given, and accepts filters without applying them."""

    is_exact, takes_filters = True, False

    def __init__(self, index):
        self.index, self.calls = index, 0

    def search(self, queries, k):
        assert k <= 2048
        self.calls += 1
        return self.index.search(queries, k)


@given(st.integers(0, 2**32), st.integers(1, 12), st.floats(0, 1), st.integers(1, 60))
def test_overfetching_is_exact_or_gives_up(seed, k, share, limit):
    rng = np.random.default_rng(seed)
    rows, queries = rng.normal(size=(60, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    allowed = rng.random(60) < share
    k = min(k, int(allowed.sum()))
    index = faiss.IndexFlatIP(3)
    index.add(rows)
    if k == 0:
        with pytest.raises(ValueError, match='allowed rows'):
            search_overfetch(index.search, queries, 1, np.zeros(60, bool), limit)
        return
    found = search_overfetch(index.search, queries, k, allowed, limit)
    scores = np.where(allowed, queries @ rows.T, -np.inf)
    expected = np.sort(scores, axis=1)[:, ::-1][:, :k]
    if found is None:
        deepest = min(limit, 60)
        order = np.argsort(-(queries @ rows.T), axis=1)[:, :deepest]
        assert (allowed[order].sum(axis=1) < k).any() or limit < 60
    else:
        np.testing.assert_allclose(found[0], expected, atol=1e-5)
        assert allowed[found[1]].all()
    if limit == 60:
        assert found is not None or share < 1


@pytest.mark.parametrize('metric', ['cosine', 'l2'])
@pytest.mark.parametrize('share', [1.0, 0.5, 0.01])
def test_filters_hold_on_searchers_that_ignore_them(monkeypatch, metric, share):
    from retrieval.index import effort

    monkeypatch.setattr(effort, 'most_compared', lambda *arguments: 0)
    rows = X / np.linalg.norm(X, axis=1, keepdims=True) if metric == 'cosine' else X
    part = make_part(rows, np.arange(2000), metric).with_alive(np.arange(2000) >= 30)
    index = VectorIndex(32, metric, [part])
    allowed = None if share == 1 else index.select(np.flatnonzero(RNG.random(2000) < share))
    expected = index.search(QUERIES, 15, allowed=allowed)
    searcher = IgnoresFilters(index.parts[0].vectors)
    monkeypatch.setattr(index._copies, 'find', lambda part, parts: searcher)
    found = index.search(QUERIES, 15, allowed=allowed)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    assert searcher.calls == 1


def search_copy(monkeypatch, preset, searcher_of, metric='ip', **options):
    """What the CPU finds under a filter, and what it finds by way of a copy; on the CPU, FAISS filters as with cuVS."""
    from retrieval.index import effort

    monkeypatch.setattr(effort, 'most_compared', lambda *arguments: 0)
    rows = X / np.linalg.norm(X, axis=1, keepdims=True) if metric == 'cosine' else X
    part = make_part(rows, np.arange(2000), metric, preset)
    index = VectorIndex(32, metric, [part])
    allowed = index.select(np.flatnonzero(np.random.default_rng(1).random(2000) < 0.1))
    expected = index.search(QUERIES, 15, allowed=allowed, **options)
    searcher = searcher_of(part, part.vectors if part.approximate is None else part.approximate)
    monkeypatch.setattr(index._copies, 'find', lambda part, parts: searcher)
    return expected, index.search(QUERIES, 15, allowed=allowed, **options), searcher


class Counted(GpuSearcher):
    """Notes what was asked of a copy."""

    def __init__(self, part, copy, **settings):
        super().__init__(part, copy, **settings)
        self.asked = []

    def search(self, queries, k, allowed=None, effort=None):
        self.asked.append((k, allowed is not None, dict(effort or {})))
        return super().search(queries, k, allowed, effort)


@pytest.mark.parametrize('metric', ['cosine', 'ip', 'l2'])
@pytest.mark.parametrize('preset, rescore', [('flat', None), ('ivf-flat', None), ('ivf-pq', None), ('ivf-pq', 0)])
def test_copies_that_filter_get_the_filter(monkeypatch, preset, rescore, metric):
    options = {} if preset == 'flat' else dict(rescore=rescore)
    expected, found, searcher = search_copy(monkeypatch, preset, Counted, metric, **options)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-6)
    assert searcher.takes_filters and len(searcher.asked) == 2  # the trial and the search
    assert searcher.asked[1][1] and list(searcher.asked[1][2]) == ([] if preset == 'flat' else ['nprobe'])


def test_rows_in_half_precision_are_scored_exactly(monkeypatch):
    half = faiss.IndexScalarQuantizer(32, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    half.train(X)
    half.add(X)
    expected, found, searcher = search_copy(monkeypatch, 'flat', lambda part, _: Counted(part, half, is_exact=False))
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)
    assert searcher.asked[-1][0] == 64


def test_rows_that_cuvs_does_not_find_are_missing():
    class Cuvs(IgnoresFilters):
        def search(self, queries, k, params=None):
            scores, rows = self.index.search(queries, k)
            return scores, np.where(rows % 2 == 0, rows, np.iinfo(np.int64).max)

    part = make_part(X, np.arange(2000), 'ip')
    rows = GpuSearcher(part, Cuvs(part.vectors)).search(QUERIES, 20)[1]
    assert set(rows[rows % 2 != 0]) == {-1}


def spread(kind):
    """Copies on two devices: all rows on each, or half of them."""
    index = faiss.IndexShards(32, False, True) if kind == 'shards' else faiss.IndexReplicas(32)
    for rows in (X[:1000], X[1000:]) if kind == 'shards' else (X, X):
        one = faiss.IndexFlatIP(32)
        one.add(rows)
        index.add_shard(one) if kind == 'shards' else index.addIndex(one)
    return index


@pytest.mark.parametrize('kind, takes', [('whole', True), ('replicas', True), ('shards', False), ('no filter', False)])
def test_whether_a_copy_filters_is_tried(kind, takes):
    part = make_part(X, np.arange(2000), 'ip')
    copy = (
        part.vectors if kind == 'whole' else build_faiss_index('PQ4', X, 'ip') if kind == 'no filter' else spread(kind)
    )
    searcher = GpuSearcher(part, copy)
    assert searcher.takes_filters == takes
    np.testing.assert_array_equal(searcher.search(X[:3], 1)[1].shape, (3, 1))


@pytest.mark.parametrize('text', ['tpu', 'gpu:half', 'cpu:fp16', 'auto:shard', 'gpu:', '', 'gpu,fp16'])
def test_devices_that_there_are_not(text):
    with pytest.raises(RetrievalError, match='device must be auto, cpu or gpu, or gpu with options'):
        VectorIndex(32, device=text)


def test_devices_that_there_are():
    assert read_device('auto') == ('auto', False, False) and read_device('gpu:shard') == ('gpu', True, False)
    assert read_device('gpu:fp16:shard') == read_device('gpu:shard:fp16') == ('gpu', True, True)


@pytest.mark.skipif(not hasattr(faiss, 'GpuMultipleClonerOptions'), reason='needs a FAISS built for GPUs')
@pytest.mark.parametrize(
    'preset, device, shard, half, cuvs',
    [
        ('flat', 'gpu', False, False, True),
        ('flat', 'gpu:shard:fp16', True, True, True),
        ('ivf-flat', 'gpu:shard', True, False, True),
        ('fp16', 'gpu', False, False, False),
        ('IVF4,SQfp16', 'gpu:fp16', False, True, False),
    ],
)
def test_options_of_copies(preset, device, shard, half, cuvs, monkeypatch):
    class WithCuvs(faiss.GpuMultipleClonerOptions):
        def __init__(self):
            super().__init__()
            self.use_cuvs = True  # as in builds with cuVS

    monkeypatch.setattr(faiss, 'GpuMultipleClonerOptions', WithCuvs)
    options = cloner_options(build_faiss_index(preset, X[:400], 'ip'), read_device(device))
    assert (options.shard, options.useFloat16, options.use_cuvs) == (shard, half, cuvs)


@pytest.mark.parametrize(
    'preset, gpus, words', [('flat', 1, 'there is one GPU'), ('fp16', 2, 'one GPU whole'), ('flat', 2, '')]
)
def test_shards_that_cannot_be_are_told(preset, gpus, words, monkeypatch, caplog):
    monkeypatch.setattr('retrieval.index.gpu.count_gpus', lambda: gpus)
    monkeypatch.setattr('retrieval.index.gpu.copy_to_gpus', lambda index, device: index)
    with caplog.at_level(logging.WARNING, 'retrieval.index.gpu'):
        assert to_gpu(make_part(X[:400], np.arange(400), 'ip', preset), Device('gpu', shard=True)) is not None
    assert words in caplog.text and bool(caplog.text) == bool(words)


def test_more_than_a_gpu_returns_is_searched_on_the_cpu(monkeypatch):
    rows = RNG.normal(size=(3000, 4)).astype(np.float32)
    index = VectorIndex.build(rows, preset='flat')
    searcher = IgnoresFilters(index.parts[0].vectors)
    monkeypatch.setattr(index._copies, 'find', lambda part, parts: searcher)
    assert (index.search(rows[:2], 2500).ids >= 0).all() and searcher.calls == 0


@pytest.mark.parametrize(
    'preset, words',
    [
        ('flat', ''),
        ('fp16', ''),
        ('ivf-flat', ''),
        ('ivf-pq', ''),
        ('opq', ''),
        ('sq8', '16-bit'),
        ('hnsw', 'no graphs'),
    ]
    + [('ivf-hnsw', 'no graphs'), ('PQ4', 'no such kind'), ('rabitq', 'no such kind'), ('ivf-rabitq', 'no such kind')]
    + [('hnsw-sq8', 'no graphs')],
)
def test_kinds_that_gpus_have(preset, words):
    index = build_faiss_index(preset, X[:400], 'ip')
    assert (words in why_not(index)) if words else why_not(index) == ''
    if preset in PRESETS:
        assert PRESETS[preset].gpu == (not words)


def test_kinds_that_faiss_would_leave_on_the_cpu_without_a_word_go_to_one_gpu():
    half, flat = build_faiss_index('fp16', X[:400], 'ip'), build_faiss_index('flat', X[:400], 'ip')
    assert usable_devices(half, 4) == [0] and usable_devices(flat, 4) == [0, 1, 2, 3] and usable_devices(half, 0) == []


@pytest.mark.parametrize('dimension, needed', [(384, False), (768, True)])
def test_long_codes_need_half_tables(dimension, needed):
    index = faiss.index_factory(dimension, preset_of('opq').factory(5000, dimension))
    assert needs_half_tables(index) == needed
    assert not needs_half_tables(faiss.IndexFlatIP(dimension))


def test_fall_back_says_so_once(caplog, monkeypatch):
    if count_gpus():
        pytest.skip('there is a GPU')
    rows = RNG.normal(size=(LEAST_ROWS, 4)).astype(np.float32)
    with caplog.at_level(logging.WARNING, 'retrieval.index.gpu'):
        index = VectorIndex.build(rows, preset='flat', device='gpu')
        for _ in range(3):
            index.search(rows[:2], 2)
        assert [record.message for record in caplog.records] == ['FAISS finds no GPU: searching on the CPU']
        caplog.clear()
        automatic = VectorIndex.build(rows, preset='flat')
        automatic.search(rows[:2], 2)
        assert not caplog.records


def test_names_that_gpu_code_uses_are_those_of_the_package():
    if 'faiss-gpu' not in {one.metadata['Name'] for one in importlib.metadata.distributions()}:
        pytest.skip('needs the package faiss-gpu')
    assert hasattr(faiss, 'StandardGpuResources'), 'faiss-cpu has overwritten faiss-gpu, see docs/guides/milvus.md'
    options = faiss.GpuMultipleClonerOptions()
    options.useFloat16 = True
    assert options.useFloat16
    assert callable(faiss.index_cpu_to_gpu_multiple_py) and faiss.get_num_gpus() >= 0


def test_copies_are_those_of_the_parts_that_are_there(monkeypatch):
    copied = []

    def to_gpu(part, device):
        index = part.vectors
        copied.append(index.ntotal)
        return IgnoresFilters(index) if index.ntotal < 1900 else None  # as of a kind that FAISS has not on the GPU

    monkeypatch.setattr('retrieval.index.gpu.to_gpu', to_gpu)
    monkeypatch.setattr('retrieval.index.gpu.LEAST_ROWS', 100)
    copies = GpuCopies('gpu')
    for round_number in range(50):
        part = make_part(X[: 200 + round_number], np.arange(200 + round_number), 'l2')
        copy = copies.find(part, [part])
        assert isinstance(copy, IgnoresFilters) and copies.find(part, [part]) is copy
        assert copies.find(part.with_alive(np.arange(len(part)) > 3), [part]) is copy
        assert copy.index.ntotal == 200 + round_number
    assert len(copied) == 50 and len(copies._copies) == 1
    large = make_part(X[:1950], np.arange(1950), 'l2')
    assert copies.find(large, [part, large]) is None and copies.find(large, [part, large]) is None
    assert copied[-1] == 1950 and len(copied) == 51 and len(copies._copies) == 2
    assert copies.find(make_part(X[:50], np.arange(50), 'l2'), []) is None  # too few rows


@pytest.mark.gpu
@pytest.mark.skipif(count_gpus() == 0, reason='needs a GPU')
@pytest.mark.parametrize('preset', ['flat', 'fp16', 'ivf-flat', 'ivf-pq', 'opq', 'hnsw'])
def test_gpu_equals_cpu(preset):
    rows = RNG.normal(size=(20_000, 64)).astype(np.float32)
    queries = RNG.normal(size=(50, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    part = make_part(rows, np.arange(20_000), 'cosine', preset).with_alive(np.arange(20_000) >= 10)
    found = {}
    for device in ('cpu', 'gpu'):
        index = VectorIndex(64, parts=[part], device=device)
        chosen = index.select(range(0, 20_000, 3))
        found[device] = (
            index.search(queries, 10),
            index.search(queries, 10, allowed=chosen),
            index.search(queries, 3000),
        )
    for cpu, gpu in zip(found['cpu'], found['gpu']):
        assert (np.sort(cpu.ids) == np.sort(gpu.ids)).mean() > 0.95
        np.testing.assert_allclose(cpu.scores, gpu.scores, atol=1e-3)
    assert (found['gpu'][1].ids % 3 == 0).all()
