"""k-reciprocal re-ranking against the paper's equations, written with sets and dense matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.ranking import k_reciprocal_distances
from retrieval.ranking import reciprocal as module


def _paper(items, k1, k2, weight):
    """Distances of item 0 to the others: equations 2, 5, 7, 10, 11 and 12 of arXiv 1701.08398, one set at a time."""
    items = items.astype(np.float64)
    count = len(items)
    distances = ((items[:, None] - items[None]) ** 2).sum(axis=2)
    distances = distances / np.where(distances.max(axis=1) > 0, distances.max(axis=1), 1)[:, None]
    order = [sorted(range(count), key=lambda j: (j != i, distances[i, j], j)) for i in range(count)]

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    encodings = np.zeros((count, count))
    for i in range(count):
        expanded = set(reciprocal(i, k1))
        for j in reciprocal(i, k1):
            half = reciprocal(j, max(1, round(k1 / 2)))
            if len(half & reciprocal(i, k1)) >= 2 / 3 * len(half) - 1e-9:
                expanded |= half
        for j in expanded:
            encodings[i, j] = np.exp(-distances[i, j])
        encodings[i] /= encodings[i].sum()
    averaged = np.array([encodings[order[i][:k2]].mean(axis=0) for i in range(count)])
    jaccard = [
        1 - np.minimum(averaged[0], averaged[j]).sum() / np.maximum(averaged[0], averaged[j]).sum()
        for j in range(1, count)
    ]
    return weight * distances[0, 1:] + (1 - weight) * np.array(jaccard)


@settings(deadline=None, max_examples=40)
@given(
    num_queries=st.integers(1, 4),
    num_candidates=st.integers(1, 25),
    k1=st.integers(1, 24),
    k2=st.integers(1, 8),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_paper(num_queries, num_candidates, k1, k2, weight, seed):
    generator = np.random.default_rng(seed)
    queries = generator.normal(size=(num_queries, 6)).astype(np.float32)
    candidates = generator.normal(size=(num_queries, num_candidates, 6)).astype(np.float32)
    distances = k_reciprocal_distances(queries, candidates, None, k1, k2, weight)
    expected = [_paper(np.concatenate([query[None], own]), k1, k2, weight) for query, own in zip(queries, candidates)]
    assert distances.dtype == np.float32
    np.testing.assert_allclose(distances, expected, atol=2e-5)


@settings(deadline=None, max_examples=25)
@given(num_present=st.integers(0, 12), num_missing=st.integers(0, 12), seed=st.integers(0, 2**32 - 1))
def test_missing_candidates_change_nothing_for_the_others(num_present, num_missing, seed):
    generator = np.random.default_rng(seed)
    query = generator.normal(size=(1, 5)).astype(np.float32)
    candidates = generator.normal(size=(1, num_present + num_missing, 5)).astype(np.float32)
    present = np.arange(num_present + num_missing)[None] < num_present
    distances = k_reciprocal_distances(query, candidates, present, k1=4, k2=3)
    alone = k_reciprocal_distances(query, candidates[:, :num_present], None, k1=4, k2=3)
    np.testing.assert_allclose(distances[:, :num_present], alone, atol=1e-6)
    assert np.isposinf(distances[:, num_present:]).all()


def test_a_query_does_not_depend_on_the_others_of_its_batch(monkeypatch):
    generator = np.random.default_rng(0)
    queries = generator.normal(size=(7, 8)).astype(np.float32)
    candidates = generator.normal(size=(7, 30, 8)).astype(np.float32)
    together = k_reciprocal_distances(queries, candidates)
    monkeypatch.setattr(module, '_BLOCK_BYTES', 1)  # one query at a time
    alone = k_reciprocal_distances(queries, candidates)
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_weight_one_is_the_order_of_the_original_distance():
    generator = np.random.default_rng(1)
    queries = generator.normal(size=(5, 8)).astype(np.float32)
    candidates = generator.normal(size=(5, 30, 8)).astype(np.float32)
    original = ((queries[:, None] - candidates) ** 2).sum(axis=2)
    np.testing.assert_array_equal(
        np.argsort(k_reciprocal_distances(queries, candidates, weight=1.0), axis=1), np.argsort(original, axis=1)
    )


def test_moves_a_hub_behind_members_of_the_querys_cluster():
    # A point beside the cluster is nearer to the query than the cluster's far members, but has its own company.
    generator = np.random.default_rng(2)
    cluster = generator.normal(0, 0.3, (12, 2)).astype(np.float32)
    others = generator.normal(0, 0.02, (12, 2)).astype(np.float32) + np.array([0.62, 0.0], np.float32)
    query = np.array([[0.2, 0.0]], np.float32)
    candidates = np.concatenate([cluster, others])[None]
    before = ((query[:, None] - candidates) ** 2).sum(axis=2)[0]
    after = k_reciprocal_distances(query, candidates, k1=8, k2=3)[0]

    def wrong(distances):  # pairs in which a point of the other cluster comes first
        return (distances[12:, None] < distances[None, :12]).sum()

    assert wrong(after) < wrong(before)


def test_equal_vectors_and_no_candidates():
    same = np.ones((1, 6, 3), np.float32)
    assert np.ptp(k_reciprocal_distances(same[:, 0], same)) < 1
    assert k_reciprocal_distances(same[:, 0], same[:, :0]).shape == (1, 0)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(k1=0), 'at least 1'),
        (dict(k2=0), 'at least 1'),
        (dict(weight=1.5), 'from 0 to 1'),
        (dict(weight=float('nan')), 'from 0 to 1'),
        (dict(candidates=np.ones((2, 3, 5), np.float32)), r'\(m, r, d\)'),
    ],
)
def test_invalid_arguments_are_clear_errors(change, message):
    arguments = dict(queries=np.ones((2, 4), np.float32), candidates=np.ones((2, 3, 4), np.float32))
    with pytest.raises(RetrievalError, match=message):
        k_reciprocal_distances(**{**arguments, **change})
