"""Pure drawing functions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.visualization import (
    Prediction,
    contact_sheet,
    crop_box,
    draw_box,
    draw_prediction,
    overlay_heatmap,
    to_rgb_image,
)

RED = (255, 0, 0)
COORDINATES = st.floats(-100, 200, allow_nan=False)
BOXES = st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES)


def gradient(height: int = 48, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 2, columns * 2, rows + columns], axis=-1).astype(np.uint8)


def test_blue_comes_first_in_network_input():
    inputs = torch.zeros(3, 2, 4)
    inputs[0] = 255
    assert to_rgb_image(inputs).shape == (2, 4, 3)
    assert to_rgb_image(inputs)[0, 0].tolist() == [0, 0, 255]


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
    assert crop_box(image, box, 24).shape == (24, 24, 3)


def test_crop_shows_the_box():
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:20, 5:15] = RED
    assert (crop_box(image, (5, 10, 15, 20), 30) == RED).all()


def test_heat_map_is_red_where_scores_are_high_and_blue_where_low():
    image = np.full((40, 60, 3), 128, np.uint8)
    scores = np.array([[0.1, 0.9], [0.1, 0.1]])
    heat = overlay_heatmap(image, scores, opacity=1.0)
    assert heat.shape == image.shape
    red, _, blue = heat[2, -3].astype(int)
    assert red > blue
    red, _, blue = heat[-3, 2].astype(int)
    assert blue > red
    np.testing.assert_array_equal(overlay_heatmap(image, scores, opacity=0.0), image)


@settings(deadline=None)
@given(
    scores=st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=6, max_size=6),
)
def test_any_scores_can_be_drawn(scores):
    assert overlay_heatmap(gradient(), np.reshape(scores, (2, 3))).dtype == np.uint8


@pytest.mark.parametrize('size', [(48, 64), (64, 48), (16, 16), (300, 200)])
@pytest.mark.parametrize('selects', [True, False])
@pytest.mark.parametrize('truth', ['Crow', 'Gull', None])
def test_prediction_of_any_size_is_drawn(size, selects, truth):
    prediction = Prediction(gradient(*size), 'Crow', 0.5, truth=truth, annotated_box=(2, 2, 12, 12))
    if selects:
        prediction.selected_box, prediction.similarity_map = (4, 4, 14, 14), np.eye(3)
    picture = draw_prediction(prediction, side=96)
    assert picture.dtype == np.uint8 and picture.shape[0] > 96
    width = round(96 * size[1] / size[0])
    assert picture.shape[1] == (2 * width + 96 + 12 if selects else width)


def test_caption_is_green_when_right_and_red_when_wrong():
    image = np.full((48, 48, 3), 128, np.uint8)
    right, wrong = (draw_prediction(Prediction(image, 'Crow', 0.9, truth), 96)[96:] for truth in ('Crow', 'Gull'))
    assert (right.astype(int)[..., 1] > right.astype(int)[..., 0]).any()
    assert (wrong.astype(int)[..., 0] > wrong.astype(int)[..., 1]).any()


def test_names_in_any_script_can_be_written():
    assert draw_prediction(Prediction(gradient(), 'Kohlmeise ♂ シジュウカラ', 0.5)).shape[0] > 192


@given(
    sizes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=7), columns=st.integers(1, 4)
)
def test_contact_sheet_holds_every_pixel(sizes, columns):
    pictures = [np.full((*size, 3), 1 + index, np.uint8) for index, size in enumerate(sizes)]
    sheet = contact_sheet(pictures, columns)
    for index, size in enumerate(sizes):
        assert (sheet == 1 + index).all(axis=-1).sum() == size[0] * size[1]


def test_empty_contact_sheet_is_told():
    with pytest.raises(ValueError, match='at least one picture'):
        contact_sheet([])
