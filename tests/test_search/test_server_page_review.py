"""The page Review in a browser, and the question for the same class in the comparison of Search."""

import json
from urllib.request import urlopen

import pytest
from server_pages import fits, is_accessible, labels, send, serving_copy, write_colours

from retrieval.gallery import open_gallery
from retrieval.recognition import store_settings, tune

pytest.importorskip('fastapi', reason='needs the extra serve')


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """Eighteen rows, six of each colour, of which four have no label and row 4, which is red, a wrong one.

    The first photos of blue are rows 0, 1, 6 and 7. Fewer rows would not be enough for an audit to doubt a label.
    """
    location = write_colours(tmp_path_factory.mktemp('review'), 18)
    with open_gallery(location, writable=True) as gallery:
        gallery.set_labels([0, 6, 7, 8], None)
        gallery.set_labels([4], 'green')
    return location


@pytest.fixture
def address(built, tmp_path):
    with serving_copy(built, tmp_path) as started:
        yield started


def decided(page, *keys):
    """Press keys of which the last decides, and wait until the next photo is there."""
    before = page.locator('.review .frame').first.element_handle()
    with page.expect_response(lambda one: '/review/' in one.url and one.ok):
        for key in keys:
            page.keyboard.press(key)
    before.wait_for_element_state('hidden')


def left(page):
    return page.inner_text('#page-review .head [role=status]')


@pytest.mark.parametrize('width, theme, language', [(1280, 'light', 'en'), (390, 'dark', 'de')])
def test_what_waits_is_shown(visit, address, width, theme, language):
    page = visit(f'{address}#page=review&kind=unknown', language, width, color_scheme=theme)
    page.wait_for_selector('.suggestion img[src]')
    assert '4' in left(page) and page.locator('.suggestion').first.inner_text().split('\n')[:2] == ['1', 'blue']
    page.keyboard.press('m')
    page.wait_for_selector('.tiles [type=checkbox]')
    fits(page)
    is_accessible(page)
    page.click('.views a >> nth=2')
    page.wait_for_selector('.empty')
    fits(page)
    is_accessible(page)


def test_keys_decide(visit, address):
    page = visit(f'{address}#page=review&kind=unknown')
    page.wait_for_selector('.suggestion')
    before = labels(address)
    decided(page, '1')
    assert labels(address) == before | {0: 'blue'} and left(page) == '3 left'
    page.keyboard.press('/')
    page.keyboard.type('sus')  # no keys of the page while somebody types
    page.wait_for_selector('.suggested li:has-text("New class")')
    decided(page, 'Enter')
    assert labels(address) == before | {0: 'blue', 6: 'sus'}
    page.keyboard.press('s')
    page.wait_for_selector('.review img[alt^="Row 8"]')
    decided(page, 'u')
    page.wait_for_selector('.empty')
    assert labels(address) == before | {0: 'blue', 6: 'sus'} and left(page) == '1 left'
    for expected, row in ((before | {0: 'blue', 6: 'sus'}, 8), (before | {0: 'blue'}, 6), (before, 0)):
        with page.expect_response(lambda one: '/undo/' in one.url and one.ok):
            page.keyboard.press('z')
        page.wait_for_selector(f'.review img[alt^="Row {row}"]')
        assert labels(address) == expected
    assert left(page) == '4 left'
    for _ in range(3):
        decided(page, 'u')
    page.click('.empty button')
    page.wait_for_selector('.review img[alt^="Row 7"]')


def test_similar_ones_get_the_class_too(visit, address):
    page = visit(f'{address}#page=review&kind=unknown')
    page.wait_for_selector('.suggestion')
    before = labels(address)
    page.keyboard.press('m')
    page.wait_for_selector('.tiles [type=checkbox]')
    proposed = page.locator('.tiles :checked').evaluate_all('boxes => boxes.map((one) => Number(one.value))')
    assert sorted(proposed) == [6, 7, 8]  # those without a label alone
    page.uncheck('.tiles [value="8"]')
    page.check('.tiles [value="4"]')
    decided(page, '1')
    assert labels(address) == before | dict.fromkeys((0, 4, 6, 7), 'blue')
    assert '4 photos' in page.inner_text('#changed') and page.locator('.review img[alt^="Row 8"]').count() == 1
    page.click('#changed button')
    page.wait_for_selector('.review img[alt^="Row 0"]')
    assert labels(address) == before


def test_suspects_come_from_the_audit(visit, address):
    page = visit(f'{address}#page=review')
    page.wait_for_selector('.empty a')
    job = send(address, 'jobs/audit')
    with urlopen(f'{address}api/v1/jobs/{job["id"]}/events') as events:
        assert '1 of 14 labels are doubtful' in events.read().decode()
    page.reload()
    page.wait_for_selector('.review img[alt^="Row 4: green"]')
    assert 'green' in page.inner_text('.word')
    # Somebody else labels another row meanwhile: what is decided about this one holds.
    send(address, 'rows:label', ids=[1], label='Robin')
    decided(page, '1')
    assert labels(address)[4] == 'red' and page.is_hidden('#trouble')


