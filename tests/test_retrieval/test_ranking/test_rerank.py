"""Re-ranking over a gallery: permutations, methods against their array functions, and what cannot be done."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery
from retrieval.hits import Hits
from retrieval.ranking import (
    METHODS,
    expand,
    fit_patch_whitening,
    k_reciprocal_distances,
    region_similarity,
    rerank,
    reranking,
    whiten_patches,
)
from retrieval.whitening import Whitening

COUNT, DIMENSION, PATCHES = 60, 8, 3


def _unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


@pytest.fixture(scope='module', params=['cosine', 'ip', 'l2'])
def gallery(request, tmp_path_factory):
    generator = np.random.default_rng(0)
    embeddings = {
        'global': generator.normal(size=(COUNT, DIMENSION)).astype(np.float32),
        'crop': generator.normal(size=(COUNT, 5)).astype(np.float32),
    }
    patches = generator.normal(size=(COUNT, PATCHES, 6)).astype(np.float16)
    records = [Record(label='odd' if row % 2 else 'even') for row in range(COUNT)]
    location = tmp_path_factory.mktemp('rerank') / request.param
    with create_gallery(location, {'global': DIMENSION, 'crop': 5}, metric=request.param, preset='flat') as gallery:
        gallery.add(embeddings, records, 1000 + 7 * np.arange(COUNT), patches)
        yield gallery


@pytest.fixture(scope='module')
def queries():
    generator = np.random.default_rng(1)
    embeddings = dict(
        global_=generator.normal(size=(5, DIMENSION)).astype(np.float32),
        crop=generator.normal(size=(5, 5)).astype(np.float32),
    )
    return {'global': embeddings['global_'], 'crop': embeddings['crop']}


@pytest.fixture(scope='module')
def query_patches():
    return np.random.default_rng(2).normal(size=(5, PATCHES, 6)).astype(np.float16)


def _is_sorted(hits, metric):
    scores = hits.scores if metric == 'l2' else -hits.scores
    return (scores[:, :-1] <= scores[:, 1:]).all()


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('space', [None, 'crop', {'global': 0.3, 'crop': 0.7}])
@pytest.mark.parametrize('depth', [None, 7])
def test_is_a_sorted_permutation_of_the_first_hits(gallery, queries, query_patches, method, space, depth):
    hits = gallery.search(queries, 20, space=space)
    options = dict(search_again=False) if method == 'query-expansion' else {}
    result = rerank(gallery, queries, hits, method, space=space, query_patches=query_patches, depth=depth, **options)
    first = depth or 20
    assert result.ids.dtype == np.int64 and result.scores.dtype == np.float32
    np.testing.assert_array_equal(np.sort(result.ids[:, :first]), np.sort(hits.ids[:, :first]))
    np.testing.assert_array_equal(result.ids[:, first:], hits.ids[:, first:])
    assert _is_sorted(result, gallery.manifest.metric)


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_any_depth_and_k(gallery, queries, query_patches, data):
    method = data.draw(st.sampled_from([name for name in METHODS if name != 'query-expansion']))
    count = data.draw(st.integers(1, COUNT + 5))
    depth, k = data.draw(st.integers(1, COUNT + 9)), data.draw(st.integers(1, COUNT + 9))
    hits = gallery.search(queries, count)
    result = rerank(gallery, queries, hits, method, query_patches=query_patches, depth=depth, k=k)
    assert result.ids.shape == (5, min(k, count))
    everything = rerank(gallery, queries, hits, method, query_patches=query_patches, depth=depth)
    np.testing.assert_array_equal(result.ids, everything.ids[:, :k])
    for row in range(5):
        assert set(everything.ids[row]) == set(hits.ids[row])
        # Only the end may be empty.
        missing = everything.ids[row] < 0
        assert (missing[:-1] <= missing[1:]).all()


def test_k_reciprocal_equals_its_function(gallery, queries):
    metric = gallery.manifest.metric
    hits = gallery.search(queries['global'], 20)
    vectors = gallery.vectors(hits.ids.ravel()).reshape(5, 20, DIMENSION)
    query = _unit(queries['global']) if metric == 'cosine' else queries['global']
    distances = k_reciprocal_distances(query, vectors, k1=7, k2=2, weight=0.2)
    result = rerank(gallery, queries['global'], hits, 'k-reciprocal', k1=7, k2=2, weight=0.2)
    expected = np.sort(distances if metric == 'l2' else 1 - distances)
    np.testing.assert_allclose(result.scores, expected if metric == 'l2' else expected[:, ::-1], atol=1e-5)


def test_fused_spaces_are_compared_by_their_weighted_sum(gallery, queries):
    weights = {'global': 0.3, 'crop': 0.7}
    hits = gallery.search(queries, 20, space=weights)
    same = rerank(gallery, queries, hits, 'query-expansion', space=weights, num_neighbors=0, search_again=False)
    if gallery.manifest.metric != 'cosine':  # of which the expanded vector is scaled to length 1, as is the fused one
        np.testing.assert_allclose(same.scores, hits.scores, rtol=1e-4, atol=1e-4)
    assert (same.ids == hits.ids).mean() > 0.95


def test_region_equals_its_function(gallery, queries, query_patches):
    hits = gallery.search(queries['global'], 20)
    kept = gallery.patches(hits.ids.ravel())
    whitening = fit_patch_whitening(gallery, dimension=4)
    similar = region_similarity(
        whiten_patches(query_patches, whitening), whiten_patches(kept, whitening).reshape(5, 20, PATCHES, 4)
    )
    if gallery.manifest.metric == 'l2':
        similar = 2 - 2 * similar
    expected = 0.25 * similar + 0.75 * hits.scores
    result = rerank(
        gallery,
        queries['global'],
        hits,
        'region',
        query_patches=query_patches,
        weight=0.25,
        whitening=whitening,
    )
    back = np.argsort(result.ids)[np.arange(5)[:, None], np.argsort(np.argsort(hits.ids))]
    np.testing.assert_allclose(np.take_along_axis(result.scores, back, axis=1), expected, rtol=1e-4, atol=1e-4)


def test_region_of_weight_zero_changes_nothing_and_whitening_is_learned_from_the_gallery(
    gallery, queries, query_patches
):
    hits = gallery.search(queries['global'], 10)
    same = rerank(gallery, queries['global'], hits, 'region', query_patches=query_patches, weight=0.0)
    np.testing.assert_array_equal(same.ids, hits.ids)
    learned = rerank(gallery, queries['global'], hits, 'region', query_patches=query_patches)
    given = rerank(
        gallery,
        queries['global'],
        hits,
        'region',
        query_patches=query_patches,
        whitening=fit_patch_whitening(gallery),
    )
    raw = rerank(gallery, queries['global'], hits, 'region', query_patches=query_patches, whitening=None)
    np.testing.assert_allclose(learned.scores, given.scores, rtol=1e-5)
    assert not np.allclose(learned.scores, raw.scores, rtol=1e-3)


def test_query_expansion_searches_again_within_the_filter(gallery, queries):
    where = {'label': 'odd'}
    hits = gallery.search(queries['global'], 10, where=where)
    result = rerank(gallery, queries['global'], hits, 'query-expansion', where=where, num_neighbors=4, alpha=1.0)
    unit = gallery.manifest.metric == 'cosine'
    vectors = gallery.vectors(hits.ids[:, :4].ravel()).reshape(5, 4, DIMENSION)
    query = _unit(queries['global']) if unit else queries['global']
    expected = gallery.search(expand(query, vectors, 1.0, unit=unit), 10, where=where)
    np.testing.assert_array_equal(result.ids, expected.ids)
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-5, atol=1e-6)
    assert {record.label for record in gallery.records(np.unique(result.ids))} == {'odd'}
    assert set(result.ids.ravel()) != set(hits.ids.ravel())


def test_query_expansion_of_fused_spaces_expands_each(gallery, queries):
    space = {'global': 0.5, 'crop': 0.5}
    hits = gallery.search(queries, 10, space=space)
    result = rerank(gallery, queries, hits, 'query-expansion', space=space, num_neighbors=3)
    assert result.ids.shape == (5, 10) and (result.ids >= 0).all()


def test_expansion_by_no_neighbors_changes_nothing(gallery, queries):
    hits = gallery.search(queries['global'], 10)
    result = rerank(gallery, queries['global'], hits, 'query-expansion', num_neighbors=0)
    np.testing.assert_array_equal(result.ids, hits.ids)


def test_blocks_do_not_change_the_result(gallery, queries, query_patches, monkeypatch):
    hits = gallery.search(queries, 15)
    before = [rerank(gallery, queries, hits, method, query_patches=query_patches) for method in METHODS]
    monkeypatch.setattr(reranking, 'BLOCK_BYTES', 1)
    for method, result in zip(METHODS, before):
        again = rerank(gallery, queries, hits, method, query_patches=query_patches)
        np.testing.assert_array_equal(again.ids, result.ids)


def test_no_hits_at_all(gallery, queries, query_patches):
    hits = gallery.search(queries, 4, where={'label': 'neither'})
    for method in METHODS:
        result = rerank(gallery, queries, hits, method, query_patches=query_patches, where={'label': 'neither'})
        assert (result.ids == -1).all() and np.isinf(result.scores).all()


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(method='magic'), 'method must be one of'),
        (dict(k3=1), "k-reciprocal has no option 'k3'; it has k1, k2, weight"),
        (dict(depth=0), 'at least 1'),
        (dict(k=0), 'at least 1'),
        (dict(space='none'), "no space 'none'; it has global, crop"),
        (dict(space={'global': 1.0, 'crop': -1.0}), 'negative'),
        (dict(queries=np.ones((5, 3), np.float32)), '3 columns'),
        (dict(queries={'crop': np.ones((5, 5), np.float32)}), "no queries for the space 'global'"),
        (dict(queries=np.ones((5, 8), np.float32), space={'global': 1.0, 'crop': 1.0}), 'dict'),
        (dict(queries=np.ones((4, 8), np.float32)), 'another number of queries'),
        (dict(method='region'), 'keep_patches=True'),
        (dict(method='region', query_patches=np.ones((4, 3, 6))), r'\(5, O, C\)'),
        (dict(method='region', weight=2.0), 'from 0 to 1'),
        (dict(method='query-expansion', num_neighbors=-1), 'num_neighbors'),
        (dict(method='query-expansion', alpha=-1.0), 'alpha'),
    ],
)
def test_invalid_arguments_are_clear_errors(gallery, queries, change, message):
    hits = gallery.search(queries, 5)
    arguments = {**dict(queries=queries, hits=hits, method='k-reciprocal'), **change}
    with pytest.raises(RetrievalError, match=message):
        rerank(gallery, **arguments)


def test_a_gallery_without_patches_says_so(tmp_path):
    with create_gallery(tmp_path / 'plain', 3, preset='flat') as gallery:
        gallery.add(np.eye(3, dtype=np.float32))
        hits = Hits(np.ones((1, 1), np.float32), np.array([[0]]))
        query = np.ones((1, 3), np.float32)
        for options in (dict(), dict(whitening=None)):
            with pytest.raises(RetrievalError, match='gallery keeps no patches'):
                rerank(gallery, query, hits, 'region', query_patches=np.ones((1, 2, 6)), **options)


def test_a_whitened_gallery_takes_queries_as_the_model_gives_them_and_whitened(tmp_path):
    generator = np.random.default_rng(5)
    embeddings = generator.normal(size=(COUNT, DIMENSION)).astype(np.float32)
    queries = generator.normal(size=(5, DIMENSION)).astype(np.float32)
    whitening = Whitening.fit(embeddings, 4)
    with create_gallery(tmp_path / 'white', {'a': 4}, preset='flat', transforms={'a': whitening}) as gallery:
        gallery.add(embeddings)
        hits = gallery.search(queries, 12)
        whitened = _unit(whitening.apply(queries))
        result = rerank(gallery, queries, hits, 'k-reciprocal')
        vectors = gallery.vectors(hits.ids.ravel()).reshape(5, 12, 4)
        expected = 1 - np.sort(k_reciprocal_distances(whitened, vectors))
        np.testing.assert_allclose(result.scores, expected, atol=1e-5)
        for method in ('k-reciprocal', 'query-expansion'):
            raw = rerank(gallery, queries, hits, method)
            own = rerank(gallery, whitened, hits, method, transformed=True)
            np.testing.assert_array_equal(raw.ids, own.ids)
