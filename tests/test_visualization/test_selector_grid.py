"""Selectors side by side."""

import numpy as np
import pytest
from test_visualization.example_predictions import gradient

from glsim_mm.visualization import SELECTED_COLOR, ComparedImage, Selection, draw_selector_grid, shares


def make_row(annotated_box=None, size=(32, 32)) -> ComparedImage:
    selections = {
        'gls': Selection(np.arange(4.0).reshape(2, 2), np.array([[0, 0, 16, 16]])),
        'random': Selection(np.full((2, 2), np.nan), np.array([[0, 0, 32, 32], [8, 8, 16, 16]])),
    }
    return ComparedImage(gradient(*size), 'Crow', selections, annotated_box)


def test_shares_are_of_image_and_of_box():
    assert shares(make_row(), 'gls') == (0.25, None)
    assert shares(make_row((0, 0, 8, 32)), 'gls') == (0.25, 0.5)
    assert shares(make_row((0, 0, 8, 32)), 'random') == (1.0, 0.25)


@pytest.mark.parametrize('size', [(32, 32), (32, 64), (64, 32)])
@pytest.mark.parametrize('box', [None, (0, 0, 8, 32)])
def test_grid_has_a_row_per_image_and_a_column_per_selector(size, box):
    one, two = (draw_selector_grid([make_row(box, size)] * number, side=96) for number in (1, 2))
    assert one.shape[1] == two.shape[1] > 3 * 96
    assert 96 < len(two) - len(one) < 96 + 40
    assert (one == SELECTED_COLOR).all(axis=-1).any()


def test_images_with_and_without_annotation_mix():
    assert draw_selector_grid([make_row(), make_row((0, 0, 8, 32))]).ndim == 3


def test_equal_ranks_have_equal_colours_whatever_the_scores():
    row = make_row()
    row.selections['random'] = Selection(row.selections['gls'].scores ** 3 * 100 - 7, row.selections['gls'].boxes)
    grid = draw_selector_grid([row], side=160, scaling='rank')
    tiles = [grid[34:190, x : x + 150] for x in (6 + 2 * 6 + 2 * 160 - 166, 6 + 2 * 160 + 2 * 6)]
    np.testing.assert_array_equal(*tiles)


def test_nothing_to_draw_is_told():
    with pytest.raises(ValueError, match='at least one image'):
        draw_selector_grid([])
    with pytest.raises(ValueError, match='at least 96'):
        draw_selector_grid([make_row()], side=64)
