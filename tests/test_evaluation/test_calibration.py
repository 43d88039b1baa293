import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmpretrain.registry import METRICS

from glsim_mm.errors import GLSimError
from retrieval.metrics import calibration_error


def test_by_hand():
    # Two bins: (0, 0.5] has confidences 0.4 and 0.5, one right; (0.5, 1] has 0.9 and 0.7, both right.
    ece, mce = calibration_error([0.4, 0.5, 0.9, 0.7], [True, False, True, True], num_bins=2)
    assert ece == pytest.approx(100 * (2 * 0.05 + 2 * 0.2) / 4)
    assert mce == pytest.approx(20)


def test_sure_and_right():
    assert calibration_error([1.0, 1.0], [True, True]) == (0, 0)
    assert calibration_error([1.0, 0.0], [False, False]) == (50, 100)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1), st.integers(1, 20))
def test_bounds(images, num_bins):
    confidences, correct = zip(*images)
    ece, mce = calibration_error(confidences, correct, num_bins)
    assert 0 <= ece <= mce + 1e-9 <= 100 + 1e-6
    # The error of the whole is no larger than the errors of its bins.
    assert ece >= 100 * abs(np.mean(confidences) - np.mean(correct)) - 1e-6


@pytest.mark.parametrize(
    'confidences, correct, bins', [([], [], 15), ([0.5], [True, False], 15), ([1.5], [True], 15), ([0.5], [True], 0)]
)
def test_what_cannot_be_counted(confidences, correct, bins):
    with pytest.raises(ValueError):
        calibration_error(confidences, correct, bins)


def sample(scores, label):
    return dict(pred_score=torch.tensor(scores), gt_label=torch.tensor([label]))


def test_metric():
    metric = METRICS.build(dict(type='mmpretrain.CalibrationError', num_bins=2))
    metric.process(None, [sample([0.6, 0.4], 0), sample([0.1, 0.9], 0)])
    metrics = metric.evaluate(2)
    assert metrics['calibration/ece'] == pytest.approx(100 * abs((0.6 - 1) + (0.9 - 0)) / 2, abs=1e-4)
    assert metrics['calibration/nll'] == pytest.approx(-(np.log(0.6) + np.log(0.1)) / 2, abs=1e-5)
    assert metrics['calibration/brier'] == pytest.approx((2 * 0.16 + 2 * 0.81) / 2, abs=1e-5)


def test_class_of_no_probability_is_finite():
    metric = METRICS.build(dict(type='mmpretrain.CalibrationError'))
    metric.process(None, [sample([0.0, 1.0], 0)])
    assert np.isfinite(metric.evaluate(1)['calibration/nll'])


@pytest.mark.parametrize('scores', [[3.0, -1.0], [0.4, 0.4], [float('nan'), 1.0], [-0.5, 1.5]])
def test_scores_that_are_no_probabilities(scores):
    metric = METRICS.build(dict(type='mmpretrain.CalibrationError'))
    with pytest.raises(GLSimError, match='needs probabilities'):
        metric.process(None, [sample(scores, 0)])


def test_mistakes_of_the_config():
    with pytest.raises(GLSimError, match='num_bins must be positive'):
        METRICS.build(dict(type='mmpretrain.CalibrationError', num_bins=0))
    metric = METRICS.build(dict(type='mmpretrain.CalibrationError'))
    with pytest.raises(GLSimError, match='needs the scores of the classes'):
        metric.process(None, [dict(pred_label=torch.tensor([0]), gt_label=torch.tensor([0]))])
