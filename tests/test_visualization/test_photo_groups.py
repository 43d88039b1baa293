"""Groups of photos as pages of HTML."""

import re

import numpy as np

from glsim_mm.visualization import FoundImage, ReportSettings
from glsim_mm.visualization.photo_groups import PhotoGroup, write_photo_groups


def photo(number, **more):
    pixels = np.random.default_rng(number).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    return FoundImage(pixels, f'{number}.jpg', number=number, key=number, **more)


def test_pages_hold_each_photo_once_and_go_on_where_they_are_full(tmp_path):
    groups = [
        PhotoGroup(f'Section {number // 4}', f'Group {number}', 'Why.', [('left', photo(number)), ('right', photo(99))])
        for number in range(8)
    ]
    limit = 60_000
    pages = write_photo_groups(
        tmp_path / 'page.html', groups, ReportSettings(title='A title'), [('Photos', '9')], limit=limit
    )
    texts = [page.read_text() for page in pages]
    assert len(texts) > 1 and all(len(text) < limit for text in texts)
    assert [re.findall(r'<h3>(.*?)</h3>', text) for text in texts] == [re.findall(r'Group \d', text) for text in texts]
    assert sum(text.count('<h3>') for text in texts) == 8
    for text in texts:
        shown, held = re.findall(r'<use href="#(p\d+)"', text), re.findall(r'<image id="(p\d+)"', text)
        assert set(shown) == set(held) and len(set(held)) == len(held)
        assert text.count('<h2>') == len(set(re.findall(r'Section \d', text)))  # on every page, once
        assert text.count('<h1>') == 1 and 'color-scheme: light dark' in text
    assert '<dt>Photos</dt><dd>9</dd>' in texts[0] and 'page.html' in texts[1]
    assert 'Section 1' in texts[-1] and any(', continued' in text or '>continued<' in text for text in texts)


def test_names_are_escaped_and_lost_photos_say_so(tmp_path):
    lost = FoundImage(lambda: None, '<b>.jpg', label='<i>', is_right=False)
    group = PhotoGroup('<s>', '<u>', '<p id=x>', [('<em>', lost)])
    (page,) = write_photo_groups(tmp_path / 'page.html', [group], ReportSettings(title='T'), sentences=['<a>'])
    text = page.read_text()
    assert not re.search('<(b|i|s|u|em|a|p id=x)>', text.split('<main')[1])
    assert '&lt;b&gt;.jpg (cannot be read)' in text and '<li class="wrong">' in text
    (page,) = write_photo_groups(tmp_path / 'page.html', [], ReportSettings(title='T'))
    assert '<article>' not in page.read_text()
