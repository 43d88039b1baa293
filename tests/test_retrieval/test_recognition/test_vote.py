"""The vote of neighbours against a loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.recognition.vote import knn_vote, to_probabilities


@settings(deadline=None, max_examples=60)
@given(
    num_queries=st.integers(0, 5),
    k=st.integers(0, 9),
    num_classes=st.integers(1, 4),
    temperature=st.sampled_from([0.02, 0.07, 1.0]),
    cap=st.sampled_from([None, 1, 2]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_a_loop(num_queries, k, num_classes, temperature, cap, seed):
    generator = np.random.default_rng(seed)
    similarities = generator.uniform(-1, 1, (num_queries, k))
    similarities[generator.random((num_queries, k)) < 0.2] = -np.inf
    codes = generator.integers(-1, num_classes, (num_queries, k))
    votes = knn_vote(similarities, codes, temperature, cap)
    assert votes.codes.shape == votes.shares.shape == votes.supports.shape == votes.similarities.shape
    for row in range(num_queries):
        weights, supports, nearest, counts = {}, {}, {}, {}
        for similarity, code in zip(similarities[row], codes[row]):
            if code < 0 or similarity == -np.inf:
                continue
            counts[code] = counts.get(code, 0) + 1
            if cap is not None and counts[code] > cap:
                continue
            weight = math.exp(similarity / temperature)
            weights[code] = weights.get(code, 0) + weight
            supports[code] = supports.get(code, 0) + weight * max(similarity, 0)
            nearest[code] = max(nearest.get(code, -1), similarity)
        total = sum(weights.values())
        order = sorted(weights, key=lambda code: -weights[code])
        there = votes.codes[row] >= 0
        np.testing.assert_array_equal(votes.codes[row][there], order)
        np.testing.assert_allclose(
            votes.shares[row][there], [weights[code] / total for code in order], rtol=1e-5, atol=1e-12
        )
        np.testing.assert_allclose(
            votes.supports[row][there], [supports[code] / total for code in order], rtol=1e-5, atol=1e-7
        )
        np.testing.assert_allclose(votes.similarities[row][there], [nearest[code] for code in order], rtol=1e-5)
        assert (votes.shares[row][~there] == 0).all() and np.isneginf(votes.similarities[row][~there]).all()


def test_a_small_temperature_follows_the_nearest_and_a_large_one_counts():
    similarities, codes = np.array([[0.9, 0.8, 0.8]]), np.array([[1, 2, 2]])
    assert knn_vote(similarities, codes, 0.01).codes[0, 0] == 1
    votes = knn_vote(similarities, codes, np.inf)
    assert votes.codes[0].tolist() == [2, 1]
    np.testing.assert_allclose(votes.shares, [[2 / 3, 1 / 3]])


def test_equal_shares_go_to_the_nearer_then_to_the_smaller_code():
    votes = knn_vote(np.array([[0.5, 0.5], [0.2, 0.9]]), np.array([[7, 3], [1, 2]]), np.inf)
    assert votes.codes.tolist() == [[3, 7], [2, 1]]


def test_similarities_far_beyond_the_range_of_exp_are_no_trouble():
    votes = knn_vote(np.array([[5000.0, 4000.0]]), np.array([[1, 2]]), 0.07)
    np.testing.assert_allclose(votes.shares, [[1, 0]])
    np.testing.assert_allclose(votes.supports, [[5000, 0]])


@pytest.mark.parametrize('temperature', [0, -1, float('nan')])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(RetrievalError, match='temperature'):
        knn_vote(np.ones((1, 2)), np.ones((1, 2), int), temperature)


def test_shapes_must_agree():
    with pytest.raises(RetrievalError, match=r'\(m, k\)'):
        knn_vote(np.ones((1, 2)), np.ones((2, 2), int))


def test_probabilities_of_all_classes_sum_to_one():
    shares = np.array([[0.75, 0.25, 0.0], [1.0, 0.0, 0.0]])
    whole = to_probabilities(np.pad(shares, ((0, 0), (0, 2))), 0.1, 1.5, 5)
    np.testing.assert_allclose(whole.sum(axis=1), 1)
    np.testing.assert_allclose(to_probabilities(shares, 0.1, 1.5, 5), whole[:, :3])
    np.testing.assert_allclose(to_probabilities(shares, 0.0, 1.0, 3), shares)
    assert (whole[:, 3:] > 0).all() and whole[0, 0] / whole[0, 1] == pytest.approx((0.695 / 0.245) ** 1.5)
