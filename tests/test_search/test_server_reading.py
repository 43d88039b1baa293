"""``glsim serve`` tells of many rows and of classes: pages stay whole, and what is slow is done once for each state."""

import threading
from collections import Counter

import numpy as np
import pytest
from mean_encoder import MeanEncoder

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from served_birds import API, BIRDS, build_birds, refused, serve_birds

from glsim_mm.search.server import answering, schemas
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.gallery.folder_reader import FolderReader
from retrieval.recognition import class_guide, left_out, prototypes

ROWS, YEARS = 100_000, 37


@pytest.fixture(scope='module')
def many(tmp_path_factory):
    """A gallery of 100,000 rows, some of which have a year."""
    location = tmp_path_factory.mktemp('many') / 'gallery'
    rng = np.random.default_rng(0)
    years = rng.integers(0, YEARS + 5, ROWS).tolist()
    records = [
        Record(f'{number % 500}/{number}.jpg', metadata={'year': 1990 + year} if year < YEARS else {'kind': 'x'})
        for number, year in enumerate(years)
    ]
    with create_gallery(location, {'global': 48}, preset='flat', fingerprint=MeanEncoder().fingerprint) as gallery:
        gallery.add({'global': rng.standard_normal((ROWS, 48), dtype=np.float32)}, records)
    return location


@pytest.fixture(scope='module')
def birds(tmp_path_factory):
    return build_birds(tmp_path_factory.mktemp('birds') / 'birds', 6)


@pytest.fixture(scope='module')
def client(birds):
    with serve_birds(birds) as opened:
        yield opened


def test_pages_of_100_000_rows(many, monkeypatch):
    read = []
    column = FolderReader.column
    monkeypatch.setattr(FolderReader, 'column', lambda *args: read.append(args[1:]) or column(*args))
    with serve_birds(many, burst=1e6, rate=1e6) as client:

        def pages(limit=200, most=10**9, cursor=None, **asked):
            while most and (most := most - 1) >= 0:
                params = dict(limit=limit, **asked) | ({'cursor': cursor} if cursor else {})
                page = client.get(f'{API}/rows', params=params).json()
                assert page['total'] == (ROWS if 'where' not in asked else page['total'])
                yield page['rows']
                cursor = page['next']
                if cursor is None:
                    return

        rows = [row for page in pages(sort='-year', most=20) for row in page]
        assert len({row['id'] for row in rows}) == len(rows) == 20 * 200
        years = [row['metadata'].get('year') for row in rows]
        assert years == sorted(years, reverse=True)
        kinds = ['kind=x', 'id<9000']
        rows = [row for page in pages(sort='-year', where=kinds) for row in page]
        with open_gallery(many) as gallery:
            assert [row['id'] for row in rows] == gallery.ids({'kind': 'x', 'id': ('<', 9_000)}).tolist()
        assert [name for name, _ in read] == ['year', 'year'], 'the order of all rows is made once for all pages'


def test_pages_stay_whole_while_rows_come_and_go(tmp_path):
    location = build_birds(tmp_path / 'birds', 4)
    with serve_birds(location) as client:
        first = client.get(f'{API}/rows', params=dict(limit=5, sort='label')).json()
        with open_gallery(location, writable=True) as writer:
            writer.remove([first['rows'][2]['id'], first['rows'][4]['id']])
            writer.set_labels([11], '000.New')
        client.app.state.service.gallery(None)._next_look = 0.0
        second = client.get(f'{API}/rows', params=dict(limit=50, sort='label', cursor=first['next'])).json()
        assert second['generation'] > first['generation'] and second['total'] == 10
        seen = Counter(row['id'] for page in (first, second) for row in page['rows'])
        assert set(seen) == set(range(12)) - {11} and max(seen.values()) == 1  # 11 is before the first page now


