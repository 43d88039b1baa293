"""Shapes are where they should be, with smooth edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glsim_mm.datasets.demo_scene import Dice, disc, ellipse, hsv, outline, paint, polygon, stick, union

DICE_THROWS = [0.889739, 0.557138, 0.800908]
CENTERS = (np.arange(64) + 0.5) / 64
X, Y = np.meshgrid(CENTERS, CENTERS)


def painted_area(distance: np.ndarray) -> float:
    """Share of a black picture that a white shape covers."""
    canvas = np.zeros((*distance.shape, 3))
    paint(canvas, distance, np.ones(3))
    return float(canvas.mean())


@pytest.mark.parametrize(
    'distance, area',
    [
        (disc(X - 0.5, Y - 0.5, 0.3), np.pi * 0.09),
        (ellipse(X - 0.5, Y - 0.5, 0.4, 0.2), np.pi * 0.08),
        (stick(X, Y, (0.3, 0.5), (0.7, 0.5), 0.1), 0.08 + np.pi * 0.01),
        (polygon(X, Y, (0.2, 0.2), (0.8, 0.2), (0.8, 0.8)), 0.18),
        (outline(disc(X - 0.5, Y - 0.5, 0.3), 0.1), 2 * np.pi * 0.03),
        (union(disc(X - 0.25, Y - 0.5, 0.2), disc(X - 0.75, Y - 0.5, 0.2)), 2 * np.pi * 0.04),
    ],
)
def test_area_is_that_of_the_shape(distance, area):
    assert painted_area(distance) == pytest.approx(area, rel=0.03)


@given(turn=st.integers(0, 2), mirrored=st.booleans())
def test_corners_may_run_either_way_round(turn, mirrored):
    corners = [(0.2, 0.3), (0.9, 0.2), (0.5, 0.8)]
    turned = corners[turn:] + corners[:turn]
    np.testing.assert_allclose(polygon(X, Y, *(turned[::-1] if mirrored else turned)), polygon(X, Y, *corners))


def test_opacity_mixes_colors():
    canvas = np.zeros((8, 8, 3))
    paint(canvas, np.full((8, 8), -1.0), np.ones(3), 0.25)
    assert (canvas == 0.25).all()


@given(seed=st.integers(0, 2**32), low=st.floats(-5, 5), span=st.floats(0, 5), count=st.integers(1, 50))
def test_dice_stay_in_range_and_repeat(seed, low, span, count):
    dice, again = Dice(seed, 1), Dice(seed, 1)
    assert low <= dice.uniform(low, low + span) <= low + span
    assert 0 <= dice.below(count) < count
    again.uniform(0, 1), again.below(2)
    assert dice.uniform(0, 1) == again.uniform(0, 1)


def test_dice_throw_what_they_always_threw():
    """The pictures of the demo set hang on these numbers."""
    dice = Dice(0, 1)
    assert [round(dice.uniform(0, 1), 6) for _ in range(3)] == DICE_THROWS


def test_hsv_is_rgb_in_the_unit_range():
    assert hsv(0.0, 1.0, 1.0).tolist() == [1, 0, 0]
    assert hsv(1.25, 0.5, 0.5).min() >= 0
