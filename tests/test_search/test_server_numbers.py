"""Ids of 63 bits reach browsers and programs digit by digit."""

import json
from urllib.request import urlopen

import pytest
from mean_encoder import MeanEncoder
from server_pages import serving_copy, write_colours

pytest.importorskip('fastapi', reason='needs the extra serve')

from glsim_mm.search import RemoteSearch
from glsim_mm.search.server import schemas
from glsim_mm.search.server.numbers import EXACT, write_json
from retrieval.gallery import create_gallery, open_gallery

FIRST = 2**63 - 20
"""Above all that floats hold: each of these ids is rounded to the same float as its neighbours."""


@pytest.fixture
def address(tmp_path):
    small = write_colours(tmp_path / 'small')
    with (
        open_gallery(small) as gallery,
        create_gallery(tmp_path / 'large', MeanEncoder().dimensions, fingerprint=MeanEncoder().fingerprint) as copy,
    ):
        ids = gallery.ids()
        copy.set_origin(gallery.manifest.origin)
        copy.add({'global': gallery.vectors(ids)}, gallery.records(ids), ids=FIRST + ids)
        copy.set_values([FIRST], {'seed': EXACT + 2})
    with serving_copy(tmp_path / 'large', tmp_path / 'served') as started:
        yield started


@pytest.mark.parametrize('number', [0, EXACT, EXACT + 1, 2**63 - 1, -EXACT - 1])
def test_numbers_that_floats_hold_stay_numbers(number):
    content = {'a': [number, (number, {'b': number})], 'text': '1234567890123456789', 'share': 1 / 3, 'known': True}
    expected = str(number) if abs(number) > EXACT else number
    assert json.loads(write_json(content)) == content | {'a': [expected, [expected, {'b': expected}]]}


def test_programs_get_and_send_them(address):
    with urlopen(f'{address}api/v1/rows?limit=2') as answer:
        told = json.load(answer)['rows']
    assert [row['id'] for row in told] == [str(FIRST), str(FIRST + 1)] and schemas.Row(**told[1]).id == FIRST + 1
    with RemoteSearch(address) as search:
        rows = list(search.rows())
        assert [row.id for row in rows] == [FIRST + n for n in range(12)]
        assert rows[0].metadata['seed'] == EXACT + 2
        (found,) = search.similar([FIRST + 3], 2)
        assert found.query.id == FIRST + 3 and all(hit.record.id - FIRST in range(12) for hit in found.hits)
        assert search.photo(FIRST + 3) is not None
        assert search.remove([FIRST + 5]) == 1 and len(search) == 11
        assert FIRST + 5 not in [row.id for row in search.rows()]


def test_pages_get_and_send_them(visit, address):
    page = visit(f'{address}#id={FIRST + 3}')
    page.wait_for_selector('#hits .hit')
    shown = page.locator('#hits .hit').evaluate_all('(all) => all.map((one) => one.dataset.row)')
    assert len(set(shown)) == 11 and {int(one) - FIRST for one in shown} == {*range(12)} - {3}
    page.goto(f'{address}#page=browse&view=photos')
    page.wait_for_selector('.grid:not(:has(.card.loading)) .card')
    page.locator('#card-1').click()
    page.locator('#card-2').click(modifiers=['Control'])
    page.fill('.class-field input', 'Wren')
    page.locator('.class-field input').press('Enter')
    page.wait_for_selector('#changed:has-text("Wren")')
    with urlopen(f'{address}api/v1/rows?where=label=Wren') as answer:
        labelled = [int(row['id']) - FIRST for row in json.load(answer)['rows']]
    assert labelled and set(labelled) <= {1, 2}
