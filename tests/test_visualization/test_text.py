"""Text in pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.visualization.layout import load_font, shorten, text_strip


def test_short_text_stays():
    assert shorten('Laysan Albatross', 500, load_font(12)) == 'Laysan Albatross'


def test_long_text_keeps_start_and_end():
    font = load_font(12)
    text = shorten('Stelgidopteryx serripennis var. longissima', 120, font)
    assert text.startswith('Stel') and text.endswith('sima') and '…' in text
    assert font.getlength(text) <= 120


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=60), width=st.integers(12, 300))
def test_any_text_fits(text, width):
    font = load_font(12)
    assert font.getlength(shorten(text, width, font)) <= width or shorten(text, width, font) == '…'
    assert text_strip(text, width, 12).shape == (17, width, 3)


def test_line_breaks_do_not_break_the_line():
    assert shorten('a\nb\tc', 500, load_font(12)) == 'a b c'


@pytest.mark.parametrize('name', ['Grünfink', 'Крачка', 'Γλάρος', '♂', 'نورس'])
def test_scripts_of_the_font_are_told_apart(name):
    missing = text_strip('\U0010fffd' * len(name), 200, 14)
    assert not np.array_equal(text_strip(name, 200, 14), missing)


def test_text_is_anti_aliased():
    strip = text_strip('Albatross', 200, 12)
    assert len(np.unique(strip)) > 20
