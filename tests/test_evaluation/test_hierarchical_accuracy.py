import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmpretrain.registry import METRICS

from glsim_mm.errors import GLSimError
from glsim_mm.evaluation import hierarchical_accuracy

# Mallard and Teal are ducks, Crow a songbird, Fly agaric of one level only.
ANCESTORS = [('Bird', 'Duck'), ('Bird', 'Duck'), ('Bird', 'Songbird'), ('Fungus',)]


def test_levels_and_severity():
    result = hierarchical_accuracy([0, 1, 2, 3, 0], [0, 0, 0, 0, 3], ANCESTORS)
    assert result['level1_accuracy'] == pytest.approx(60)  # right, sibling and songbird of five
    assert result['level2_accuracy'] == pytest.approx(50)  # of the four images whose class has a second level
    assert result['mistake_severity'] == pytest.approx((1 + 2 + 3 + 2) / 4)
    assert result['sibling_mistakes'] == pytest.approx(25)


def severity_in_a_tree(prediction, label):
    """Steps from a class up to the first node that both classes hang from, walked node by node."""
    up, other = [('', *ANCESTORS[index], f'class {index}') for index in (label, prediction)]
    nodes_above_prediction = {other[:depth] for depth in range(1, len(other) + 1)}
    return next(steps for steps in range(len(up)) if up[: len(up) - steps] in nodes_above_prediction)


@pytest.mark.parametrize('label', range(len(ANCESTORS)))
@pytest.mark.parametrize('prediction', range(len(ANCESTORS)))
def test_severity_is_the_way_up_a_tree(prediction, label):
    severity = severity_in_a_tree(prediction, label)
    assert hierarchical_accuracy([prediction], [label], ANCESTORS)['mistake_severity'] == severity


def test_equal_names_below_different_groups_are_different():
    result = hierarchical_accuracy([0], [1], [('Car', 'small'), ('Dog', 'small')])
    assert (result['level1_accuracy'], result['level2_accuracy'], result['mistake_severity']) == (0, 0, 3)


def test_all_right():
    result = hierarchical_accuracy([0, 3], [0, 3], ANCESTORS)
    assert result == dict(level1_accuracy=100, level2_accuracy=100, mistake_severity=0, sibling_mistakes=0)


def test_level_that_no_image_has_is_left_out():
    assert 'level2_accuracy' not in hierarchical_accuracy([3], [3], ANCESTORS)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_coarser_levels_are_easier(pairs):
    predictions, labels = map(np.array, zip(*pairs))
    deep = labels != 3
    result = hierarchical_accuracy(predictions, labels, ANCESTORS)
    if deep.any():
        among_deep = hierarchical_accuracy(predictions[deep], labels[deep], ANCESTORS)
        assert among_deep['level1_accuracy'] >= among_deep['level2_accuracy']
        assert among_deep['level2_accuracy'] >= 100 * np.mean(predictions[deep] == labels[deep]) - 1e-9
    assert result['mistake_severity'] == 0 or 1 <= result['mistake_severity'] <= 3


@pytest.mark.parametrize('predictions, labels', [([], []), ([0], [0, 1]), ([4], [0]), ([0], [-1])])
def test_what_cannot_be_counted(predictions, labels):
    with pytest.raises(ValueError):
        hierarchical_accuracy(predictions, labels, ANCESTORS)


def sample(prediction, label):
    return dict(pred_label=torch.tensor([prediction]), gt_label=torch.tensor([label]))


def test_metric_reads_the_hierarchy_of_the_data_set():
    metric = METRICS.build(dict(type='mmpretrain.HierarchicalAccuracy'))
    metric.dataset_meta = dict(ancestors=ANCESTORS)
    metric.process(None, [sample(0, 0), sample(1, 0)])
    metric.process(None, [dict(pred_score=torch.tensor([0.1, 0.2, 0.7, 0]), gt_label=torch.tensor([0]))])
    metrics = metric.evaluate(3)
    assert metrics['hierarchy/level1_accuracy'] == 100
    assert metrics['hierarchy/level2_accuracy'] == pytest.approx(200 / 3)


@pytest.mark.parametrize('meta', [{}, dict(ancestors=((), ()))])
def test_data_set_without_hierarchy(meta):
    metric = METRICS.build(dict(type='mmpretrain.HierarchicalAccuracy'))
    metric.dataset_meta = meta
    metric.process(None, [sample(0, 0)])
    with pytest.raises(GLSimError, match='needs the groups of the classes'):
        metric.evaluate(1)


def test_several_labels_are_refused():
    metric = METRICS.build(dict(type='mmpretrain.HierarchicalAccuracy'))
    with pytest.raises(GLSimError, match='HierarchicalAccuracy needs one label per image'):
        metric.process(None, [dict(pred_label=torch.tensor([0]), gt_label=torch.tensor([0, 1]))])
