"""Retrieval metrics against their definitions, one query at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.evaluation import evaluate_ranking, format_report
from retrieval.metrics import METRICS, RankingMetric, metrics_of


@st.composite
def rankings(draw):
    """Whether each neighbour is relevant, and how many images are relevant to each query."""
    num_queries, depth = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    relevant = [draw(st.lists(st.booleans(), min_size=depth, max_size=depth)) for _ in range(num_queries)]
    num_relevant = draw(st.lists(st.integers(0, depth), min_size=num_queries, max_size=num_queries))
    return np.array(relevant), np.array(num_relevant)


def _recall(k):
    return lambda row, count: float(any(row[:k]))


def _r_precision(row, count):
    return sum(row[:count]) / count


def _average_precision(row, count):
    """Over the whole ranking: mean over the relevant images of the precision at their rank, 0 for those not found."""
    return sum(sum(row[:rank]) / rank for rank in range(1, len(row) + 1) if row[rank - 1]) / count


def _average_precision_at_r(row, count):
    """As in the paper: mean over the first R ranks of precision where the neighbour is relevant, else 0."""
    return _average_precision(row[:count], count)


DEFINITIONS = {'R-Precision': _r_precision, 'MAP@R': _average_precision_at_r, 'mAP': _average_precision}


@settings(deadline=None)
@given(rankings())
def test_every_metric_equals_its_definition(ranking):
    relevant, num_relevant = ranking
    ks = range(1, relevant.shape[1] + 1)
    metrics = metrics_of(ks)
    assert list(metrics) == [*(f'Recall@{k}' for k in ks), *METRICS]
    definitions = {**{f'Recall@{k}': _recall(k) for k in ks}, **DEFINITIONS}
    for name, metric in metrics.items():
        scores = metric.scores(relevant, num_relevant)
        expected = [
            definitions[name](row, count) if count else np.nan
            for row, count in zip(relevant.tolist(), num_relevant.tolist())
        ]
        np.testing.assert_allclose(scores, expected, err_msg=name)


def test_how_deep_metrics_look():
    assert {name: metric.depth(7, 100) for name, metric in metrics_of((1, 4)).items()} == {
        'Recall@1': 1,
        'Recall@4': 4,
        'R-Precision': 7,
        'MAP@R': 7,
        'mAP': 100,
    }
    assert list(metrics_of((2,), whole_ranking=False)) == ['Recall@2', 'R-Precision', 'MAP@R']


@pytest.mark.parametrize('name', list(METRICS))
def test_perfect_and_hopeless_rankings(name):
    scores = METRICS[name].scores(np.array([[True, True], [False, False]]), np.array([2, 1]))
    assert scores.tolist() == [1, 0]


def test_a_relevant_image_that_is_not_ranked_counts_as_not_found():
    assert METRICS['mAP'].scores(np.array([[True, False]]), np.array([2])).tolist() == [0.5]


def test_a_metric_in_the_table_is_in_every_report(monkeypatch):
    def reciprocal_ranks(relevant, num_relevant):
        first = 1 / (1 + relevant.argmax(axis=1))
        return np.where(num_relevant > 0, np.where(relevant.any(axis=1), first, 0), np.nan)

    monkeypatch.setitem(METRICS, 'MRR', RankingMetric(reciprocal_ranks, lambda r, size: size))
    report = evaluate_ranking(np.array([[1, 2], [2, 0], [0, 1]]), [0, 1, 0], [0, 1, 0], own_rows=[0, 1, 2])
    assert report.metrics['MRR'] == (1 / 2 + 1) / 2 == report.classes[0].metrics['MRR']
    assert 'MRR' in format_report(report)