def test_a_row_that_somebody_else_has_labelled_is_not_overwritten(visit, address):
    page = visit(f'{address}#page=review&kind=unknown')
    page.wait_for_selector('.suggestion')
    send(address, 'rows:label', ids=[0], label='Robin')
    page.keyboard.press('1')
    page.wait_for_selector('#trouble:has-text("meanwhile")')
    page.wait_for_selector('.review img[alt^="Row 6"]')
    assert labels(address)[0] == 'Robin' and left(page) == '3 left'


# -- the same class? -------------------------------------------------------------------------------------------------


def compare(page, row):
    page.locator(f'#hits [data-row="{row}"]').click()
    page.wait_for_selector('#compare[open]')


def test_same_class_labels_what_has_no_label(visit, address):
    page = visit(f'{address}#id=1')
    page.wait_for_selector('#hits .hit')
    compare(page, 0)
    is_accessible(page)
    with page.expect_response('**/rows:label*'):
        page.keyboard.press('y')
    page.wait_for_selector('#same-says:has-text("blue")')
    assert labels(address)[0] == 'blue' and 'blue' in page.inner_text('#metadata')
    page.keyboard.press('Escape')
    card = page.locator('#hits [data-row="0"]')
    assert 'Same class' in card.inner_text() and 'blue' in card.inner_text()
    page.click('#changed button')
    page.wait_for_selector('#hits [data-row="0"]:has-text("Without a class")')
    assert labels(address)[0] is None


def test_different_labels_are_never_overwritten_unasked(visit, address):
    page = visit(f'{address}#id=5')
    page.wait_for_selector('#hits .hit')
    before = labels(address)
    compare(page, 4)
    page.click('#same-yes')
    assert page.locator('#same-more button').all_inner_texts() == ['red', 'green'] and labels(address) == before
    page.click('#same-more button >> nth=0')
    page.wait_for_selector('#same-says:has-text("now red")')
    assert labels(address) == before | {4: 'red'}
    page.keyboard.press('n')  # now both are labelled so: which of them is wrong?
    assert page.locator('#same-more input').count() == 2
    page.locator('#same-more input').nth(1).fill('blue')
    with page.expect_response('**/rows:label*'):
        page.locator('#same-more input').nth(1).press('Enter')
    page.wait_for_selector('#same-says:has-text("now blue")')
    assert labels(address) == before | {4: 'blue'}
    page.keyboard.press('n')
    page.wait_for_selector('#same-says:has-text("labels say so")')


def test_of_a_photo_it_is_noted_alone(visit, address, built):
    page = visit(address)
    page.wait_for_selector('#samples button')
    page.set_input_files('#choose', built.parent / 'photos' / 'red' / '0.png')
    page.wait_for_selector('#hits .hit')
    before = labels(address)
    page.locator('#hits .hit').first.click()
    page.click('#same-yes')
    page.click('#compare-next')
    assert page.get_attribute('#same-yes', 'aria-pressed') == 'false' and not page.inner_text('#same-says')
    page.click('#same-no')
    assert '1 of its class, 1 of another' in page.inner_text('#same-says') and labels(address) == before
    page.keyboard.press('Escape')
    assert page.locator('.said').all_inner_texts() == ['Same class', 'Another class']
    page.click('[value=grouped]')
    assert page.locator('.said').count() == 2
    page.set_input_files('#choose', built.parent / 'photos' / 'blue' / '0.png')
    page.wait_for_selector('#hits .hit:not(:has(.said))')
    page.locator('#hits .hit').first.click()
    assert page.get_attribute('#same-yes', 'aria-pressed') == 'false'


def test_a_tuned_gallery_says_how_sure_it_is(visit, built, tmp_path):
    location = write_colours(tmp_path, 90)
    with open_gallery(location, writable=True) as gallery:
        store_settings(gallery, tune(gallery))
    (tmp_path / 'served').mkdir()
    with serving_copy(location, tmp_path / 'served') as address:
        page = visit(f'{address}#id=1')
        with page.expect_response('**/search') as asked:
            page.reload()
        told = json.loads(asked.value.text())['answer']
        page.wait_for_selector('#answer p:has-text("P = ")')
        said = page.inner_text('#answer')
        assert told['decision'] and f'P = {told["probability"]:.0%}' in said
        assert told['sentence'][:20].lower() in said.lower()


def test_addresses_are_asked_for_where_the_server_reads_them(visit, built, tmp_path):
    with serving_copy(built, tmp_path, allow_urls=('localhost',)) as address:
        page = visit(address)
        page.wait_for_selector('#words:visible')
        assert 'localhost' in page.inner_text('#words label')
        page.fill('#text', 'https://localhost/bird.jpg')
        with page.expect_request('**/search') as asked:
            page.click('#words button')
        assert asked.value.post_data_json['url'] == 'https://localhost/bird.jpg'
        page.wait_for_selector('#problem p:not(:empty)')  # addresses of this machine are refused
        assert 'bird.jpg' in page.inner_text('#photos')
