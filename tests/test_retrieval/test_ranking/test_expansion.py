"""Query expansion and database-side augmentation against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.hits import without_own
from retrieval.ranking import augment_database, expand


def _unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


@settings(deadline=None, max_examples=40)
@given(
    num_queries=st.integers(1, 5),
    num_neighbors=st.integers(0, 7),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    unit=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_expansion_equals_a_loop(num_queries, num_neighbors, alpha, unit, seed):
    generator = np.random.default_rng(seed)
    queries = generator.normal(size=(num_queries, 6)).astype(np.float32)
    neighbors = generator.normal(size=(num_queries, num_neighbors, 6)).astype(np.float32)
    present = generator.random((num_queries, num_neighbors)) < 0.7
    expected = []
    for query, own, there in zip(queries.astype(np.float64), neighbors.astype(np.float64), present):
        total, weights = query.copy(), 1.0
        for neighbor in own[there]:
            cosine = query @ neighbor / np.linalg.norm(query) / np.linalg.norm(neighbor)
            weight = max(cosine, 0.0) ** alpha
            total += weight * neighbor
            weights += weight
        expected.append(total / weights)
    expected = _unit(np.array(expected)) if unit else np.array(expected)
    result = expand(queries, neighbors, alpha, present, unit)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_alpha_zero_is_the_average():
    generator = np.random.default_rng(0)
    queries, neighbors = generator.normal(size=(3, 4)), generator.normal(size=(3, 5, 4))
    average = np.concatenate([queries[:, None], neighbors], axis=1).mean(axis=1)
    result = expand(queries.astype(np.float32), neighbors.astype(np.float32))
    np.testing.assert_allclose(result, _unit(average), atol=1e-5)


def test_large_alpha_leaves_the_query_alone():
    queries = np.array([[1.0, 0.0]], np.float32)
    neighbors = np.array([[[0.6, 0.8], [0.0, 1.0]]], np.float32)
    np.testing.assert_allclose(expand(queries, neighbors, alpha=100.0), queries, atol=1e-6)


@pytest.mark.parametrize('metric', ['cosine', 'ip', 'l2'])
@pytest.mark.parametrize('alpha', [0.0, 2.0])
def test_augmentation_equals_brute_force(metric, alpha):
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(40, 5)).astype(np.float32)
    used = _unit(vectors) if metric == 'cosine' else vectors
    scores = -((used[:, None] - used[None]) ** 2).sum(axis=2) if metric == 'l2' else used @ used.T
    np.fill_diagonal(scores, -np.inf)
    rows = np.argsort(-scores, axis=1)[:, :4]
    expected = expand(used, used[rows], alpha, unit=metric == 'cosine')
    np.testing.assert_allclose(augment_database(vectors, 4, alpha, metric), expected, atol=1e-5)


def test_augmentation_without_neighbors_changes_nothing():
    vectors = np.random.default_rng(4).normal(size=(9, 3)).astype(np.float32)
    np.testing.assert_allclose(augment_database(vectors, 0), _unit(vectors), atol=1e-6)


def test_augmentation_of_fewer_vectors_than_neighbors():
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    np.testing.assert_allclose(augment_database(vectors, 10), np.full((2, 2), 0.5**0.5), atol=1e-6)


def test_a_row_is_not_its_own_neighbor():
    ids = np.array([[5, 1, 2], [8, 9, 3], [7, 4, -1]])
    np.testing.assert_array_equal(without_own(ids, np.array([5, 9, 0])), [[1, 2, -1], [8, 3, -1], [7, 4, -1]])


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: expand(np.ones((1, 2), np.float32), np.ones((1, 3, 2)), alpha=-1), 'alpha'),
        (lambda: expand(np.ones((1, 2), np.float32), np.ones((1, 3, 4))), r'\(m, n, d\)'),
        (lambda: expand(np.zeros((1, 2), np.float32), np.ones((1, 3, 2))), 'zeros'),
        (lambda: augment_database(np.ones((2, 2), np.float32), -1), 'num_neighbors'),
    ],
)
def test_invalid_arguments_are_clear_errors(call, message):
    with pytest.raises(RetrievalError, match=message):
        call()
