"""Pictures of the documentation: full colour, and words for those who do not see them."""

import re

import pytest
from PIL import Image


@pytest.mark.parametrize('name', ['match', 'panel', 'selection_cost', 'selectors'])
def test_pictures_have_full_colour(root, name):
    """A palette of 256 colours has made one colour of two curves."""
    with Image.open(root / 'docs' / 'images' / f'{name}.png') as picture:
        assert picture.mode in ('RGB', 'RGBA')
        assert len(picture.convert('RGB').getcolors(picture.width * picture.height)) > 256


def test_flow_picture_has_a_dark_variant_and_a_title(root):
    text = (root / 'docs' / 'images' / 'flow.svg').read_text(encoding='utf-8')
    light, dark = re.findall(r'svg \{ (.*?) \}', text)
    names = [set(re.findall(r'(--\w+):', rules)) for rules in (light, dark)]
    assert '@media (prefers-color-scheme: dark)' in text and names[0] == names[1]
    assert set(re.findall(r'var\((--\w+)\)', text)) == names[0]
    assert re.search(r'<title id="title">.{40,}</title>', text) and 'aria-labelledby="title"' in text


def test_pictures_are_described(root):
    pages = [root / 'README.md', *(root / 'docs').rglob('*.md')]
    found = [words for page in pages for words in re.findall(r'!\[(.*?)\]\(', page.read_text(encoding='utf-8'))]
    assert len(found) >= 4 and all(len(words) > 10 for words in found)
