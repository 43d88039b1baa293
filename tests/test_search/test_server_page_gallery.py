"""The pages Duplicates, Gallery and Compare models in a browser."""

import csv
import json
import shutil
from urllib.request import urlopen

import numpy as np
import pytest
from mean_encoder import MeanEncoder
from PIL import Image
from server_pages import fits, is_accessible, send, serving, serving_copy, write_colours

from glsim_mm.search import ImageSearch
from retrieval.gallery import open_gallery

pytest.importorskip('fastapi', reason='needs the extra serve')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return write_colours(tmp_path_factory.mktemp('made'))


@pytest.fixture
def gallery(made, tmp_path):
    """A gallery with photos of its own, since some are added to it."""
    shutil.copytree(made.parent, tmp_path / 'own')
    with open_gallery(tmp_path / 'own' / made.name, writable=True) as opened:
        opened.set_origin({'root': str(tmp_path / 'own' / 'photos')})
    return tmp_path / 'own' / made.name


@pytest.fixture
def address(gallery, tmp_path):
    (tmp_path / 'served').mkdir()
    with serving_copy(gallery, tmp_path / 'served') as started:
        yield started


def rows(address):
    with urlopen(f'{address}api/v1/rows?limit=200') as answer:
        return json.load(answer)['rows']


def look_for_duplicates(page):
    page.wait_for_selector('#page-duplicates [role=status]:has-text("Nobody has looked")')
    page.click('text=Look for duplicates')
    page.wait_for_selector('.group')


def test_of_duplicates_some_are_removed_kept_or_told_apart(visit, address):
    page = visit(f'{address}#page=duplicates')
    look_for_duplicates(page)
    assert page.locator('.progress .job[data-state=done]').count() == 1
    count = page.locator('.group').count()
    assert count >= 3
    fits(page)
    is_accessible(page)
    before = rows(address)
    group = page.locator('.group').first
    boxes = group.locator('input[type=checkbox]')
    assert [boxes.nth(place).is_checked() for place in range(2)] == [True, False]
    boxes.first.uncheck()
    assert group.locator('[data-action=remove]').is_disabled()  # nothing would be left
    boxes.first.check()
    kept = group.inner_text().split('keep row ')[1].split()[0]
    group.locator('[data-action=remove]').click()
    page.wait_for_selector('#changed:has-text("Rows removed: ")')
    after = rows(address)
    assert len(after) < len(before) and int(kept) in [row['id'] for row in after]
    assert page.locator('.group').count() == count - 1
    page.wait_for_selector(f'#served:has-text("{len(after)} ")')
    page.click('#changed button:has-text("Undo")')
    page.wait_for_selector(f'#served:has-text("{len(before)} ")')
    page.wait_for_function(f'document.querySelectorAll(".group").length === {count}')
    assert rows(address) == before
    page.locator('.group').first.locator('[data-action=remove]').click()
    page.wait_for_selector('#changed:has-text("Rows removed: ")')
    page.locator('.group').first.locator('[data-action=distinct]').click()
    page.wait_for_selector('#changed:has-text("not be shown as duplicates")')
    page.locator('.group').first.locator('[data-action=keep]').click()
    page.wait_for_selector('#changed:has-text("kept as it is")')
    page.reload()
    page.wait_for_selector('#page-duplicates [role=status]:has-text("decide")')
    assert page.locator('.group').count() == count - 3


def test_photos_are_added_and_those_that_cannot_be_used_are_told(visit, address, tmp_path):
    page = visit(f'{address}#page=gallery')
    page.wait_for_selector('[data-fact=classes]:has-text("3")')
    before = rows(address)
    photo = tmp_path / 'violet.png'
    Image.fromarray(np.full((40, 40, 3), (150, 40, 200), np.uint8)).save(photo)
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(b'no photo')
    page.fill('#add-label', 'violet')
    page.set_input_files('#add-photos', [photo, broken])
    page.wait_for_selector('.progress .job[data-state=done]')
    assert '1 photo was added' in page.inner_text('.progress .job-text')
    assert 'broken.jpg' in page.inner_text('.progress details')
    after = rows(address)
    assert len(after) == len(before) + 1 and after[-1]['label'] == 'violet'
    assert after[-1]['path'].startswith('added-by-glsim/') and after[-1]['has_photo']
    page.reload()
    page.wait_for_selector('[data-fact=classes]:has-text("4")')
    assert 'Adding photos' in page.inner_text('[data-part=jobs]')
    is_accessible(page)


