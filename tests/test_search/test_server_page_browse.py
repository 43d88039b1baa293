"""The page Browse in a browser: classes, the grid of all photos, labels and taking them back."""

import json
from urllib.parse import quote

import pytest
from server_pages import fits, is_accessible, labels, send, serving_copy, write_colours

pytest.importorskip('fastapi', reason='needs the extra serve')

from glsim_mm.search.server.roles import Visitor

ROWS = 6_000


@pytest.fixture(scope='module')
def few(tmp_path_factory):
    return write_colours(tmp_path_factory.mktemp('few'))


@pytest.fixture(scope='module')
def many(tmp_path_factory):
    """A server of many rows that nobody changes."""
    folder = tmp_path_factory.mktemp('many')
    with serving_copy(write_colours(folder, ROWS), folder / 'served') as address:
        yield address


@pytest.fixture
def address(few, tmp_path):
    """A server of twelve rows that can be changed."""
    with serving_copy(few, tmp_path) as started:
        yield started


def photos(address, *conditions, sort=''):
    """The address of the photos that pass some conditions."""
    wanted = f'&filter={quote(json.dumps(conditions))}' if conditions else ''
    return f'{address}#page=browse&view=photos{wanted}{sort and f"&sort={sort}"}'


def names(page):
    """What the cards in sight say, in their order."""
    page.wait_for_selector('.grid:not(:has(.card.loading)) .card')
    return page.locator('.card').evaluate_all('cards => cards.map((one) => one.getAttribute("aria-label"))')


@pytest.mark.parametrize('width, theme, language', [(1280, 'dark', 'en'), (390, 'light', 'de')])
def test_classes_lead_to_their_photos(visit, address, width, theme, language):
    page = visit(f'{address}#page=browse', language, width, color_scheme=theme)
    page.wait_for_selector('.classes li')
    assert page.locator('.classes strong').all_text_contents() == ['blue', 'green', 'red']
    fits(page)
    is_accessible(page)
    page.fill('#find', 'RE')
    assert page.locator('.classes strong').all_text_contents() == ['red', 'green']  # where it begins comes first
    page.click('.classes [data-label=red]')
    assert len(names(page)) == 4 and all('red' in one for one in names(page))
    page.wait_for_selector('.card img[src]')
    page.wait_for_selector('.about-class h3:has-text("red")')
    assert 1 <= page.locator('.prototypes img').count() <= 4
    page.click('.about-class summary')
    page.wait_for_selector('.near a:has-text("blue")')
    fits(page)
    is_accessible(page)
    page.go_back()
    page.wait_for_selector('.classes li')
    assert page.input_value('#find') == 'RE'


def test_a_grid_of_many_rows_holds_those_in_sight_alone(visit, many):
    page = visit(photos(many))
    assert len(names(page)) < 100
    whole = page.evaluate('document.documentElement.scrollHeight')
    asked = []
    page.on('request', lambda one: 'rows?' in one.url and asked.append(one.url))
    page.evaluate('scrollTo(0, document.documentElement.scrollHeight / 2)')
    page.wait_for_selector(f'[data-place="{ROWS // 2}"][aria-label]')
    middle = names(page)
    assert len(middle) < 100 and any(f' {number}:' in middle[20] for number in range(2700, 3300))
    assert len(asked) <= 3  # and not a hundred pages
    assert page.evaluate('document.documentElement.scrollHeight') == whole
    grid = page.locator('.grid')
    grid.focus()
    grid.press('End')
    page.wait_for_selector(f'#card-{ROWS - 1}.active[aria-label]')
    assert grid.get_attribute('aria-activedescendant') == f'card-{ROWS - 1}'
    grid.press('Home')
    page.wait_for_selector('#card-0.active[aria-label]')
    for key, place in (('ArrowRight', 1), ('PageDown', None), ('PageUp', 1), ('ArrowLeft', 0), ('ArrowUp', 0)):
        grid.press(key)
        assert place is None or page.locator(f'#card-{place}.active').count() == 1
    page.locator('#card-2').click()
    page.locator('#card-9').click(modifiers=['Shift'])
    page.wait_for_selector('.actions p:has-text("8 chosen")')
    page.locator('#card-4').click(modifiers=['Shift'])
    page.wait_for_selector('.actions p:has-text("3 chosen")')
    grid.press('Control+a')
    page.wait_for_selector('.actions p:has-text("6,000 chosen")')
    grid.press('Escape')
    for key in (' ', 'Shift+ArrowRight', 'Shift+ArrowRight', 'Shift+ArrowLeft'):
        grid.press(key)
    page.wait_for_selector('.actions p:has-text("2 chosen")')


def test_filter_and_order_are_in_the_address(visit, many):
    page = visit(photos(many, sort='-number'))
    assert str(ROWS - 1) in names(page)[0]
    page.click('#browse-filter summary')
    page.click('#browse-filter .more')
    page.locator('#browse-filter .conditions input').fill('green')
    page.wait_for_url('**filter=**')
    page.wait_for_selector('.actions p:has-text("2,000")')
    assert all('green' in one for one in names(page)) and 'sort=-number' in page.url
    page.locator('#browse-filter .conditions input').fill('violet')
    page.wait_for_selector('.empty button')
    assert not page.locator('.card').count()
    page.click('.empty button')
    page.wait_for_selector('.actions p:has-text("6,000")')
    again = visit(photos(many, ['label', 'is', 'blue'], ['number', 'less', '50']))
    assert all('blue' in one for one in names(again)) and '(2' in again.inner_text('#browse-filter summary')


