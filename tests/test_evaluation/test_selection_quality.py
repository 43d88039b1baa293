import numpy as np
import pytest
import torch
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample

from glsim_mm.errors import GLSimError
from glsim_mm.evaluation import MEASURES, SelectionQuality


def sample(selected, annotated, scores=((0.0, 1.0), (0.0, 0.0))):
    """A prediction on a 16 x 16 image of 2 x 2 patches."""
    result = DataSample(metainfo=dict(img_shape=(16, 16), patch_size=(8, 8)))
    result.set_field(torch.tensor(selected, dtype=torch.float32), 'selected_box')
    result.set_field(torch.tensor(scores), 'similarity_map')
    result.set_field(np.array(annotated, np.float32), 'gt_bboxes')
    return result.to_dict()


def evaluate(*samples, batches=1):
    metric = METRICS.build(dict(type='mmpretrain.SelectionQuality'))
    for start in range(batches):
        metric.process(None, samples[start::batches])
    return metric.evaluate(len(samples))


def test_by_hand():
    metrics = evaluate(sample([8, 0, 16, 8], [[8, 0, 16, 16]]), sample([0, 0, 8, 8], [[8, 0, 16, 8]]))
    assert metrics == {
        'selection/energy_inside': 100,
        'selection/pointing': 100,
        'selection/box_inside': 50,
        'selection/box_covered': 25,
        'selection/iou': 25,
        'selection/area': 37.5,
    }
    assert list(metrics) == [f'selection/{name}' for name in MEASURES]


def test_batches_do_not_matter():
    samples = [sample([0, 0, 8, k], [[0, 0, 8, 8]]) for k in (4, 8, 16)]
    assert evaluate(*samples) == evaluate(*samples, batches=2) | evaluate(*samples, batches=3)


def test_box_around_several_boxes_and_images_without():
    several = sample([0, 0, 16, 8], [[0, 0, 4, 8], [12, 0, 16, 8]])
    none = sample([0, 0, 16, 8], np.zeros((0, 4)))
    assert evaluate(several, none)['selection/iou'] == 100


def test_boxes_beyond_the_border_are_cut_off():
    metrics = evaluate(sample([8, 0, 16, 8], [[8, -20, 90, 8]]))
    assert metrics['selection/iou'] == 100 and metrics['selection/area'] == 25


@pytest.mark.parametrize(
    'missing, message', [('selected_box', 'a model that selects regions'), ('gt_bboxes', 'algorithm_keys=')]
)
def test_samples_that_lack_something(missing, message):
    broken = sample([0, 0, 8, 8], [[0, 0, 8, 8]])
    del broken[missing]
    with pytest.raises(GLSimError, match=message):
        evaluate(broken)


def test_no_box_at_all():
    metric = SelectionQuality()
    metric.process(None, [sample([0, 0, 8, 8], np.zeros((0, 4)))])
    with pytest.raises(GLSimError, match='no image has an annotated box'):
        metric.evaluate(1)