@pytest.mark.parametrize('width, theme, language', [(1280, 'light', 'en'), (390, 'dark', 'de')])
def test_a_gallery_is_measured_and_taken_out(visit, address, width, theme, language):
    page = visit(f'{address}#page=gallery', language, width, color_scheme=theme)
    page.wait_for_selector('[data-fact=classes]:has-text("3")')
    page.click('[data-job=evaluate]')
    page.wait_for_selector('.words:not([hidden])')
    assert 'recall@1' in page.inner_text('.words').lower()
    fits(page)
    is_accessible(page)
    page.fill('#export-label', 'red')
    with page.expect_download() as started:
        page.click('[data-part=export] button')
    with open(started.value.path(), encoding='utf-8-sig', newline='') as opened:
        found = list(csv.DictReader(opened))
    assert len(found) == 4 and {row['label'] for row in found} == {'red'}


def test_changes_are_taken_back(visit, address):
    page = visit(f'{address}#page=browse&view=photos')
    page.wait_for_selector('.grid:not(:has(.card.loading)) .card')
    page.locator('#card-0').click()
    page.fill('.class-field input', 'Wren')
    page.locator('.class-field input').press('Enter')
    page.wait_for_selector('#changed:has-text("Wren")')
    before = rows(address)
    job = send(address, 'jobs/remove', ids=[3, 4])
    page.goto(f'{address}#page=gallery')
    page.wait_for_selector(f'[data-part=jobs]:has-text("{job["message"] or "2 rows removed"}")')
    page.reload()
    page.click('[data-part=changes] li:has-text("2 rows removed") button')
    page.wait_for_selector('[data-part=changes] li:has-text("2 rows brought back")')
    assert rows(address) == before
    page.click('[data-part=changes] li:has-text("Wren") button')  # any change, not only the last
    page.wait_for_selector('#changed:has-text("label: Wren")')
    assert 'Wren' not in [row['label'] for row in rows(address)]


def test_who_may_only_read_sees_no_buttons_that_write(visit, gallery, tmp_path):
    (tmp_path / 'served').mkdir()
    with serving_copy(gallery, tmp_path / 'served', writable=False) as address:
        page = visit(f'{address}#page=gallery')
        page.wait_for_selector('[data-fact=classes]:has-text("3")')
        assert not page.locator('[data-part=add], [data-part=measure]').count()
        page.goto(f'{address}#page=duplicates')
        page.wait_for_selector('#page-search:not([hidden])')


@pytest.mark.parametrize('width, theme, language', [(1280, 'dark', 'en'), (390, 'light', 'de')])
def test_two_galleries_are_asked_the_same(visit, made, tmp_path, width, theme, language):
    from glsim_mm.search.server.galleries import ServedGallery

    encoder = MeanEncoder()
    with (
        ImageSearch(open_gallery(made), encoder) as first,
        ImageSearch(open_gallery(write_colours(tmp_path, 6)), encoder) as second,
        serving([ServedGallery('large', first), ServedGallery('small', second)], tmp_path) as address,
    ):
        page = visit(f'{address}#page=models&gallery=large&id=0', language, width, color_scheme=theme)
        page.wait_for_selector('.versus section:nth-child(2) .hit')
        sides = page.locator('.versus section')
        assert sides.nth(0).locator('h3').inner_text().startswith('large')
        assert sides.nth(1).locator('.hit').count() == 6 and sides.nth(0).locator('li.right').count()
        fits(page)
        is_accessible(page)
        page.set_input_files('#models-photo', made.parent / 'photos' / 'red' / '0.png')
        page.wait_for_selector('.asked img[src^="blob:"]')
        page.wait_for_selector('.versus:not([aria-busy]) .hit')
        assert 'id=' not in page.url and 'red' in sides.nth(1).locator('.hit').first.inner_text().lower()
        page.select_option('#side-1', index=0)  # the same gallery on both sides
        page.wait_for_selector('.versus section:nth-child(2) h3:has-text("large")')
        assert page.locator('.versus li.other').count() == 0
