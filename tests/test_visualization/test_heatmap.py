"""Colours of patch scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_visualization.example_predictions import gradient

from glsim_mm.visualization import SCALINGS, light_bar, overlay_heatmap, patch_levels
from glsim_mm.visualization.overlays import DIMMEST, shade

ANY_SCORES = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=6, max_size=6)


def test_level_is_the_share_of_patches_with_a_lower_score():
    np.testing.assert_allclose(patch_levels(np.array([[5.0, -1.0], [7.0, 100.0]]), 'rank'), [[1 / 3, 0], [2 / 3, 1]])


def test_equal_scores_share_their_mean_rank():
    np.testing.assert_allclose(patch_levels(np.array([[1.0, 2.0, 2.0, 3.0]]), 'rank'), [[0, 0.5, 0.5, 1]])


@given(scores=st.lists(st.integers(-1000, 1000), min_size=4, max_size=4))
def test_ranks_do_not_depend_on_range_or_distribution(scores):
    scores = np.reshape(np.array(scores, np.float64), (2, 2))
    np.testing.assert_allclose(patch_levels(scores, 'rank'), patch_levels(np.exp(scores / 200) * 7 - 3, 'rank'))


@pytest.mark.parametrize('scaling', SCALINGS)
@pytest.mark.parametrize('value', [0.0, 3.5, np.nan, np.inf, -np.inf])
def test_equal_map_leaves_all_light(scaling, value):
    np.testing.assert_array_equal(patch_levels(np.full((2, 3), value), scaling), np.ones((2, 3)))


@pytest.mark.parametrize('scaling', SCALINGS)
def test_nan_is_least_and_infinity_most(scaling):
    levels = patch_levels(np.array([[np.nan, 1.0, 2.0, np.inf]]), scaling)
    assert levels[0, 0] == 0 and levels[0, 3] == 1
    assert levels[0, 0] <= levels[0, 1] < levels[0, 2] <= levels[0, 3]


def test_linear_levels_keep_distances():
    np.testing.assert_allclose(patch_levels(np.array([[0.0, 1.0, 10.0]])), [[0, 0.1, 1]])


@settings(deadline=None)
@given(scores=ANY_SCORES, scaling=st.sampled_from(SCALINGS))
def test_any_scores_can_be_drawn(scores, scaling):
    levels = patch_levels(np.reshape(scores, (2, 3)), scaling)
    assert (0 <= levels).all() and (levels <= 1).all()
    assert overlay_heatmap(gradient(), np.reshape(scores, (2, 3)), scaling=scaling).dtype == np.uint8


def test_unknown_scaling_is_told():
    with pytest.raises(ValueError, match='linear, rank'):
        patch_levels(np.eye(2), 'log')


def test_colours_stay_and_light_follows_the_score_smoothly():
    image = np.full((40, 60, 3), (200, 120, 40), np.uint8)
    lit = overlay_heatmap(image, np.array([[0.0, 1.0]]))
    light = lit[20].astype(float) / image[20]
    assert light[0].max() == pytest.approx(DIMMEST, abs=0.02) and light[-1].min() == 1
    np.testing.assert_allclose(light, light[:, :1].repeat(3, axis=1), atol=0.02)  # the same for all colours
    steps = np.diff(light[:, 0])
    assert steps.min() > -0.02 and steps.max() < 0.1  # no edge between the patches


def test_light_is_least_outside_of_what_patches_cover_and_full_on_a_flat_map():
    image = gradient()
    lit = overlay_heatmap(image, np.ones((2, 2)), area=(16, 8, 48, 40))
    np.testing.assert_array_equal(lit[8:40, 16:48], image[8:40, 16:48])
    np.testing.assert_array_equal(lit[:8], np.round(image[:8] * DIMMEST))
    np.testing.assert_array_equal(overlay_heatmap(image, np.full((2, 2), 0.3)), image)


def test_shade_of_pages_is_the_light_of_pictures():
    scores = np.random.default_rng(0).normal(size=(3, 4))
    black = shade(scores)
    lit = overlay_heatmap(np.full((*black.shape[:2], 3), 255, np.uint8), scores)
    assert not black[..., 0].any()
    np.testing.assert_allclose(255 - black[..., 1].astype(int), lit[..., 0], atol=1)


def test_bar_goes_from_dark_to_light():
    bar = light_bar(8, 100).astype(int)
    assert bar.shape == (8, 100, 3) and (np.diff(bar[0, :, 0]) >= 0).all() and bar[0, -1, 0] > 3 * bar[0, 0, 0]
