"""Panels of predictions."""

import numpy as np
import pytest
import torch
from test_visualization.example_predictions import gradient, make_prediction

from glsim_mm.visualization import ANNOTATED_COLOR, SELECTED_COLOR, draw_panel, in_photo
from glsim_mm.visualization.from_sample import to_rgb_image
from glsim_mm.visualization.overlays import DIMMEST
from glsim_mm.visualization.panel import RIGHT_COLOR, WRONG_COLOR, panel_tiles, percent

ANNOTATED = (2, 2, 42, 42)


def has_color(picture: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((picture == color).all(axis=-1).any())


def test_blue_comes_first_in_network_input():
    inputs = torch.zeros(3, 2, 4)
    inputs[0] = 255
    assert to_rgb_image(inputs).shape == (2, 4, 3)
    assert to_rgb_image(inputs)[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize('size', [(48, 64), (64, 48), (16, 16), (32, 32), (300, 200)])
@pytest.mark.parametrize('selects', [True, False])
@pytest.mark.parametrize('truth', ['Crow', 'Gull', None])
def test_prediction_of_any_size_is_drawn(size, selects, truth):
    picture = draw_panel(make_prediction(size, selects, truth=truth), side=96)
    assert picture.dtype == np.uint8 and picture.ndim == 3
    width, bars = round(96 * size[1] / size[0]), round(1.35 * 96)
    assert picture.shape[1] == (4 * (width + 6) if selects else width + 6) + bars


def test_boxes_of_both_kinds_are_drawn():
    plain = make_prediction(selects=False)
    assert not has_color(draw_panel(plain), ANNOTATED_COLOR)
    assert has_color(draw_panel(make_prediction(selects=False, annotated_box=ANNOTATED)), ANNOTATED_COLOR)
    selected = draw_panel(make_prediction(), legend=False, words=False)
    assert has_color(selected, SELECTED_COLOR) and not has_color(selected, ANNOTATED_COLOR)


def test_crop_tile_shows_the_selected_part():
    image = np.zeros((48, 48, 3), np.uint8)
    image[16:32, 16:32] = (10, 200, 30)
    prediction = make_prediction((48, 48), image=image, selected_box=(16, 16, 32, 32))
    picture = draw_panel(prediction, 96, legend=False, words=False)
    assert picture.shape[1] == 4 * 96 + 3 * 6
    assert (picture[-96:, -96:] == (10, 200, 30)).mean() > 0.95


def test_several_crops_share_one_tile():
    image = np.zeros((48, 48, 3), np.uint8)
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    boxes = [(0, 0, 16, 16), (16, 16, 32, 32), (32, 32, 48, 48)]
    for color, (x0, y0, x1, y1) in zip(colors, boxes):
        image[y0:y1, x0:x1] = color
    prediction = make_prediction((48, 48), image=image, selected_boxes=np.array(boxes))
    tile = draw_panel(prediction, 96, legend=False, words=False)[-96:, -96:]
    assert tile[20, 20].tolist() == [255, 0, 0]
    assert tile[20, 70].tolist() == [0, 255, 0]
    assert tile[70, 20].tolist() == [0, 0, 255]
    assert tile[70, 70].tolist() == [255, 255, 255]


def test_right_and_wrong_differ_in_shape_too():
    right, wrong = (draw_panel(make_prediction(truth=truth, top=())) for truth in ('Crow', 'Gull'))
    assert has_color(right[:20], RIGHT_COLOR) and not has_color(right[:20], WRONG_COLOR)
    assert has_color(wrong[:20], WRONG_COLOR) and not has_color(wrong[:20], RIGHT_COLOR)
    dark = [(picture[:20, :80].max(axis=-1) < 60) for picture in (right, wrong)]  # the letters, without colours
    assert not np.array_equal(*dark)


def test_truth_is_marked_among_the_bars():
    def bars(truth: str | None) -> np.ndarray:
        return draw_panel(make_prediction(truth=truth), 192, legend=False)[-192:, -259:]

    assert not has_color(bars(None), RIGHT_COLOR)
    assert has_color(bars('Gull'), RIGHT_COLOR) and has_color(bars('Crow'), RIGHT_COLOR)
    rows = np.where((bars('Gull') == RIGHT_COLOR).all(axis=-1))[0]
    assert 192 / 5 <= rows.min() and rows.max() < 2 * 192 / 5


def test_length_of_a_bar_is_the_probability():
    picture = draw_panel(make_prediction(selects=False, top=[('Crow', 0.5)]), 192, legend=False)
    blue = (picture == (0, 114, 178)).all(axis=-1)
    assert blue.sum(axis=1).max() == round(0.5 * round(1.35 * 192))


@pytest.mark.parametrize('value', [0.3, np.nan])
def test_flat_and_nan_maps_have_all_light(value):
    (_, photo), (name, heat), *_ = panel_tiles(make_prediction(similarity_map=np.full((4, 4), value)))
    np.testing.assert_array_equal(heat, photo)
    assert name.endswith('(flat)')


def test_scaling_is_used():
    skewed = make_prediction(similarity_map=np.array([[0.0, 0.1], [0.2, 100.0]]))
    assert not np.array_equal(draw_panel(skewed), draw_panel(skewed, scaling='rank'))


def test_crop_keeps_its_shape():
    image = np.zeros((48, 48, 3), np.uint8)
    image[10:18, 4:36] = (10, 200, 30)
    tile = panel_tiles(make_prediction(image=image, selected_box=(4, 10, 36, 18)), 96)[-1]
    ys, xs = np.nonzero((tile[1] == (10, 200, 30)).all(axis=-1))
    assert (np.ptp(xs) + 1, np.ptp(ys) + 1) == (96, 24) and tile[0] == 'crop: the model sees a square'
    assert (tile[1][0] == 255).all() and (tile[1][-1] == 255).all()


def test_panel_shows_the_photo_where_the_way_back_is_known():
    prediction = make_prediction((64, 64), selected_box=(16, 0, 48, 32), annotated_box=(0, 0, 64, 64))
    photo = gradient(120, 240)
    matrix = np.array([[1.5, 0, 40], [0, 1.5, 10]])  # a square of 96 px of the photo became 64 px
    placed = in_photo(prediction, photo, matrix)
    assert placed.is_photo and placed.image is photo and placed.similarity_map is prediction.similarity_map
    np.testing.assert_allclose(placed.selected_box, (64, 10, 112, 58))
    np.testing.assert_allclose(placed.map_area, (40, 10, 136, 106))
    np.testing.assert_allclose(placed.annotated_box, placed.map_area)
    large = in_photo(prediction, np.repeat(np.repeat(photo, 20, axis=0), 20, axis=1), 20 * matrix)
    assert large.image.shape == (640, 1280, 3)
    np.testing.assert_allclose(large.selected_box, np.multiply(placed.selected_box, 1280 / 240))
    part = in_photo(prediction, photo, matrix, (5, 7, 110, 200))
    np.testing.assert_allclose(part.selected_box, (69, 17, 117, 65))
    name, heat = panel_tiles(placed, 120)[1]
    assert name.startswith('heat map: 0.00 to 8.00, contrast 1.00') and panel_tiles(placed)[0][0] == 'photo'
    np.testing.assert_array_equal(heat[:, :40], np.round(photo[:, :40] * DIMMEST))


@pytest.mark.parametrize(
    'matrix', [None, [[-1, 0, 64], [0, 1, 0]], [[0, 1, 0], [1, 0, 0]], [[1, 0, -20], [0, 1, 0]], [[1, 0, 0], [0, 2, 0]]]
)
def test_network_input_stays_where_it_has_no_place_in_the_photo(matrix):
    prediction = make_prediction((64, 64))
    known = None if matrix is None else np.array(matrix, np.float64)
    assert in_photo(prediction, gradient(64, 64), known) is prediction
    assert panel_tiles(prediction)[0][0] == 'network input'
    assert in_photo(make_prediction(selects=False), gradient(64, 64), known).is_photo


def test_long_names_on_a_narrow_panel_keep_the_score():
    names = dict(predicted='Stelgidopteryx serripennis ' * 5, truth='Larus ' * 40)
    picture = draw_panel(make_prediction((32, 32), selects=False, top=(), **names), 96)
    assert picture.shape[1] == 96 + 6 + 130


def test_too_small_for_text_is_told():
    with pytest.raises(ValueError, match='at least 96'):
        draw_panel(make_prediction(), side=95)


@pytest.mark.parametrize(
    'share, words',
    [(0, '0 %'), (0.001, '<1 %'), (0.424, '42 %'), (0.999, '>99 %'), (1, '100 %'), (float('nan'), '? %')],
)
def test_percentages(share, words):
    assert percent(share) == words


def test_image_is_not_drawn_on():
    prediction = make_prediction(annotated_box=ANNOTATED)
    draw_panel(prediction)
    np.testing.assert_array_equal(prediction.image, gradient())