def test_many_are_labelled_and_it_is_undone(visit, address):
    page = visit(photos(address))
    before = labels(address)
    names(page)
    page.locator('#card-0').click()
    page.locator('#card-2').click(modifiers=['Shift'])
    field = page.locator('.class-field input')
    field.fill('re')
    assert page.locator('.suggested li').all_inner_texts()[0].startswith('red')
    field.press('Enter')
    page.wait_for_selector('#changed:has-text("red")')
    changed = dict.fromkeys(list(before)[:3], 'red')
    assert labels(address) == before | changed
    assert page.evaluate('document.activeElement.className').startswith('grid')
    is_accessible(page)
    page.locator('#card-5').click()
    field.fill('Wren')
    page.wait_for_selector('.suggested li:has-text("Wren")')
    field.press('Enter')
    page.wait_for_selector('#changed:has-text("Wren")')
    page.wait_for_selector('#card-5:has-text("Wren")')
    page.locator('#card-6').click()
    page.click('.actions button:has-text("Unknown")')
    page.wait_for_selector('#card-6 .label.muted')
    numbers = list(before)
    assert labels(address) == before | changed | {numbers[5]: 'Wren', numbers[6]: None}
    for expected in (before | changed | {numbers[5]: 'Wren'}, before | changed, before):
        with page.expect_response('**/undo/*'):
            page.locator('.actions button:has-text("Undo")').click()
        page.wait_for_selector('#changed:has-text("Undone")')
        assert labels(address) == expected
        page.wait_for_timeout(100)
    assert page.is_hidden('.actions button:has-text("Undo")')


def test_all_of_a_filter_are_labelled(visit, address):
    page = visit(photos(address, ['label', 'is', 'green']))
    names(page)
    page.click('.actions button:has-text("Choose all")')
    page.fill('.class-field input', 'blue')
    page.press('.class-field input', 'Enter')
    page.wait_for_selector('.empty:visible')
    assert 'green' not in labels(address).values()


def test_what_somebody_else_has_changed_is_not_overwritten(visit, address):
    page = visit(photos(address))
    names(page)
    send(address, 'rows:label', ids=[3], label='Robin')
    page.locator('#card-3').click()
    page.fill('.class-field input', 'green')
    page.press('.class-field input', 'Enter')
    page.wait_for_selector('#trouble:has-text("meanwhile")')
    page.wait_for_selector('#card-3:has-text("Robin")')
    assert labels(address)[3] == 'Robin'
    page.fill('.class-field input', 'green')  # the row is chosen still
    page.press('.class-field input', 'Enter')
    page.wait_for_selector('#card-3:has-text("green")')
    assert page.is_hidden('#trouble')


def test_a_photo_opens_and_leads_to_a_search(visit, address):
    page = visit(photos(address), width=390)
    names(page)
    page.locator('.grid').focus()
    page.keyboard.press('Enter')
    page.wait_for_selector('dialog.look[open]')
    fits(page)
    is_accessible(page)
    first = page.inner_text('.look dl')
    page.keyboard.press('ArrowRight')
    assert page.inner_text('.look dl') != first
    page.keyboard.press('Escape')
    page.wait_for_selector('dialog.look', state='detached')  # which is told that it was closed a moment later
    assert page.locator('.card.active').get_attribute('id') == 'card-1'
    page.locator('#card-4').dblclick()
    page.click('.look .main')
    page.wait_for_selector('#hits .hit')
    assert 'id=4' in page.url and not page.locator('dialog.look').count()


def test_a_server_that_is_gone_is_told(visit, many):
    page = visit(photos(many))
    names(page)
    page.route('**/api/v1/**', lambda route: route.abort('connectionrefused'))
    page.evaluate('scrollTo(0, document.documentElement.scrollHeight / 3)')
    page.wait_for_selector('#offline:visible')
    page.unroute('**/api/v1/**')
    page.click('#retry')
    page.wait_for_selector(f'.grid:not(:has(.card.loading)) [data-place="{ROWS // 3}"]')
    assert page.is_hidden('#offline')


@pytest.mark.parametrize('role', ['', 'read', 'label'])
def test_pages_offer_what_the_role_may_do(visit, few, tmp_path, role):
    token = f'a-token-of-the-role-{role}'
    settings = dict(tokens={token: Visitor(role)}) if role else dict(writable=False)
    with serving_copy(few, tmp_path, **settings) as address:
        page = visit(f'{address}#page=browse&view=photos&token={token}')
        names(page)
        page.locator('#card-0').click()
        page.wait_for_selector('.actions button:has-text("Look at it")')
        may_write = role == 'label'
        assert page.locator('.class-field').count() == page.locator('text=Unknown').count() == may_write
        assert ('Review' in page.inner_text('#pages')) == may_write
        page.goto(f'{address}#page=review')
        page.wait_for_selector('#page-review:visible' if may_write else '#page-search:visible')
