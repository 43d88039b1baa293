"""Boxes on images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_visualization.example_predictions import gradient

from glsim_mm.visualization import SELECTED_COLOR, crop_box, draw_box, draw_outlined_box
from glsim_mm.visualization.overlays import box_share, share_inside

RED = (255, 0, 0)
COORDINATES = st.floats(-100, 200, allow_nan=False)
BOXES = st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES)


def test_frame_lies_within_the_box():
    image = gradient()
    drawn = draw_box(image, (10, 5, 30, 25), RED, width=2)
    is_red = (drawn == RED).all(axis=-1)
    expected = np.zeros_like(is_red)
    expected[5:25, 10:30] = True
    expected[7:23, 12:28] = False
    np.testing.assert_array_equal(is_red, expected)
    np.testing.assert_array_equal(drawn[~expected], image[~expected])
    np.testing.assert_array_equal(image, gradient())  # the input is not drawn on


@given(box=BOXES, width=st.integers(1, 9))
def test_any_box_is_drawn_and_cropped(box, width):
    image = gradient()
    drawn = draw_box(image, box, RED, width)
    assert drawn.shape == image.shape and (drawn == RED).all(axis=-1).any()
    assert draw_outlined_box(image, box, RED, width).shape == image.shape
    assert crop_box(image, box, 24).shape == (24, 24, 3)


@pytest.mark.parametrize('shade', [0, 255, 128])
def test_outlined_frame_stands_out_on_any_shade(shade):
    drawn = draw_outlined_box(np.full((40, 40, 3), shade, np.uint8), (5, 5, 35, 35), SELECTED_COLOR, 2)
    assert drawn[5, 20].tolist() == [0, 0, 0]
    assert drawn[6, 20].tolist() == drawn[7, 20].tolist() == list(SELECTED_COLOR)
    assert drawn[8, 20].tolist() == [255, 255, 255]
    assert drawn[9, 20].tolist() == drawn[4, 20].tolist() == [shade] * 3


def test_crop_shows_the_box():
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:20, 5:15] = RED
    assert (crop_box(image, (5, 10, 15, 20), (30, 50)) == RED).all()
    assert crop_box(image, (5, 10, 15, 20), (30, 50)).shape == (30, 50, 3)


def test_shares():
    assert box_share((0, 0, 10, 10), (20, 20, 3)) == 0.25
    assert box_share((-10, -10, 10, 10), (20, 20, 3)) == 0.25  # what lies outside does not count
    assert share_inside((0, 0, 10, 10), (5, 0, 20, 20)) == 0.5
    assert share_inside((0, 0, 10, 10), (11, 11, 20, 20)) == 0
    assert share_inside((3, 3, 3, 9), (0, 0, 20, 20)) == 0  # empty
