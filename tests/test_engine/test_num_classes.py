"""Class names and labels are checked against the head."""

import numpy as np
import pytest
from mmengine.dataset import BaseDataset
from mmpretrain.evaluation import Accuracy

from glsim_mm.engine.hooks.run_checks import check_class_names, check_labels, check_predictions, check_top_k
from glsim_mm.errors import GLSimError
from glsim_mm.evaluation import ClassDeviation, RetrievalMetrics
from glsim_mm.models import AggregatorHead, EmbeddingHead


class LabelDataset(BaseDataset):
    """Labels without images."""

    def __init__(self, labels: list, classes: tuple[str, ...] | None = None) -> None:
        self.labels = labels
        super().__init__(metainfo=None if classes is None else dict(classes=classes), data_prefix={})

    def load_data_list(self) -> list[dict]:
        return [dict(img_path=f'{index}.png', gt_label=label) for index, label in enumerate(self.labels)]


def test_names_must_be_as_many_as_the_head_has():
    check_class_names(LabelDataset([0], ('wren', 'tit')), 2)
    check_class_names(LabelDataset([0]), 200)  # a data set without names
    with pytest.raises(GLSimError, match=r'has 2 classes but the head has 3; .*model\.head\.num_classes=2'):
        check_class_names(LabelDataset([0], ('wren', 'tit')), 3)


@pytest.mark.parametrize('labels', [[0, 1, 2], [np.int64(0), 1], [[0, 1], [2]], [[], [1]]])
def test_labels_in_range(labels):
    check_labels(LabelDataset(labels), 3)


@pytest.mark.parametrize('labels', [[0, 3], [-1, 0], [[0], [1, 3]]])
def test_labels_out_of_range(labels):
    with pytest.raises(GLSimError, match=r'labels \d\.png as'):
        check_labels(LabelDataset(labels), 3)


def test_top_k_needs_k_classes():
    check_top_k([Accuracy(topk=(1, 5)), ClassDeviation()], 5, 'val_evaluator')
    with pytest.raises(GLSimError, match=r'top-5, but the head has 4 .*--cfg-options test_evaluator\.1\.topk=1'):
        check_top_k([ClassDeviation(), Accuracy(topk=(1, 5))], 4, 'test_evaluator')


def test_metrics_of_classes_need_a_head_that_predicts_them():
    pytest.importorskip('pytorch_metric_learning')
    triplets = EmbeddingHead(in_channels=64, loss=dict(type='MetricLearningLoss', name='TripletMarginLoss'))
    check_predictions(triplets, [RetrievalMetrics()], 'val_evaluator')
    for head in (EmbeddingHead(3, 64), AggregatorHead(3, 64), None):
        check_predictions(head, [Accuracy(topk=(1,))], 'val_evaluator')
    with pytest.raises(GLSimError, match=r'Accuracy judges .* EmbeddingHead .*set val_evaluator=dict\(type='):
        check_predictions(triplets, [RetrievalMetrics(), Accuracy(topk=(1,))], 'val_evaluator')
