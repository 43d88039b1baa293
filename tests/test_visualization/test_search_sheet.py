"""Sheets and pages of search results."""

import re

import numpy as np
import pytest

from glsim_mm.visualization import FoundImage, SearchRow, draw_search_sheet, write_search_pages
from glsim_mm.visualization.matches import PatchPair, draw_matches, lay_out_matches
from glsim_mm.visualization.overlays import SELECTED_COLOR
from glsim_mm.visualization.panel import RIGHT_COLOR, WRONG_COLOR
from glsim_mm.visualization.search_sheet import show_region

GREY = np.full((60, 120, 3), 128, np.uint8)


def has_color(picture, color):
    return bool((picture == color).all(axis=-1).any())


def page_of(folder, found, **options):
    (page,) = write_search_pages(folder / 'page.html', found, len(found), **options)
    return page.read_text(encoding='utf-8')


def rows(**hit):
    return [SearchRow(FoundImage(GREY, 'q.jpg'), [FoundImage(GREY, 'a.jpg', score=0.9, number=7, **hit)])]


def test_box_is_drawn_in_its_place():
    item = FoundImage(GREY, box=(0.5, 0.25, 1.0, 0.75))
    shown = show_region(item, 120)
    assert shown.shape == (120, 240, 3)
    ys, xs = np.nonzero((shown == SELECTED_COLOR).all(axis=-1))
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (31, 88, 121, 238)
    assert not has_color(show_region(FoundImage(GREY), 120), SELECTED_COLOR)


def test_heat_map_covers_its_part_of_the_photo():
    item = FoundImage(GREY, similarity_map=np.arange(4.0).reshape(2, 2), map_area=(0.25, 0, 0.75, 1))
    shown = show_region(item, 60, heatmap=True)
    assert (shown[:, :30] == 32).all() and (shown[:, 90:] == 32).all() and shown[59, 89].min() > 120
    assert shown[0, 30].max() < 40 and (item.image == 128).all()


@pytest.mark.parametrize('is_right, expected', [(True, RIGHT_COLOR), (False, WRONG_COLOR), (None, None)])
def test_right_and_wrong_are_told_apart(is_right, expected):
    sheet = draw_search_sheet(rows(is_right=is_right))
    assert [color for color in (RIGHT_COLOR, WRONG_COLOR) if has_color(sheet, color)] == (
        [expected] if expected else []
    )


def test_hits_wrap_into_columns():
    hits = [FoundImage(GREY, score=0.5)] * 5
    wide, narrow = (draw_search_sheet([SearchRow(FoundImage(GREY), hits)], columns=columns) for columns in (5, 2))
    assert narrow.shape[1] < wide.shape[1] and narrow.shape[0] > wide.shape[0]


def test_query_without_hits_is_drawn(tmp_path):
    assert draw_search_sheet([SearchRow(FoundImage(np.zeros((200, 3, 3), np.uint8)))]).ndim == 3
    assert 'Nothing was found' in page_of(tmp_path, [SearchRow(FoundImage(GREY))])


@pytest.mark.parametrize('wrong', [dict(rows=[]), dict(side=20), dict(columns=0)])
def test_impossible_sheets_are_refused(wrong):
    with pytest.raises(ValueError, match='a sheet needs'):
        draw_search_sheet(**{'rows': rows(), **wrong})


def test_page_needs_nothing_else_and_escapes_names(tmp_path):
    found = rows(label='<script>alert(1)</script>', box=(0, 0, 1, 1), similarity_map=np.eye(3), is_right=False)
    page = page_of(tmp_path, found, facts=[('Gallery', 'a & b')])
    assert '<script' not in page and '&lt;script&gt;' in page and 'a &amp; b' in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert '✗ 1: 0.900' in page and '(id 7)' in page and 'similarity map' in page


def test_lines_end_in_their_patches_and_numbers_do_not_hide_each_other():
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 0.9, (12, 2, 2))
    boxes = np.concatenate([corners, corners + 0.1], axis=-1)
    pairs = [PatchPair(float(value), 1 / 12, *both) for value, both in zip(generator.uniform(-1, 1, 12), boxes)]
    layout = lay_out_matches(pairs, (100, 300), (400, 100))  # at one height, they are lower than eight numbers
    strongest = sorted((pair.similarity for pair in pairs), reverse=True)[:8]
    assert [line.pair.similarity for line in layout.lines] == strongest
    assert np.diff(sorted(line.label[1] for line in layout.lines)).min() >= 20 - 1e-9
    assert [line.width for line in layout.lines] == sorted((line.width for line in layout.lines), reverse=True)
    for photo, ratio in zip(layout.photos, (1 / 3, 4)):
        width, height = photo[2:] - photo[:2]
        assert width / height == pytest.approx(ratio) and 0 <= photo[1] and photo[3] <= layout.height + 1e-9
    for line in layout.lines:
        shares = line.pair.query_box, line.pair.box
        for photo, box, end, share in zip(layout.photos, line.boxes, line.points[[0, 3]], shares):
            np.testing.assert_allclose((end - photo[:2]) / (photo[2:] - photo[:2]), np.add(share[:2], 0.05))
            assert (box[:2] < end).all() and (end < box[2:]).all()
    assert draw_matches(GREY, GREY, pairs, 'caption').shape[1] == round(layout.width)
