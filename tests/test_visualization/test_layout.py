"""Pictures beside and above each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glsim_mm.visualization import ANNOTATED_COLOR, SELECTED_COLOR, contact_sheet, legend_strip

SIZES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=7)


@given(sizes=SIZES, columns=st.integers(1, 4))
def test_contact_sheet_holds_every_pixel(sizes, columns):
    pictures = [np.full((*size, 3), 1 + index, np.uint8) for index, size in enumerate(sizes)]
    footer = np.full((5, 9, 3), 100, np.uint8)
    sheet = contact_sheet(pictures, columns, footer)
    for index, size in enumerate(sizes):
        assert (sheet == 1 + index).all(axis=-1).sum() == size[0] * size[1]
    assert (sheet == 100).all(axis=-1).sum() == 45


def test_empty_contact_sheet_is_told():
    with pytest.raises(ValueError, match='at least one picture'):
        contact_sheet([])


def test_legend_explains_what_is_drawn():
    def colors(**marks: bool) -> list[bool]:
        strip = legend_strip(900, 14, 'cividis', **marks)
        return [bool((strip == color).all(axis=-1).any()) for color in (SELECTED_COLOR, ANNOTATED_COLOR)]

    assert colors() == [True, True]
    assert colors(annotated=False) == [True, False]
    assert legend_strip(900, 14, None, selected=False, annotated=False) is None


def test_legend_breaks_into_lines():
    assert legend_strip(150, 14, 'cividis').shape[1] == 150
    assert len(legend_strip(150, 14, 'cividis')) > 2 * len(legend_strip(900, 14, 'cividis')) - 20
