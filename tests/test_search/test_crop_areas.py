"""Detected boxes and what of a photo is recognised."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glsim_mm.search import DetectedObjects, crop_areas
from retrieval.errors import UserError

number = st.floats(-30, 400, width=32)


@given(
    st.lists(st.tuples(number, number, st.floats(0, 300, width=32), st.floats(0, 300, width=32)), max_size=5),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.floats(0, 1),
    st.booleans(),
)
def test_areas_lie_in_the_photo(boxes, shape, margin, square):
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32).reshape(-1, 4)
    areas = crop_areas(boxes, shape, margin, square)
    sides = areas[:, 2:] - areas[:, :2]
    limits = np.array([shape[1], shape[0]])
    assert areas.dtype == np.float32 and (areas[:, :2] >= 0).all() and (areas[:, 2:] <= limits + 1e-3).all()
    assert (sides >= np.minimum(16, limits) - 1e-3).all()
    inside = (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= limits).all(axis=1)
    assert (areas[inside, :2] <= boxes[inside, :2] + 1e-3).all() and (
        areas[inside, 2:] >= boxes[inside, 2:] - 1e-3
    ).all()
    if square:
        free = (sides < limits - 1e-3).all(axis=1)
        np.testing.assert_allclose(sides[free, 0], sides[free, 1], rtol=1e-4, atol=1e-3)


def test_examples():
    boxes = np.array([[40, 40, 60, 80]], np.float32)
    np.testing.assert_allclose(crop_areas(boxes, (200, 200), 0.0, False), boxes)
    np.testing.assert_allclose(crop_areas(boxes, (200, 200), 0.1, False), [[38, 36, 62, 84]])
    np.testing.assert_allclose(crop_areas(boxes, (200, 200), 0.0, True), [[30, 40, 70, 80]])
    # At the border it is moved inside, not cut.
    np.testing.assert_allclose(
        crop_areas(np.array([[0, 0, 20, 40]], np.float32), (200, 200), 0, True), [[0, 0, 40, 40]]
    )
    np.testing.assert_allclose(crop_areas(np.array([[5, 5, 6, 6]], np.float32), (10, 300)), [[0, 0, 16, 10]], atol=3)


@pytest.mark.parametrize(
    'boxes, words',
    [
        (np.zeros((2, 3)), 'shape'),
        ([1, 2, 3, 4], 'shape'),
        ('1,2,3,4', 'must be numbers'),
        ([['a', 'b', 'c', 'd']], 'must be numbers'),
        (object(), 'must be numbers'),
        ([[0, 0, np.nan, 1]], 'finite'),
        ([[10, 10, 5, 20]], 'ends before it begins'),
    ],
)
def test_boxes_that_are_none(boxes, words):
    with pytest.raises(UserError, match=words):
        DetectedObjects(boxes)


def test_detections():
    found = DetectedObjects([])
    assert found.boxes.shape == (0, 4) and len(found.scores) == len(found.labels) == 0
    found = DetectedObjects([[0, 0, 1, 1], [0, 0, 2, 2]], labels=[1, 0], names=('bird', 'cat'))
    assert found.name(0) == 'cat' and found.scores.tolist() == [1, 1]
    assert DetectedObjects([[0, 0, 1, 1]]).name(0) == 'object'
    with pytest.raises(UserError, match='1 boxes have 2 scores'):
        DetectedObjects([[0, 0, 1, 1]], scores=[1, 2])
