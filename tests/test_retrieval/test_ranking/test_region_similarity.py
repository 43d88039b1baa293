"""Matching of patches against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.ranking import match_patches, region_similarity, whiten_patches
from retrieval.ranking import patch_regions as module
from retrieval.whitening import Whitening


def _loop(query, candidate):
    cosines = np.array(
        [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in candidate] for a in query.astype(np.float64)]
    )
    return (cosines.max(axis=1).mean() + cosines.max(axis=0).mean()) / 2


@settings(deadline=None, max_examples=40)
@given(
    num_queries=st.integers(1, 4),
    num_candidates=st.integers(0, 5),
    num_query_patches=st.integers(1, 6),
    num_patches=st.integers(1, 6),
    dtype=st.sampled_from([np.float16, np.float32]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_a_loop(num_queries, num_candidates, num_query_patches, num_patches, dtype, seed):
    generator = np.random.default_rng(seed)
    queries = generator.normal(size=(num_queries, num_query_patches, 7)).astype(dtype)
    candidates = generator.normal(size=(num_queries, num_candidates, num_patches, 7)).astype(dtype)
    result = region_similarity(queries, candidates)
    expected = [
        [_loop(query, candidate) for candidate in own.astype(np.float64)] for query, own in zip(queries, candidates)
    ]
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, np.array(expected).reshape(result.shape), atol=1e-4)


def test_the_same_region_is_one_in_any_order_and_scale():
    patches = np.random.default_rng(0).normal(size=(1, 5, 8)).astype(np.float32)
    shuffled = 3 * patches[:, None, ::-1]
    np.testing.assert_allclose(region_similarity(patches, shuffled), 1, atol=1e-5)


def test_is_symmetric_and_blocks_do_not_change_it(monkeypatch):
    generator = np.random.default_rng(1)
    queries = generator.normal(size=(6, 4, 8)).astype(np.float16)
    candidates = generator.normal(size=(6, 1, 3, 8)).astype(np.float16)
    forward = region_similarity(queries, candidates)
    np.testing.assert_allclose(forward, region_similarity(candidates[:, 0], queries[:, None]), atol=1e-6)
    monkeypatch.setattr(module, '_BLOCK_BYTES', 1)
    np.testing.assert_allclose(forward, region_similarity(queries, candidates), atol=1e-6)


def test_missing_candidates_and_empty_patches():
    queries = np.ones((1, 2, 3), np.float16)
    candidates = np.stack([np.zeros((2, 3)), np.ones((2, 3))])[None].astype(np.float16)
    np.testing.assert_allclose(region_similarity(queries, candidates), [[0, 1]], atol=1e-6)
    present = np.array([[False, True]])
    np.testing.assert_allclose(region_similarity(queries, candidates, present=present), [[-np.inf, 1]], atol=1e-6)


@pytest.mark.parametrize(
    'queries, candidates, message',
    [
        ((2, 3), (2, 1, 3, 4), r'\(m, O, C\)'),
        ((2, 0, 4), (2, 1, 3, 4), r'\(m, O, C\)'),
        ((2, 3, 4), (2, 1, 3, 5), 'same model'),
        ((2, 3, 4), (1, 1, 3, 4), 'do not belong together'),
    ],
)
def test_invalid_shapes_are_clear_errors(queries, candidates, message):
    with pytest.raises(RetrievalError, match=message):
        region_similarity(np.ones(queries), np.ones(candidates))


@pytest.mark.parametrize('whitened', [False, True])
def test_matches_explain_the_similarity(whitened):
    generator = np.random.default_rng(2)
    query, candidate = (generator.normal(size=(count, 6)).astype(np.float16) for count in (3, 5))
    whitening = Whitening.fit(generator.normal(size=(40, 6)).astype(np.float32), 4) if whitened else None
    boxes = [[4.0 * patch, 0, 4.0 * patch + 4, 4] for patch in range(5)]
    matches = match_patches(query, boxes[:3], candidate, boxes, whitening)
    if whitening is not None:
        query, candidate = whiten_patches(query, whitening), whiten_patches(candidate, whitening)
    expected = region_similarity(query[None], candidate[None, None])[0, 0]
    assert sum(one.weight * one.similarity for one in matches) == pytest.approx(expected, abs=1e-6)
    assert sum(one.weight for one in matches) == pytest.approx(1)
    assert {one.query_patch for one in matches} == {0, 1, 2} and {one.patch for one in matches} == set(range(5))
    values = [one.similarity for one in matches]
    assert values == sorted(values, reverse=True) and -1 <= values[-1] <= values[0] <= 1
    for one in matches:
        assert one.query_box == tuple(boxes[one.query_patch]) and one.box == tuple(boxes[one.patch])


def test_matches_of_unlike_shapes_are_refused():
    with pytest.raises(RetrievalError, match='of one model'):
        match_patches(np.ones((2, 3)), None, np.ones((2, 4)), None)
    with pytest.raises(RetrievalError, match='query_boxes must be one for each of 2 patches, got 1'):
        match_patches(np.ones((2, 3)), [(0, 0, 1, 1)], np.ones((2, 3)), None)
