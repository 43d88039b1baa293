"""The report of mistakes as a page of HTML."""

import io
import re
import tempfile
from base64 import b64decode
from pathlib import Path

from PIL import Image
from test_visualization.example_predictions import make_prediction
from test_visualization.page_reader import Page

from glsim_mm.visualization import ClassAccuracy, PairPictures, write_error_report_page

EVIL = '<script>alert(1)</script>"\' onload=x'


def render_error_report(*content) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (page,) = write_error_report_page(Path(folder, 'report.html'), *content)
        return page.read_text(encoding='utf-8')


def test_classes_with_the_lowest_accuracy_come_first():
    html = render_error_report([], [], [ClassAccuracy('Crow', 4, 4), ClassAccuracy('Gull', 4, 1)], dict(top1=62.5))
    assert html.index('<td>Gull</td>') < html.index('<td>Crow</td>')
    assert '62.5 %' in html and '5 right, 3 wrong' in html and '1 of 4' in html


def test_names_and_paths_do_not_run():
    mistake = make_prediction((32, 32), truth=EVIL, path=EVIL)
    pair = PairPictures(EVIL, EVIL, 1, 50.0, [mistake], mistake)
    html = render_error_report([pair], [mistake], [ClassAccuracy(EVIL, 2, 1)], {EVIL: 1.0})
    page = Page(html)
    assert not page.all('script') and not any('onload' in attributes for _, attributes in page.tags)
    assert sum(EVIL in picture['alt'] for picture in page.all('img')) == 2 + 4  # of the pair and of the mistake


def test_pair_without_pictures():
    html = render_error_report([PairPictures('Gull', 'Crow', 2, 50.0)], [], [ClassAccuracy('Gull', 4, 2)])
    assert 'Gull taken for Crow' in html and '<img' not in html


def test_photos_of_a_pair_fit_side_by_side():
    """Panels with heat map and crop are for single mistakes."""
    mistake = make_prediction((32, 32), truth='Gull', path='gull/1.jpg')
    html = render_error_report([PairPictures('Gull', 'Crow', 1, 50.0, [mistake], mistake)], [], [])
    sources = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert [Image.open(io.BytesIO(b64decode(source))).size for source in sources] == [(192, 192)] * 2
    assert 'selected by the model' in html and 'annotated</span>' not in html


def test_boxes_are_explained_if_there_are_any():
    plain = make_prediction((32, 32), selects=False, truth='Gull')
    assert 'class="legend"' not in render_error_report([PairPictures('Gull', 'Crow', 1, 50.0, [plain])], [], [])
    annotated = make_prediction((32, 32), selects=False, truth='Gull', annotated_box=(1, 1, 9, 9))
    html = render_error_report([PairPictures('Gull', 'Crow', 1, 50.0, [annotated])], [], [])
    assert 'annotated</span>' in html and 'selected by the model' not in html


def test_missing_comparison_is_explained():
    mistake = make_prediction((32, 32), truth='Gull')
    html = render_error_report([PairPictures('Gull', 'Great <auk>', 1, 50.0, [mistake])], [], [])
    assert 'No image of Great &lt;auk&gt; was tested.' in html
