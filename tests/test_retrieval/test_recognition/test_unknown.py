"""AUROC against scikit-learn; scores of novelty on classes that are held out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from retrieval.errors import RetrievalError
from retrieval.recognition import Settings, auroc
from retrieval.recognition.left_out import Evidence, leave_out
from retrieval.recognition.unknown import try_novelties

CONFIDENCES = st.lists(st.integers(0, 12).map(lambda value: value / 12), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(known=CONFIDENCES, unknown=CONFIDENCES)
def test_auroc_equals_sklearn(known, unknown):
    truth = [1] * len(known) + [0] * len(unknown)
    expected = roc_auc_score(truth, known + unknown)
    assert auroc(np.array(known), np.array(unknown)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: auroc(np.array([]), np.ones(1)), 'known'),
        (lambda: auroc(np.ones(1), np.array([np.nan])), 'unknown'),
        (lambda: auroc(np.ones((1, 1)), np.ones(1)), 'vector'),
    ],
)
def test_invalid_arguments_are_clear_errors(call, message):
    with pytest.raises(RetrievalError, match=message):
        call()


@pytest.mark.parametrize('apart', [True, False])
def test_unknown_classes_are_caught_where_classes_are_apart(apart):
    random = np.random.default_rng(0)
    codes = np.repeat(np.arange(9), 12)
    rows = (random.normal(size=(9, 16)) * (3 if apart else 0))[codes] + random.normal(size=(108, 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    evidence = Evidence([(rows, 1.0, None)], codes, np.arange(108), list('abcdefghi'), 'cosine', np.arange(108))
    answers = leave_out(evidence, np.arange(108), (0.0,))
    found = try_novelties(evidence, Settings(), answers)
    assert set(found) == {'support', 'distance', 'ratio'}
    for one in found.values():
        # Seen by no photo of theirs, classes that are noise look no newer than the others.
        assert one.auroc > 0.95 and one.caught > 0.5 if apart else abs(one.auroc - 0.5) < 0.1 and one.caught < 0.15
        assert 0 <= one.auroc_spread < 0.1
    assert Settings(novelty=found).tells_unknown == apart
    few = evidence._replace(codes=np.minimum(codes, 1), names=['a', 'b'])
    assert try_novelties(few, Settings(), answers) == {}
