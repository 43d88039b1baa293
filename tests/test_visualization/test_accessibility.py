"""Pages that everybody can read: structure, keyboard, narrow screens, and contrast in light and dark."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from test_visualization.example_predictions import make_prediction
from test_visualization.page_reader import Page

from glsim_mm.visualization import (
    ClassAccuracy,
    FoundImage,
    PairPictures,
    ReportSettings,
    SearchRow,
    write_error_report_page,
    write_report,
    write_search_pages,
)
from glsim_mm.visualization.photo_groups import PhotoGroup, write_photo_groups

PHOTO = np.full((40, 60, 3), 128, np.uint8)
VOID = {'meta', 'img', 'br', 'input', 'link', 'hr', 'use', 'rect', 'image'}


def found(label=None, **options):
    return FoundImage(PHOTO, 'a.jpg', label, box=(0, 0, 0.5, 0.5), similarity_map=np.eye(3), key='a', **options)


def search_rows(queries):
    hits = [found(label, score=score, is_right=label == 'Crow') for label, score in (('Gull', 0.9), ('Crow', 0.8))]
    return [SearchRow(found('Crow'), [*hits, found('Gull', score=0.7), found(score=0.6)])] * queries


def photo_groups():
    photos = [('typical', found('Crow')), ('Gull', found('Gull'))]
    return [PhotoGroup(f'Class {number // 9}', f'Like {number}', 'Why.', photos * 20) for number in range(60)]


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """The files of every kind of page that a tool writes, two of each or more."""
    folder = tmp_path_factory.mktemp('pages')
    mistake = make_prediction((32, 32), truth='Gull', path='gull/1.jpg', annotated_box=(1, 1, 9, 9))
    pairs = [PairPictures('Gull', 'Crow', 1, 50.0, [mistake], mistake)] * 3
    classes = [ClassAccuracy(f'class {number}', 4, number % 5) for number in range(1200)]
    return {
        'search': write_search_pages(folder / 'search.html', search_rows(16), 16, limit=40_000),
        'report': write_report(folder / 'report.html', [mistake, make_prediction((32, 32))] * 6, limit=40_000),
        'errors': write_error_report_page(
            folder / 'errors.html', pairs, [mistake] * 3, classes, dict(top1=50.0), limit=100_000
        ),
        'groups': write_photo_groups(
            folder / 'groups.html', photo_groups(), ReportSettings(title='Audit'), limit=40_000
        ),
    }


@pytest.fixture(params=['search', 'report', 'errors', 'groups'])
def pages(request, written):
    files = written[request.param]
    assert len(files) > 2
    return [Page.read(file) for file in files]


def test_no_page_is_larger_than_the_limit(written):
    for kind, limit in dict(search=40_000, report=40_000, errors=100_000, groups=40_000).items():
        assert max(file.stat().st_size for file in written[kind]) <= limit


def test_tables_of_any_length_go_on_on_further_pages(written):
    texts = [Page.read(file).text for file in written['errors']]
    assert 'class 1199' in ''.join(texts) and ''.join(texts).count('Accuracy by class') == 3
    assert ''.join(texts).count('lowest first, continued') >= 1


def test_landmarks_and_headings(pages):
    for number, page in enumerate(pages, start=1):
        names = [name for name, _ in page.tags]
        assert [names.count(name) for name in ('h1', 'main', 'header', 'footer')] == [1, 1, 1, 1]
        levels = [int(name[1]) for name in names if re.fullmatch('h[1-6]', name)]
        assert levels[0] == 1 and all(after - before <= 1 for before, after in zip(levels, levels[1:]))
        assert page.all('html')[0]['lang'] == 'en'
        labels = [nav['aria-label'] for nav in page.all('nav')]
        assert len(labels) == len(set(labels)) == 1 + (number > 1)
        assert ('prev' in page.links, 'next' in page.links) == (number > 1, number < len(pages))


def test_every_address_within_a_page_leads_somewhere_and_every_id_is_once(pages):
    for page in pages:
        ids = [attributes['id'] for _, attributes in page.tags if 'id' in attributes]
        targets = {attributes['href'][1:] for _, attributes in page.tags if attributes.get('href', '').startswith('#')}
        assert len(ids) == len(set(ids)) and targets <= set(ids)
        labelled = {attributes['aria-labelledby'] for _, attributes in page.tags if 'aria-labelledby' in attributes}
        assert labelled <= set(ids)


def test_every_picture_has_words(pages):
    pictures = [picture for page in pages for picture in page.all('img') + page.of_class('photo')]
    assert pictures and all(picture.get('alt') or picture.get('aria-label') for picture in pictures)


def test_first_stop_of_the_keyboard_skips_to_the_content(pages):
    for page in pages:
        (link, *_) = page.all('a')
        assert link == {'class': 'skip', 'href': '#content'} and page.all('main')[0]['id'] == 'content'


def test_elements_are_closed_in_order(written):
    class Checker(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attrs):
            if tag not in VOID:
                self.open.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert tag in VOID or self.open.pop() == tag

    for files in written.values():
        for file in files:
            checker = Checker()
            checker.feed(file.read_text(encoding='utf-8'))
            assert checker.open == []


def test_nothing_is_wider_than_a_narrow_phone(written):
    """Widths beyond 360 px stand only where a smaller one may take their place."""
    for files in written.values():
        style = re.search(r'<style>(.*?)</style>', files[0].read_text(encoding='utf-8'), re.DOTALL).group(1)
        for name, value, unit in re.findall(r'[ {;](min-width|width): ([\d.]+)(px|rem)', style):
            assert float(value) * (16 if unit == 'rem' else 1) <= 360, (name, value, unit)
        assert 'overflow-x' not in style and 'nowrap' not in style.replace('text-align: right; white-space: nowrap', '')
        assert '.tiles img { display: block; max-width: 100%; height: auto; }' in style or '.tiles' not in style


def palette(html):
    style = re.search(r':root \{(.*?)\}', html, re.DOTALL).group(1)
    assert 'color-scheme: light dark;' in style
    colors = re.findall(r'--([a-z]+): (?:light-dark\((#\w{6}), (#\w{6})\)|(#\w{6}));', style)
    return {name: (light or both, dark or both) for name, light, dark, both in colors}


def contrast(one, other):
    """Contrast ratio of WCAG 2 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio) of two colours such as #ffffff."""

    def luminance(color):
        shares = np.array([int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)])
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize('theme', [0, 1], ids=['light', 'dark'])
def test_contrast(written, theme):
    assert contrast('#000000', '#ffffff') == pytest.approx(21)
    colors = {name: both[theme] for name, both in palette(written['search'][0].read_text(encoding='utf-8')).items()}
    for name in ('text', 'muted', 'link', 'right', 'wrong', 'other', 'bar'):
        assert contrast(colors[name], colors['back']) >= 4.5, name
    for name in ('text', 'muted', 'link'):  # on a hit that is shown large
        assert contrast(colors[name], colors['track']) >= 4.5, name
    for name in ('bar', 'right'):  # bars need 3
        assert contrast(colors[name], colors['track']) >= 3, name


