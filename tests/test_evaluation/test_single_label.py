"""Outputs and labels from which no metric of single-label classification can be computed."""

import pytest
import torch
from mmpretrain.registry import METRICS

from glsim_mm.errors import GLSimError

NAMES = ['CalibrationError', 'ClassDeviation', 'ConfusionPairs', 'HierarchicalAccuracy']


def make_metric(name):
    metric = METRICS.build(dict(type=f'mmpretrain.{name}'))
    metric.dataset_meta = dict(classes=('crow', 'gull'), ancestors=(('bird',), ('bird',)))
    return metric


def sample(scores, labels):
    return dict(pred_score=torch.tensor(scores), gt_label=torch.tensor(labels), img_path='gull/7.jpg')


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('labels', [[], [0, 1]])
def test_not_exactly_one_label(name, labels):
    with pytest.raises(GLSimError, match=f'{name} needs one label per image'):
        make_metric(name).process(None, [sample([0.5, 0.5], labels)])


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('label', [-1, 2])
def test_label_that_is_no_class(name, label):
    with pytest.raises(GLSimError, match=rf'gull/7\.jpg has the label {label}, which is no class'):
        make_metric(name).process(None, [sample([0.5, 0.5], [label])])


@pytest.mark.parametrize('name', NAMES)
def test_image_without_label(name):
    with pytest.raises(GLSimError, match=rf'{name} needs the class of gull/7\.jpg, which has none'):
        make_metric(name).process(None, [dict(pred_score=torch.tensor([0.5, 0.5]), img_path='gull/7.jpg')])


@pytest.mark.parametrize('name', NAMES)
def test_scores_that_are_not_a_number(name):
    """The largest of NaN scores is the first class, which would count as right for images of that class."""
    broken = sample([float('nan'), float('nan')], [0])
    broken['pred_label'] = broken['pred_score'].argmax()
    with pytest.raises(GLSimError, match='not a number|needs probabilities'):
        make_metric(name).process(None, [broken])


@pytest.mark.parametrize('name', [name for name in NAMES if name != 'ConfusionPairs'])
def test_no_images(name):
    with pytest.raises(GLSimError, match=f'{name}: no image was evaluated'):
        make_metric(name).evaluate(1)


def test_pairs_of_no_images():
    metric = make_metric('ConfusionPairs')
    assert metric.evaluate(1) == {'confusion/top_pairs_share': 0}
    assert metric.pairs == []


@pytest.mark.parametrize('name', NAMES)
def test_single_class(name):
    metric = make_metric(name)
    metric.process(None, [sample([1.0], [0])] * 2)
    metrics = metric.evaluate(2)
    perfect = {
        'ClassDeviation': ('class/mean_accuracy', 100),
        'HierarchicalAccuracy': ('hierarchy/level1_accuracy', 100),
    }
    name, value = perfect.get(name, (next(iter(metrics)), 0))
    assert metrics[name] == value


def test_hierarchy_of_fewer_classes():
    metric = make_metric('HierarchicalAccuracy')
    metric.process(None, [sample([0.1, 0.1, 0.8], [1])])
    with pytest.raises(GLSimError, match='groups of 2 classes, but not of class 2'):
        metric.evaluate(1)
