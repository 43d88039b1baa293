"""Mean and deviation of per-class accuracy."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample

from glsim_mm.errors import GLSimError
from glsim_mm.evaluation import ClassDeviation, class_deviation


def test_classes_weigh_the_same_whatever_their_size():
    # class 0: 3 of 4 right, class 1: 0 of 1, class 2: 1 of 1
    labels = [0, 0, 0, 0, 1, 2]
    predictions = [0, 0, 0, 2, 0, 2]
    mean, deviation = class_deviation(predictions, labels)
    assert mean == pytest.approx((75 + 0 + 100) / 3)
    assert deviation == pytest.approx(np.std([75, 0, 100]))


def test_absent_classes_do_not_count():
    assert class_deviation([7, 9], [7, 7]) == (50.0, 0.0)


@pytest.mark.parametrize('predictions, labels', [([], []), ([1], [1, 2]), ([[1]], [[1]])])
def test_invalid_input_is_an_error(predictions, labels):
    with pytest.raises(ValueError):
        class_deviation(predictions, labels)


def _samples(predictions, labels):
    samples = []
    for prediction, label in zip(predictions, labels):
        scores = torch.zeros(4).scatter_(0, torch.tensor(prediction), 1.0)
        samples.append(DataSample().set_gt_label(label).set_pred_score(scores).set_pred_label(prediction).to_dict())
    return samples


def test_metric_is_registered_and_spans_batches():
    metric = METRICS.build(dict(type='ClassDeviation'))
    metric.process(None, _samples([0, 1], [0, 0]))
    metric.process(None, _samples([1], [1]))
    assert metric.evaluate(3) == {'class/mean_accuracy': 75.0, 'class/deviation': 25.0}


def test_metric_drops_padded_duplicates_of_a_distributed_sampler():
    metric = ClassDeviation()
    metric.process(None, _samples([0, 1, 0], [0, 1, 1]))
    assert metric.evaluate(2)['class/mean_accuracy'] == 100.0


def test_metric_reads_scores_where_there_is_no_label():
    metric = ClassDeviation()
    samples = _samples([2, 3], [2, 2])
    for sample in samples:
        del sample['pred_label']
    metric.process(None, samples)
    assert metric.evaluate(2)['class/mean_accuracy'] == 50.0


def test_more_than_one_label_is_one_clear_error():
    sample = DataSample().set_gt_label([0, 1]).set_pred_score(torch.zeros(4)).to_dict()
    with pytest.raises(GLSimError, match='one label per image'):
        ClassDeviation().process(None, [sample])