def test_colours_come_from_the_palette(written):
    for files in written.values():
        html = files[0].read_text(encoding='utf-8')
        style = re.search(r'<style>(.*?)</style>', html, re.DOTALL).group(1)
        rules = re.sub(r':root \{.*?\}', '', style, count=1, flags=re.DOTALL)
        assert not re.search(r'#[0-9a-fA-F]{3,8}\b(?=[;} ])|rgb\(|: (?:white|black|grey)\b', rules)
        used = set(re.findall(r'var\(--([a-z]+)\)', rules))
        assert used <= set(palette(html)) and not re.search(r'(?:fill|color|background)="', html)


def test_hits_can_be_reached_one_by_one_and_by_class(written):
    page = Page.read(written['search'][0])
    links = [link['href'] for link in page.of_class('found')]
    by_rank, by_class = (['#q1' + part + f'-{rank}' for rank in order] for part, order in (
        ('', (1, 2, 3, 4)), ('-class', (1, 3, 2, 4))
    ))  # fmt: skip
    assert links[:8] == by_rank + by_class
    assert '2 hits, the best 0.900' in page.text and 'Without a class' in page.text
    assert [field.get('id') for field in page.all('input')] == [None, 'grouped']
    # The query stays where it is while its hits go by.
    assert re.search(r'\.of-query \{ position: sticky;', written['search'][0].read_text(encoding='utf-8'))


def test_hits_without_classes_are_not_grouped(tmp_path):
    (file,) = write_search_pages(tmp_path / 'page.html', [SearchRow(found(), [found(score=0.5)])], 1)
    assert len(Page.read(file).of_class('found')) == 1 and not Page.read(file).of_class('by-class')


def test_pictures_never_fill_a_page(tmp_path):
    """However large panels are asked for."""
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    (file,) = write_report(tmp_path / 'r.html', [make_prediction(image=noise)], ReportSettings(side=2048))
    assert file.stat().st_size < 4_000_000
    assert max(int(picture['height']) for picture in Page.read(file).all('img') if 'height' in picture) == 640
