"""Figures of similarity maps, and what is told of many photos."""

import numpy as np
import pytest

from glsim_mm.images.selection_strength import SelectionSummary, map_strength

FRAME = (0, 0, 100, 100)


@pytest.mark.parametrize(
    'scores, contrast, is_flat, words',
    [
        ([0.1, 0.4], 0.75, False, '0.10 to 0.40, contrast 0.75'),
        ([0.99, 0.98], 0.0101, True, '0.98 to 0.99, contrast 0.01 (flat)'),
        ([-0.5, 0.5], 1, False, '−0.50 to 0.50, contrast 1.00'),
        ([2e-4, 4e-4], 0.5, False, '2.0e−04 to 4.0e−04, contrast 0.50'),
        ([-3000.0, -1500.0], 0.5, False, '−3.0e+03 to −1.5e+03, contrast 0.50'),
        ([0.1, np.inf, np.nan, 0.4], 0.75, False, '0.10 to 0.40, contrast 0.75'),
        ([np.nan, 0], 0, True, '0.00 to 0.00, contrast 0.00 (flat)'),
        ([np.nan], 0, True, '0.00 to 0.00, contrast 0.00 (flat)'),
    ],
)
def test_strength(scores, contrast, is_flat, words):
    strength = map_strength(np.array([scores]))
    assert strength.contrast == pytest.approx(contrast, rel=1e-3) and strength.is_flat == is_flat
    assert strength.words == words


@pytest.mark.parametrize('num_large, num_flat', [(0, 0), (2, 2), (3, 0), (0, 3), (20, 20)])
def test_what_concerns_more_than_a_tenth_of_the_photos_is_told(num_large, num_flat):
    summary = SelectionSummary()
    for number in range(20):
        box = (0, 0, 100, 81) if number < num_large else (0, 0, 100, 80)
        summary.add(box, FRAME, np.array([[0.9, 0.91 if number < num_flat else 0.5]]))
    told = summary.warnings()
    assert [f'covers more than 80 % of the image in {num_large} of 20 photos' in one for one in told] == (
        [True] * (num_large > 2) + [False] * (num_flat > 2)
    )
    assert sum(f'is flat in {num_flat} of 20 photos' in one for one in told) == (num_flat > 2)


def test_nothing_is_told_of_nothing():
    assert SelectionSummary().warnings() == []
