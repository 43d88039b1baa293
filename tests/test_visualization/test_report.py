"""The report as a page of HTML."""

import base64
import io
import re
import tempfile
from pathlib import Path

from PIL import Image
from test_visualization.example_predictions import make_prediction
from test_visualization.page_reader import Page

from glsim_mm.visualization import ReportSettings, sort_predictions, write_report
from glsim_mm.visualization.html_report import list_errors

EVIL = '<script>alert(1)</script>"\' onload=x'


def render_report(predictions: list, settings: ReportSettings | None = None) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (page,) = write_report(Path(folder, 'report.html'), predictions, settings)
        return page.read_text(encoding='utf-8')


def photos(page: Page) -> list[dict]:
    """Pictures without the colour bar of the legend."""
    return [image for image in page.all('img') if 'width' in image]


def made(score: float, truth: str | None, path: str = 'a.jpg') -> object:
    return make_prediction((32, 32), score=score, truth=truth, path=path)


MIXED = [made(0.9, 'Crow', 'b/1.jpg'), made(0.2, 'Gull', 'b/2.jpg'), made(0.3, 'Crow', 'b/3.jpg')]
MIXED += [made(0.8, 'Gull', 'b/4.jpg')]


def test_mistakes_come_first_by_falling_then_right_ones_by_rising_confidence():
    assert [item.path for item in sort_predictions(MIXED)] == ['b/4.jpg', 'b/2.jpg', 'b/3.jpg', 'b/1.jpg']
    html = render_report(MIXED)
    places = [html.index(f'<p>{name}</p>') for name in ('b/4.jpg', 'b/2.jpg', 'b/3.jpg', 'b/1.jpg')]
    assert places == sorted(places)


def test_summary():
    settings = ReportSettings('my.py', 'epoch_50.pth', 'GLSimSelector', date='2026-11-23')
    text = Page(render_report(MIXED, settings)).text
    for words in ('50.0 %', '2 right, 2 wrong', 'my.py', 'epoch_50.pth', 'GLSimSelector', '2026-11-23'):
        assert words in text


def test_crops_have_no_margin_and_a_border_is_explained():
    wide = make_prediction((32, 32), selected_box=(0, 0, 32, 8))
    html = render_report([wide])
    assert [(one['width'], one['height']) for one in photos(Page(html))][-1] == ('192', '48') and 'cut off' not in html
    wide.map_area = (4, 4, 28, 28)
    assert 'cut off before the model' in render_report([wide])


def test_errors_per_class():
    (row,) = list_errors([*MIXED, made(0.5, None)])
    assert (row.name, row.images, row.errors, row.taken_for) == ('Gull', 2, 2, [('Crow', 2)])
    assert '2 of 2' in Page(render_report(MIXED)).text


def test_names_and_paths_do_not_run():
    prediction = make_prediction((32, 32), predicted=EVIL, truth='<img src=x>', path=EVIL, top=[(EVIL, 0.5)])
    html = render_report([prediction], ReportSettings(EVIL, EVIL, EVIL, title=EVIL))
    page = Page(html)
    assert page.all('script') == []
    assert all(not name.startswith('on') for _, attributes in page.tags for name in attributes)
    pictures = photos(page)
    assert len(pictures) == 4 and all(image['src'].startswith('data:image/jpeg;base64,') for image in pictures)
    assert EVIL in page.text and all(EVIL in image['alt'] for image in pictures)


def test_page_needs_nothing_else():
    page = Page(render_report(MIXED))
    for _, attributes in page.tags:
        assert attributes.get('href', '#').startswith('#')
        assert attributes.get('src', 'data:').startswith('data:')
    assert 'url(' not in render_report(MIXED) and '@import' not in render_report(MIXED)
    policy = [item.get('content', '') for item in page.all('meta')]
    assert any("default-src 'none'" in item for item in policy)


def test_every_picture_has_a_text_and_can_be_read():
    images = photos(Page(render_report(MIXED)))
    assert len(images) == 4 * 4 and [image['alt'] for image in images[:4]] == [
        'b/4.jpg: taken for Crow with 80 %, is Gull', 'heat map of b/4.jpg', 'box of b/4.jpg', 'crop of b/4.jpg'
    ]  # fmt: skip
    for image in images:
        picture = Image.open(io.BytesIO(base64.b64decode(image['src'].partition(',')[2])))
        assert picture.format == 'JPEG' and picture.size == (192, 192) == (int(image['width']), int(image['height']))
        assert image['loading'] == 'lazy'  # drawn when it is scrolled to


def test_a_long_report_has_several_pages(tmp_path):
    size = len(render_report(MIXED).encode())
    first, second = write_report(tmp_path / 'report.html', MIXED, limit=size - 1)
    pages = [Page(file.read_text(encoding='utf-8')) for file in (first, second)]
    assert second.name == 'report-2.html' and max(file.stat().st_size for file in (first, second)) < size
    assert [page.links for page in pages] == [{'next': 'report-2.html'}, {'prev': 'report.html'}]
    assert '50.0 %' in pages[0].text and '50.0 %' not in pages[1].text
    shown = [image['alt'].partition(':')[0] for page in pages for image in photos(page) if ':' in image['alt']]
    assert shown == ['b/4.jpg', 'b/2.jpg', 'b/3.jpg', 'b/1.jpg']


def test_likeliest_classes_are_text():
    html = render_report([made(0.5, 'Gull')])
    assert 'シジュウカラ' in html and 'Крачка' in html
    assert re.search(r'class="truth"><span>✓ Gull</span><span>30 %</span>', html)


def test_only_mistakes():
    page = Page(render_report(MIXED, ReportSettings(only_mistakes=True)))
    assert len(page.all('article')) == 2
    assert '50.0 %' in page.text  # accuracy is that of all
    none = Page(render_report([made(0.9, 'Crow')], ReportSettings(only_mistakes=True)))
    assert 'no mistake was made' in none.text


def test_unknown_classes_and_models_without_selection():
    page = Page(render_report([make_prediction((32, 32), selects=False)]))
    assert 'Accuracy' not in page.text and len(page.all('img')) == 1
    assert 'nothing to show' in Page(render_report([])).text


def test_layout_follows_the_width_of_the_screen():
    assert any(item.get('name') == 'viewport' for item in Page(render_report(MIXED)).all('meta'))