def test_classes_and_their_prototypes(client, birds):
    with open_gallery(birds) as gallery:
        typical, guide = prototypes(gallery), class_guide(gallery)
    plain = [schemas.ClassCount(**one) for one in client.get(f'{API}/classes').json()]
    assert [one.label for one in plain] == list(BIRDS) and plain[0].name == 'Blue Jay'
    assert {one.prototype for one in plain} == {None} and {one.count for one in plain} == {6}
    found = client.get(f'{API}/classes', params=dict(prototypes=True)).json()
    assert {one['label']: [one['prototype']] for one in found} == typical
    few = client.get(f'{API}/classes', params=dict(prototypes=True, where='id<3')).json()
    assert [one['count'] for one in few] == [3] and few[0]['prototype'] < 3
    for label, entry in guide.items():
        shown = schemas.ClassDetails(**client.get(f'{API}/classes/{label}').json())
        assert [row.id for row in shown.prototypes] == entry.prototypes and shown.count == 6
        assert [one.label for one in shown.nearest] == [one.label for one in entry.nearest]
        assert [tuple(row.id for row in one.pair) for one in shown.nearest] == [one.pair for one in entry.nearest]
        assert shown.nearest[0].confused == entry.nearest[0].confused
    refused(client.get(f'{API}/classes/none'), 404, 'no-such-class')


def test_one_class_costs_one_class_and_is_kept(birds, monkeypatch):
    compared, parts = [], left_out._answers_in_parts

    def count(evidence, rows, queries, searched, shrinkages):
        compared.append(len(queries))
        return parts(evidence, rows, queries, searched, shrinkages)

    monkeypatch.setattr(left_out, '_answers_in_parts', count)
    with serve_birds(birds) as client:
        first = client.get(f'{API}/classes/002.Wren').json()
        assert sum(compared) == first['count'] == 6
        assert client.get(f'{API}/classes/002.Wren').json() == first and sum(compared) == 6
        client.get(f'{API}/classes/001.Blue_Jay')
        assert sum(compared) == 12


def test_a_label_may_be_a_path(tmp_path):
    location = build_birds(tmp_path / 'birds', 2)
    with open_gallery(location, writable=True) as gallery:
        gallery.set_labels([0, 1], 'birds/small & quick?')
        gallery.set_labels([5], None)
    with serve_birds(location) as client:
        assert client.get(f'{API}/classes/birds/small %26 quick%3F').json()['count'] == 2
        assert client.get(f'{API}/classes').json()[-1] == dict(label=None, name=None, count=1, prototype=None)
        with open_gallery(location, writable=True) as gallery:
            gallery.set_labels(gallery.ids(), None)
        client.app.state.service.gallery(None)._next_look = 0.0
        assert len(client.get(f'{API}/classes', params=dict(prototypes=True)).json()) == 1


def test_rows_that_are_similar_to_one(client, birds):
    found = schemas.SimilarRows(**client.get(f'{API}/rows/2/similar', params=dict(limit=7)).json())
    with open_gallery(birds) as gallery:
        hits = gallery.search(gallery.vectors([2]), 7, exclude=[[2]], transformed=True)
    assert [row.id for row in found.rows] == hits.ids[0].tolist() and [row.rank for row in found.rows] == [*range(1, 8)]
    few = client.get(f'{API}/rows/2/similar', params=dict(where='label=002.Wren')).json()['rows']
    assert {row['label'] for row in few} == {'002.Wren'}
    refused(client.get(f'{API}/rows/99/similar'), 404, 'no-such-row')


def test_a_long_look_holds_nobody_up(birds, monkeypatch):
    looked, go_on = [], threading.Event()

    def look(gallery, labels, **options):
        looked.append(1)
        assert go_on.wait(60)
        return class_guide(gallery, labels, **options)

    monkeypatch.setattr(answering, 'class_guide', look)
    with serve_birds(birds, seconds=0.2) as client:
        for _ in range(6):  # more than there are threads
            response = client.get(f'{API}/classes/002.Wren')
            refused(response, 503, 'busy')
            assert response.headers['retry-after']
        assert client.get(f'{API}/rows').status_code == client.get(f'{API}/photos/1').status_code == 200
        go_on.set()
        client.app.state.service.settings.__dict__['seconds'] = 60.0
        assert client.get(f'{API}/classes/002.Wren').status_code == 200 and looked == [1]
