"""The page of ``glsim serve``: its files as such, and in a browser what people do with it."""

import gzip
import io
import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image
from server_pages import fits, is_accessible, last_request, serving

import glsim_mm
from glsim_mm.search import build_gallery

PAGE = Path(glsim_mm.__file__).parent / 'search' / 'server' / 'page'
TOKEN = 'a-token-of-the-tests'
FILES = {path.name: path.read_text(encoding='utf-8') for path in sorted(PAGE.iterdir())}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith('.js')}
TEXTS = {
    name.split('.')[1]: json.loads(text) for name, text in FILES.items() if name.startswith('texts.') and 'json' in name
}


# -- its files -------------------------------------------------------------------------------------------------------


def test_the_page_is_small_and_of_this_server_alone():
    assert (
        len(gzip.compress('\n'.join(FILES.values()).encode())) <= 60 * 1024
    )  # all pages in all languages, packed as one
    for name, text in FILES.items():
        addresses = re.findall(r'(?:https?:)?//[\w.-]+\.\w+[^\s\'"]*', re.sub(r'^\s*//.*', '', text, flags=re.M))
        assert all(one.startswith('http://www.w3.org/') for one in addresses), name
        assert not re.search(r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(', text), name
    for name in ('index.html', 'docs.html'):
        assert not re.search(r'<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:', FILES[name]), name
        for address in re.findall(r'(?:src|href)="page/([^"]+)"', FILES[name]):
            assert address in FILES


def test_scripts_find_what_they_look_for():
    ids = set(re.findall(r'\sid="([\w-]+)"', FILES['index.html'] + FILES['docs.html']))
    for name, text in SCRIPTS.items():
        assert set(re.findall(r"\bat\('([\w-]+)'\)", text)) <= ids, name
        for other, names in [(one[1], one[0]) for one in re.findall(r"import \{([^}]*)\} from '\./([\w.]+)'", text)]:
            for wanted in names.split(','):
                exported = rf'export (?:const|class|function|async function\*?) {wanted.strip()}\b'
                assert re.search(exported, FILES[other]), (name, wanted)


def test_languages_have_the_same_texts_and_all_that_are_used():
    english = TEXTS['en']
    places = {key: set(re.findall(r'\{\w+\}', text)) for key, text in english.items()}
    for language, texts in TEXTS.items():
        assert list(texts) == list(english), language
        assert {key: set(re.findall(r'\{\w+\}', text)) for key, text in texts.items()} == places, language
        assert all(text.strip() for text in texts.values())
        assert len(texts['places'].split('|')) == 9
    assert set(re.findall(r"'(\w+)'", re.search(r'LANGUAGES = (.*)', FILES['texts.js'])[1])) == set(TEXTS)
    marked = set(re.findall(r'data-(?:text|label)="(\w+)"', FILES['index.html'] + FILES['docs.html']))
    code = '\n'.join(SCRIPTS.values())
    assert marked | set(re.findall(r"\bt\('(\w+)'", code)) <= english.keys()
    begun = tuple(re.findall(r'`(\w+_)\$', code))  # as t(`op_${name}`)
    unused = [key for key in english if key not in marked and f"'{key}'" not in code and not key.startswith(begun)]
    assert not unused


# -- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def served(tiny_model, tmp_path_factory):
    """Galleries of 8 photos in two classes, and a function that starts a server of them and gives its address."""
    from glsim_mm.search.server.galleries import close_galleries, open_galleries

    config, weights, images = tiny_model
    folder = tmp_path_factory.mktemp('page')
    build_gallery(
        images, config, weights, folder / 'fish', keep_patches=True, device='cpu', num_workers=0, progress=False
    )
    galleries = open_galleries([str(folder / 'fish')], device='cpu')
    with ExitStack() as running:
        yield lambda token=None: running.enter_context(serving(galleries, folder, token=token))
    close_galleries(galleries)


@pytest.fixture(scope='module')
def address(served) -> str:
    return served()


@pytest.fixture(scope='module')
def photo() -> bytes:
    """A photo of 120 x 80 pixels."""
    buffer = io.BytesIO()
    Image.linear_gradient('L').resize((120, 80)).convert('RGB').save(buffer, 'PNG')
    return buffer.getvalue()


def choose(page, *photos, field='#choose'):
    files = [dict(name=f'{place}.png', mimeType='image/png', buffer=one) for place, one in enumerate(photos)]
    with page.expect_response('**/search'):
        page.set_input_files(field, files)


def settled(page):
    page.wait_for_selector('#found[aria-busy=false]')
    return page.inner_text('#status')


@pytest.mark.parametrize('width, theme, language', [(1280, 'light', 'en'), (390, 'dark', 'de')])
def test_from_a_photo_to_a_comparison(visit, address, photo, width, theme, language):
    page = visit(address, language, width, color_scheme=theme, has_touch=width == 390)
    page.wait_for_selector('#samples button')
    is_accessible(page)
    choose(page, photo)
    page.wait_for_selector('#hits .hit')
    assert '8' in settled(page) and page.inner_text('.word') and page.locator('#hits .hit').count() == 8
    fits(page)
    page.check('#found [name=show-map]')
    page.check('[value=grouped]')
    assert page.locator('#hits h3').count() == 2
    is_accessible(page)
    page.locator('#hits .hit').nth(1).click()
    page.wait_for_selector('#why:not(:empty)')
    page.wait_for_selector('#pairs tbody tr, #why:has-text(".")')
    fits(page)
    is_accessible(page)
    page.click('#zoom-in')
    assert '150' in page.inner_text('#zoom-level')
    shapes = page.locator('.view .frame').evaluate_all('frames => frames.map((one) => parseFloat(one.style.width))')
    assert len(shapes) == 2 and all(shapes)
    page.keyboard.press('Escape')
    assert page.evaluate('document.activeElement.className') == 'hit'


def test_a_hit_becomes_a_query_with_an_address_of_its_own(visit, address, photo):
    page = visit(address)
    page.wait_for_selector('#samples button')
    choose(page, photo)
    page.locator('#hits .hit').first.click()
    number = page.locator('#hits .hit').first.get_attribute('data-row')
    page.click('#similar')
    page.wait_for_url(f'{address}#gallery=fish&id={number}')
    page.wait_for_selector('#photos figure')
    settled(page)
    again = visit(page.url)
    again.wait_for_selector('#hits .hit')
    assert again.locator(f'#hits [data-row="{number}"]').count() == 0
    page.go_back()
    page.wait_for_selector('#photos .boxed')


def test_boxes_by_mouse_and_keys(visit, address, photo):
    page = visit(address)
    page.wait_for_selector('#samples button')
    choose(page, photo)
    settled(page)
    assert last_request(page)['boxes'] == []
    area = page.locator('.boxed')
    area.scroll_into_view_if_needed()
    place = area.bounding_box()

    def point(x, y):
        return place['x'] + x * place['width'], place['y'] + y * place['height']

    def drag(start, end):
        with page.expect_response('**/search'):
            page.mouse.move(*point(*start))
            page.mouse.down()
            page.mouse.move(*point(*end), steps=4)
            page.mouse.up()
        return last_request(page)['boxes'][0]

    assert drag((0.1, 0.1), (0.5, 0.5)) == pytest.approx([12, 8, 60, 40], abs=1)
    assert page.is_checked('[value=own]')
    assert drag((0.3, 0.3), (0.5, 0.4)) == pytest.approx([36, 16, 84, 48], abs=1)
    assert drag((0.7, 0.6), (0.9, 0.9)) == pytest.approx([36, 16, 108, 72], abs=1)
    with page.expect_response('**/search'):
        area.press('Delete')
    assert last_request(page)['boxes'] == [] and page.is_checked('[value=whole]')
    with page.expect_response('**/search'):
        for key in ('Enter', 'ArrowRight', 'Shift+ArrowDown'):
            area.press(key)
    left, top, right, bottom = last_request(page)['boxes'][0]
    assert 0 < left < right <= 120 and 0 <= top < bottom <= 80
    assert str(round(100 * left / 120)) in area.get_attribute('aria-label')
    page.check('[value=whole]')
    settled(page)
    page.check('[value=own]')
    settled(page)
    assert page.is_checked('[value=own]') and last_request(page)['boxes']


def test_a_finger_moves_a_corner_once_a_box_is_asked_for(visit, address, photo):
    page = visit(address, width=390, has_touch=True)
    page.wait_for_selector('#samples button')
    choose(page, photo)
    settled(page)
    touches = page.context.new_cdp_session(page)

    def pull(selector, across, down):
        page.locator('.boxed').scroll_into_view_if_needed()
        place = page.locator(selector).bounding_box()
        x, y = place['x'] + place['width'] / 2, place['y'] + place['height'] / 2
        for kind, far in (('touchStart', 0), ('touchMove', 0.5), ('touchMove', 1), ('touchEnd', None)):
            points = [] if far is None else [dict(x=x + far * across, y=y + far * down)]
            touches.send('Input.dispatchTouchEvent', dict(type=kind, touchPoints=points))

    pull('.boxed', 30, 0)
    assert page.is_checked('[value=whole]')
    with page.expect_response('**/search'):
        page.check('[value=own]')
    before = last_request(page)['boxes'][0]
    with page.expect_response('**/search'):
        pull('.handle.nw', 25, 15)
    after = last_request(page)['boxes'][0]
    assert after[0] > before[0] and after[1] > before[1] and after[2:] == before[2:]


def test_several_photos_pasted_dropped_added_and_removed(visit, address, photo):
    page = visit(address)
    page.wait_for_selector('#samples button')
    give = """([kind, target, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], 'photo.png', { type: 'image/png' }));
        const event = kind === 'paste' ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
            : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
        document.querySelector(target).dispatchEvent(event);
    }"""
    for kind, target in (('paste', 'body'), ('drop', '#drop')):
        with page.expect_response('**/search'):
            page.evaluate(give, [kind, target, list(photo)])
        assert settled(page) and page.locator('.boxed').count() == 1
    choose(page, photo, photo, field='#add')
    assert page.locator('.boxed').count() == 3
    choose(page, *[photo] * 4, field='#add')
    assert page.locator('.boxed').count() == 5 and '5' in page.inner_text('#note')
    with page.expect_response('**/search'):
        page.locator('.of .remove').first.click()
    assert page.locator('.boxed').count() == 4
    page.click('#clear')
    assert page.is_visible('#start') and not page.locator('.boxed').count()


def test_filters_and_what_is_asked_for(visit, address, photo):
    page = visit(address)
    page.wait_for_selector('#samples button')
    choose(page, photo)
    page.click('#filter summary')
    page.click('#filter .more')
    value = page.locator('#filter .conditions input')
    page.wait_for_selector('#filter .conditions option[value=striped]', state='attached')
    with page.expect_response('**/search'):
        value.fill('striped')
    assert last_request(page)['where'] == ['"label"="striped"']
    page.wait_for_selector('#filter .says:has-text("4 of 8")')
    with page.expect_response('**/search'):
        value.fill('of, "none"')
    page.wait_for_selector('#status:has-text("No photo of the gallery passes")')
    assert not page.locator('#hits .hit').count() and page.is_hidden('#answer')
    with page.expect_response('**/search'):
        page.click('#status button')
    page.wait_for_selector('#hits .hit')
    page.click('#advanced summary')
    page.fill('#k', '3')
    page.select_option('#group-by', 'label')
    page.check('#exclude-same')
    while not last_request(page)['exclude_same']:  # asked when the fields have been left alone for a while
        page.wait_for_timeout(20)
    assert {'k': 3, 'group_by': 'label', 'exclude_same': True}.items() <= last_request(page).items()


def test_what_goes_wrong_is_told(visit, address, photo):
    page = visit(address)
    page.wait_for_selector('#samples button')
    choose(page, photo[:20])
    page.wait_for_selector('#problem:visible')
    assert page.inner_text('#problem p') and page.inner_text('.photo .wrong')
    choose(page, photo)
    page.wait_for_selector('#hits .hit')
    assert page.is_hidden('#problem')
    page.select_option('#language', 'de')
    page.wait_for_selector('text=Fotos auswählen')
    assert page.get_attribute('html', 'lang') == 'de' and page.locator('#hits .hit').count() == 8
    page.route('**/search', lambda route: route.abort('connectionrefused'))
    page.locator('#advanced summary').click()
    page.fill('#k', '4')
    page.wait_for_selector('#offline:visible')
    page.unroute('**/search')
    page.click('#retry')
    page.wait_for_selector('#hits .hit')
    assert page.is_hidden('#offline') and page.locator('#hits .hit').count() == 4


def test_a_token_is_asked_for_once(visit, served):
    address = served(TOKEN)
    page = visit(address)
    page.wait_for_selector('#login:visible')
    assert page.evaluate('document.activeElement.id') == 'token' and page.is_hidden('#content')
    is_accessible(page)
    page.fill('#token', 'another-token-entirely')
    page.keyboard.press('Enter')
    page.wait_for_selector('#token-wrong:not(:empty)')
    page.fill('#token', TOKEN)
    page.keyboard.press('Enter')
    page.wait_for_selector('#samples button')
    page.reload()
    page.wait_for_selector('#samples button')
    assert page.is_hidden('#login')
    announced = visit(f'{address}#token={TOKEN}')
    announced.wait_for_selector('#samples button')
    assert announced.url == address


def test_the_api_is_described(visit, address):
    page = visit(f'{address}docs', width=390)
    page.wait_for_selector('h2:has-text("POST /api/v1/search")')
    fits(page)
    is_accessible(page)


def test_pages_have_addresses_and_links(visit, address):
    page = visit(address)
    page.wait_for_selector('#samples button')
    assert page.locator('#pages [aria-current=page]').inner_text() == 'Search'
    page.click('#pages >> text=Browse')
    page.wait_for_selector('#page-browse h2')
    assert page.url == f'{address}#page=browse&gallery=fish' and page.is_hidden('#page-search')
    assert page.evaluate('document.activeElement.tagName') == 'H2' and page.title().startswith('Browse')
    page.go_back()
    page.wait_for_selector('#page-search:visible')
    assert page.is_hidden('#page-browse')
    # Without --writable there is nothing to review.
    assert page.locator('#pages a').evaluate_all('links => links.map((one) => one.textContent)').count('Review') == 0
    page.goto(f'{address}#page=review')
    page.wait_for_selector('#page-search:visible')
