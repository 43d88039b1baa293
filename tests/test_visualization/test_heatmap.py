"""Colours of patch scores."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_visualization.example_predictions import gradient

from glsim_mm.visualization import COLORMAPS, SCALINGS, color_bar, overlay_heatmap, patch_levels

ANY_SCORES = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=6, max_size=6)


def test_level_is_the_share_of_patches_with_a_lower_score():
    np.testing.assert_allclose(patch_levels(np.array([[5.0, -1.0], [7.0, 100.0]])), [[1 / 3, 0], [2 / 3, 1]])


def test_equal_scores_share_their_mean_rank():
    np.testing.assert_allclose(patch_levels(np.array([[1.0, 2.0, 2.0, 3.0]])), [[0, 0.5, 0.5, 1]])


@given(scores=st.lists(st.integers(-1000, 1000), min_size=4, max_size=4))
def test_ranks_do_not_depend_on_range_or_distribution(scores):
    scores = np.reshape(np.array(scores, np.float64), (2, 2))
    np.testing.assert_allclose(patch_levels(scores), patch_levels(np.exp(scores / 200) * 7 - 3))


@pytest.mark.parametrize('scaling', SCALINGS)
@pytest.mark.parametrize('value', [0.0, 3.5, np.nan, np.inf, -np.inf])
def test_equal_map_is_of_one_middle_colour(scaling, value):
    np.testing.assert_array_equal(patch_levels(np.full((2, 3), value), scaling), np.full((2, 3), 0.5))


@pytest.mark.parametrize('scaling', SCALINGS)
def test_nan_is_least_and_infinity_most(scaling):
    levels = patch_levels(np.array([[np.nan, 1.0, 2.0, np.inf]]), scaling)
    assert levels[0, 0] == 0 and levels[0, 3] == 1
    assert levels[0, 0] <= levels[0, 1] < levels[0, 2] <= levels[0, 3]


def test_linear_levels_keep_distances():
    np.testing.assert_allclose(patch_levels(np.array([[0.0, 1.0, 10.0]]), 'linear'), [[0, 0.1, 1]])


@settings(deadline=None)
@given(scores=ANY_SCORES, scaling=st.sampled_from(SCALINGS))
def test_any_scores_can_be_drawn(scores, scaling):
    levels = patch_levels(np.reshape(scores, (2, 3)), scaling)
    assert (0 <= levels).all() and (levels <= 1).all()
    assert overlay_heatmap(gradient(), np.reshape(scores, (2, 3)), scaling=scaling).dtype == np.uint8


def test_unknown_scaling_is_told():
    with pytest.raises(ValueError, match='rank, linear'):
        patch_levels(np.eye(2), 'log')


def test_patches_have_sharp_edges_and_the_best_is_yellow():
    grey = np.full((40, 60, 3), 128, np.uint8)
    heat = overlay_heatmap(grey, np.array([[0.1, 0.9], [0.2, 0.3]]), opacity=1.0)
    assert len(np.unique(heat.reshape(-1, 3), axis=0)) == 4  # one colour per patch
    assert (heat[:20, 30:] == heat[0, 59]).all()
    red, green, blue = heat[0, 59].astype(int)
    assert red > 200 and green > 200 and blue < 120
    red, green, blue = heat[0, 0].astype(int)
    assert red < 50 and green < 60 and blue > 60


def test_without_opacity_the_image_is_grey():
    image = gradient()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=-1)
    np.testing.assert_array_equal(overlay_heatmap(image, np.eye(2), opacity=0.0), grey)


@pytest.mark.parametrize('name', sorted(set(COLORMAPS) - {'turbo'}))
def test_lightness_grows_along_the_colour_bar(name):
    bar = color_bar(8, 100, name, opacity=1.0)
    assert bar.shape == (8, 100, 3)
    lightness = cv2.cvtColor(bar, cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    assert (np.diff(lightness) >= -1).all() and lightness[-1] - lightness[0] > 120
