"""AUROC against scikit-learn, thresholds against what they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from retrieval.errors import RetrievalError
from retrieval.recognition import auroc, choose_threshold

CONFIDENCES = st.lists(st.integers(0, 12).map(lambda value: value / 12), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(known=CONFIDENCES, unknown=CONFIDENCES)
def test_auroc_equals_sklearn(known, unknown):
    truth = [1] * len(known) + [0] * len(unknown)
    expected = roc_auc_score(truth, known + unknown)
    assert auroc(np.array(known), np.array(unknown)) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(known=CONFIDENCES, unknown=CONFIDENCES)
def test_no_threshold_is_more_balanced(known, unknown):
    truth = np.array([True] * len(known) + [False] * len(unknown))
    values = np.array(known + unknown)

    def accuracy(threshold):
        return balanced_accuracy_score(truth, values >= threshold)

    best = max(accuracy(place) for place in [*np.unique(values), 2.0])
    assert accuracy(choose_threshold(np.array(known), np.array(unknown))) == pytest.approx(best)


@settings(deadline=None, max_examples=60)
@given(known=CONFIDENCES, rate=st.sampled_from([0.0, 0.05, 0.1, 0.29, 0.5, 0.99]))
def test_a_rate_is_kept_and_no_larger_threshold_keeps_it(known, rate):
    known = np.array(known)
    threshold = choose_threshold(known, target=rate)
    assert (known < threshold).mean() <= rate + 1e-9
    larger = known[known > threshold]
    if larger.size:
        assert (known < larger.min()).mean() > rate - 1e-9


def test_a_rate_of_a_hundred_images_is_exact():
    assert choose_threshold(np.arange(100.0), target=0.29) == 29


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: auroc(np.array([]), np.ones(1)), 'known'),
        (lambda: auroc(np.ones(1), np.array([np.nan])), 'unknown'),
        (lambda: auroc(np.ones((1, 1)), np.ones(1)), 'vector'),
        (lambda: choose_threshold(np.ones(2)), 'hold classes out'),
        (lambda: choose_threshold(np.ones(2), np.ones(2), 'best'), 'balanced'),
        (lambda: choose_threshold(np.ones(2), target=1.0), 'from 0 to below 1'),
        (lambda: choose_threshold(np.ones(2), target=-0.1), 'from 0 to below 1'),
    ],
)
def test_invalid_arguments_are_clear_errors(call, message):
    with pytest.raises(RetrievalError, match=message):
        call()
