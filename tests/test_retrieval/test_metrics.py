"""Retrieval metrics against their definitions, one query at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.metrics import (
    average_precisions,
    average_precisions_at_r,
    mean_average_precision,
    mean_average_precision_at_r,
    precisions_at_r,
    r_precision,
    recall_at_k,
)


def _average_precision_at_r(neighbors, label, num_relevant):
    """As in the paper: mean over the first R ranks of precision where the neighbour is relevant, else 0."""
    total = 0.0
    for rank in range(1, num_relevant + 1):
        if neighbors[rank - 1] == label:
            total += sum(neighbor == label for neighbor in neighbors[:rank]) / rank
    return total / num_relevant


@st.composite
def rankings(draw):
    num_queries, depth = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    labels = st.integers(0, 3)
    queries = draw(st.lists(labels, min_size=num_queries, max_size=num_queries))
    neighbors = [draw(st.lists(labels, min_size=depth, max_size=depth)) for _ in queries]
    num_relevant = draw(st.lists(st.integers(0, depth), min_size=num_queries, max_size=num_queries))
    return np.array(neighbors), np.array(queries), np.array(num_relevant)


@settings(deadline=None)
@given(rankings())
def test_recall_equals_its_definition(ranking):
    neighbors, queries, _ = ranking
    ks = range(1, neighbors.shape[1] + 1)
    recalls = recall_at_k(neighbors, queries, ks)
    for k in ks:
        hits = [label in row[:k] for row, label in zip(neighbors.tolist(), queries.tolist())]
        assert recalls[k] == pytest.approx(np.mean(hits))


@settings(deadline=None)
@given(rankings().filter(lambda ranking: ranking[2].any()))
def test_map_at_r_equals_its_definition(ranking):
    neighbors, queries, num_relevant = ranking
    expected = [
        _average_precision_at_r(row, label, count)
        for row, label, count in zip(neighbors.tolist(), queries.tolist(), num_relevant.tolist())
        if count
    ]
    assert mean_average_precision_at_r(neighbors, queries, num_relevant) == pytest.approx(np.mean(expected))


def test_perfect_and_hopeless_rankings():
    queries, relevant = np.array([0, 1]), np.array([2, 1])
    assert mean_average_precision_at_r(np.array([[0, 0], [1, 0]]), queries, relevant) == 1.0
    assert mean_average_precision_at_r(np.array([[5, 5], [5, 1]]), queries, relevant) == 0.0


def test_too_few_neighbors_for_r_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match='larger k'):
        mean_average_precision_at_r(np.array([[0, 0]]), np.array([0]), np.array([3]))


@pytest.mark.parametrize('k', [0, 3])
def test_k_out_of_range_is_an_error(k):
    with pytest.raises(ValueError, match='2 neighbors'):
        recall_at_k(np.array([[0, 1]]), np.array([0]), [k])


@pytest.mark.parametrize('neighbors, queries', [([], []), ([[1, 2]], [1, 2]), ([1, 2], [1, 2]), ([[]], [1])])
def test_shapes_that_do_not_belong_together_are_errors(neighbors, queries):
    with pytest.raises(ValueError):
        recall_at_k(np.array(neighbors), np.array(queries))


def test_no_query_with_an_answer_is_an_error():
    with pytest.raises(ValueError, match='no query'):
        mean_average_precision_at_r(np.array([[1]]), np.array([0]), np.array([0]))


def _average_precision(neighbors, label, num_relevant):
    """Over the whole ranking: mean over the relevant images of the precision at their rank, 0 for those not found."""
    total = 0.0
    for rank in range(1, len(neighbors) + 1):
        if neighbors[rank - 1] == label:
            total += sum(neighbor == label for neighbor in neighbors[:rank]) / rank
    return total / num_relevant


@settings(deadline=None)
@given(rankings().filter(lambda ranking: ranking[2].any()))
def test_r_precision_equals_its_definition(ranking):
    neighbors, queries, num_relevant = ranking
    expected = [
        sum(neighbor == label for neighbor in row[:count]) / count
        for row, label, count in zip(neighbors.tolist(), queries.tolist(), num_relevant.tolist())
        if count
    ]
    assert r_precision(neighbors, queries, num_relevant) == pytest.approx(np.mean(expected))


@settings(deadline=None)
@given(rankings().filter(lambda ranking: ranking[2].any()))
def test_mean_average_precision_equals_its_definition(ranking):
    neighbors, queries, num_relevant = ranking
    expected = [
        _average_precision(row, label, count)
        for row, label, count in zip(neighbors.tolist(), queries.tolist(), num_relevant.tolist())
        if count
    ]
    assert mean_average_precision(neighbors, queries, num_relevant) == pytest.approx(np.mean(expected))


def test_a_relevant_image_that_is_not_ranked_counts_as_not_found():
    assert mean_average_precision(np.array([[0, 1]]), np.array([0]), np.array([2])) == 0.5


def test_queries_without_an_answer_have_no_score():
    relevant, num_relevant = np.array([[True, False], [False, False]]), np.array([1, 0])
    for scores_of in (precisions_at_r, average_precisions_at_r, average_precisions):
        assert scores_of(relevant, num_relevant)[0] == 1.0
        assert np.isnan(scores_of(relevant, num_relevant)[1])


@pytest.mark.parametrize('metric', [r_precision, mean_average_precision, mean_average_precision_at_r])
def test_counts_that_do_not_fit_are_errors(metric):
    with pytest.raises(ValueError, match='shape'):
        metric(np.array([[0]]), np.array([0]), np.array([1, 1]))
    with pytest.raises(ValueError, match='no query'):
        metric(np.array([[0]]), np.array([0]), np.array([0]))


def test_r_precision_of_too_few_neighbors_says_what_to_do():
    with pytest.raises(ValueError, match='R-Precision needs 3 .* larger k'):
        r_precision(np.array([[0, 0]]), np.array([0]), np.array([3]))
