"""The API of ``glsim serve`` in this process: answers, limits, and what is refused."""

import asyncio
import io
import re
import shutil
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from image_files import encode, photo_with_exif
from PIL import Image

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from httpx2 import ASGITransport, AsyncClient
from served_birds import API, ask, client_of, refused, run_apart

from glsim_mm.errors import GLSimError
from glsim_mm.search import ImageSearch, build_gallery
from glsim_mm.search.server import schemas
from glsim_mm.search.server.app import create_app
from glsim_mm.search.server.galleries import ServedGallery, open_galleries
from glsim_mm.search.server.guard import Buckets
from glsim_mm.search.server.problems import Problem
from glsim_mm.search.server.roles import Visitor
from glsim_mm.search.server.settings import Settings, read_tokens
from retrieval.gallery import open_gallery

TOKEN = 'a-token-of-the-tests'


@pytest.fixture(scope='module')
def location(tiny_model, tmp_path_factory) -> Path:
    """A gallery of 8 photos in two classes, with patches; its photos are copies, which tests may change."""
    config, weights, images = tiny_model
    folder = tmp_path_factory.mktemp('served')
    for path in images.rglob('*.png'):
        target = folder / 'photos' / path.relative_to(images)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    options = dict(keep_patches=True, device='cpu', num_workers=0, progress=False)
    build_gallery(folder / 'photos', config, weights, folder / 'gallery', **options)
    return folder / 'gallery'


@pytest.fixture(scope='module')
def galleries(location):
    opened = open_galleries([str(location)], device='cpu')
    yield opened
    opened[0].search.close()


@pytest.fixture(scope='module')
def start(galleries, tmp_path_factory):
    """A function that gives a client of a new server with some settings."""
    return partial(client_of, galleries, tmp_path_factory.mktemp('server'))


@pytest.fixture(scope='module')
def client(start):
    with start() as opened:
        yield opened


@pytest.fixture(scope='module')
def photo(location) -> bytes:
    return (location.parent / 'photos' / 'striped' / 'striped1.png').read_bytes()


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims a size and has next to no pixels."""
    chunks = [(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)), (b'IDAT', zlib.compress(b'\0' * 99))]
    content = b'\x89PNG\r\n\x1a\n'
    for kind, data in [*chunks, (b'IEND', b'')]:
        content += struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    return content


# -- answers ---------------------------------------------------------------------------------------------------------


def test_a_search_gives_what_image_search_finds_and_says_why(client, galleries, photo):
    response = ask(client, 'search', photo, k=3, where=['label in plain,striped'])
    answer = schemas.SearchAnswer(**response.json())
    expected = galleries[0].search(photo, 3)[0]
    assert [hit.id for hit in answer.hits] == [hit.record.id for hit in expected.hits]
    np.testing.assert_allclose([one.score for one in answer.hits], [one.score for one in expected.hits], atol=1e-5)
    assert answer.hits[0].path == 'striped/striped1.png' and answer.hits[0].has_photo and answer.hits[0].has_map
    np.testing.assert_allclose(answer.queries[0].box, expected.query.box, atol=1e-3)
    assert answer.queries[0].map.rows * answer.queries[0].map.columns == len(answer.queries[0].map.values)
    assert answer.passed.rows == answer.passed.of == 8
    assert sum(vote.share for vote in answer.votes) == pytest.approx(1)
    assert answer.answer.name in answer.answer.sentence and answer.answer.neighbors == 8
    assert {'read', 'model', 'search', 'total'} <= answer.milliseconds.keys()
    assert str(galleries[0].search.gallery.location) not in response.text


def test_ways_to_ask(client, photo):
    def hits(route, *photos, **asked):
        response = ask(client, route, *photos, **asked)
        assert response.status_code == 200, response.text
        return [hit['id'] for hit in response.json()['hits']]

    row = hits('search', photo, k=1)[0]
    assert row not in hits('search', id=row, k=20) and len(hits('search', id=row, k=20)) == 7
    assert row not in hits('search', photo, k=20, exclude_same=True)
    assert len(hits('search', photo, group_by='label')) == 2
    assert row in hits('search', photo, k=2, rerank='region', depth=4)
    assert hits('search', photo, k=8) != hits('search', photo, k=8, boxes=[[0, 0, 9, 9]])
    merged = ask(client, 'search', photo, photo, k=1).json()
    assert merged['hits'][0]['id'] == row and len(merged['queries']) == 2
    identified = ask(client, 'identify', photo, neighbors=3, threshold=2.0).json()
    assert schemas.IdentifyAnswer(**identified).answer.kind == 'unknown' and len(identified['votes']) <= 2
    empty = ask(client, 'search', photo, where=['label=plane']).json()
    assert empty['hits'] == [] and empty['passed']['rows'] == 0 and 'plain' in empty['passed']['note']
    assert empty['answer']['kind'] == 'nothing'


def test_a_hit_is_explained(client, photo):
    for found in (ask(client, 'explain', photo, hit=1), ask(client, 'explain', id=5, hit=1)):
        answer = schemas.ExplainAnswer(**found.json())
        assert answer.pairs and sum(pair.weight for pair in answer.pairs) == pytest.approx(1, abs=1e-5)
        assert all(len(pair.box) == len(pair.query_box) == 4 for pair in answer.pairs) and not answer.unexplained


def test_one_bad_photo_harms_only_itself(client, photo):
    answer = ask(client, 'search', b'no photo', photo, k=1).json()
    assert answer['hits'][0]['path'] == 'striped/striped1.png'
    assert [bool(one['error']) for one in answer['queries']] == [True, False]
    refused(ask(client, 'search', b'no photo'), 422, 'no-photo')


def test_rows_come_in_pages_that_neither_repeat_nor_lose_any(client):
    for sort, reverse in (('id', False), ('-path', True), ('label', False), ('split', False)):
        rows, cursor = [], None
        while True:
            asked = dict(sort=sort, limit=3) | ({'cursor': cursor} if cursor else {})
            page = schemas.Rows(**client.get(f'{API}/rows', params=asked).json())
            assert page.total == 8 and len(page.rows) <= 3
            rows += page.rows
            cursor = page.next
            if cursor is None:
                break
        assert len({row.id for row in rows}) == len(rows) == 8
        far = client.get(f'{API}/rows', params=dict(sort=sort, skip=5, limit=2)).json()
        assert [one['id'] for one in far['rows']] == [row.id for row in rows[5:7]] and far['next']
        values = [getattr(row, sort.lstrip('-')) for row in rows]
        if sort != 'split':
            assert values == sorted(values, reverse=reverse)
    refused(client.get(f'{API}/rows', params=dict(sort='label', cursor=cursor or 'x')), 422, 'wrong-cursor')
    refused(client.get(f'{API}/rows', params=dict(sort='weight')), 422, 'wrong-request')
    refused(client.get(f'{API}/rows', params=dict(limit=500)), 422, 'wrong-request')
    beyond = client.get(f'{API}/rows', params=dict(skip=8)).json()
    assert not beyond['rows'] and beyond['next'] is None and beyond['total'] == 8
    only = client.get(f'{API}/rows', params=dict(where=['label=plain', 'id<2'])).json()
    assert [row['label'] for row in only['rows']] == ['plain'] * only['total'] and only['total'] == 2


def test_reading(client, location):
    assert [(one['label'], one['count']) for one in client.get(f'{API}/classes').json()] == [
        ('plain', 4),
        ('striped', 4),
    ]
    assert client.get(f'{API}/columns').json()['label'] == 'TEXT'
    found = client.get(f'{API}/columns/label', params=dict(where='id<5', limit=1)).json()
    assert schemas.ColumnValues(**found).distinct == 2 and found['values'] == [dict(value='plain', count=4)]
    refused(client.get(f'{API}/columns/none'), 422, 'wrong-request')
    assert schemas.Row(**client.get(f'{API}/rows/1').json()).id == 1
    refused(client.get(f'{API}/rows/99'), 404, 'no-such-row')
    refused(client.get(f'{API}/rows/1', params=dict(gallery='other')), 404, 'no-such-gallery')
    info = client.get(f'{API}/info')
    assert schemas.Info(**info.json()).galleries[0].rows == 8 and str(location.parent) not in info.text
    assert client.get(f'{API}/readyz').json() == {'status': 'ready'}
    measures = client.get(f'{API}/metrics').text
    assert 'glsim_rows{gallery="gallery"} 8.0' in measures and 'glsim_batch_size_bucket' in measures
    paths = client.get(f'{API}/openapi.json').json()['paths']
    assert 'multipart/form-data' in paths[f'{API}/search']['post']['requestBody']['content']
    refused(client.get('/nowhere'), 404, 'no-such-route')


def test_a_reader_follows_what_others_write(galleries, tmp_path, location):
    shutil.copytree(location, tmp_path / 'gallery')
    with open_gallery(tmp_path / 'gallery') as gallery:
        served = ServedGallery('copy', ImageSearch(gallery, galleries[0].encoder))
        assert len(served.newest()) == 8
        with open_gallery(tmp_path / 'gallery', writable=True) as writer:
            writer.remove([0])
        served._next_look = 0.0
        assert len(served.newest()) == 7
        with pytest.raises(Problem, match='no row 0'):
            served.record(0)


# -- photos ----------------------------------------------------------------------------------------------------------


def test_photos_are_small_and_without_exif(start, location, tmp_path):
    photo = location.parent / 'photos' / 'plain' / 'plain0.png'
    before = photo.read_bytes()
    big = Image.new('RGB', (900, 500), 'red')
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = 'SECRET', 6
    photo.write_bytes(encode(big, 'JPEG', exif=exif))
    try:
        with start() as client:
            first = client.get(f'{API}/photos/0?side=320')
            with Image.open(io.BytesIO(first.content)) as small:
                assert (small.format, small.size) == ('WEBP', (178, 320)) and not small.getexif()
            assert b'SECRET' not in first.content and first.headers['etag']
            again = client.get(f'{API}/photos/0?side=320', headers={'if-none-match': first.headers['etag']})
            assert again.status_code == 304 and not again.content
            refused(client.get(f'{API}/photos/0?side=321'), 422, 'wrong-request')
            photo.unlink()
            refused(client.get(f'{API}/photos/0'), 404, 'photo-missing')
    finally:
        photo.write_bytes(before)
    assert b'SECRET' in photo_with_exif({0x010E: 'SECRET'})  # or the test could not fail


@pytest.mark.parametrize('path', ['../secret.png', 'link.png', '/etc/hostname', 'https://example.org/1.png', ''])
def test_photos_outside_of_the_roots_are_not_sent(galleries, location, path):
    secret = location.parent / 'secret.png'
    secret.write_bytes((location.parent / 'photos' / 'plain' / 'plain0.png').read_bytes())
    link = location.parent / 'photos' / 'link.png'
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    record = galleries[0].record(0)
    record.path = path
    try:
        with pytest.raises(Problem) as refusal:
            galleries[0].photo_file(record)
    finally:
        link.unlink()
    assert refusal.value.status == 404 and str(location.parent) not in refusal.value.detail


def test_traversal_by_address(client):
    for path in ('/page/../app.py', '/page/%2e%2e/app.py', '/page/..%2f..%2fapp.py', f'{API}/photos/..%2f..%2fetc'):
        assert client.get(path).status_code in (404, 422), path


def test_the_map_of_a_row(client):
    with Image.open(io.BytesIO(client.get(f'{API}/photos/1/map').content)) as heat:
        assert (heat.format, heat.mode, heat.size) == ('PNG', 'L', (4, 4))


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'content, said',
    [
        (png_header(40_000, 40_000), 'limit of'),
        (png_header(60_000, 2), 'one side is over'),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'no photo of a kind'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n', 'no photo of a kind'),
        (b'\xff\xd8\xff' + bytes(50), 'it is damaged, or no photo'),
        (b'BM' + bytes(2 << 20), 'more than 1 MiB'),
        (b'', 'no photo of a kind'),
    ],
)
def test_uploads_that_are_refused(start, content, said):
    with start(max_bytes=1 << 20) as client:
        assert said in refused(ask(client, 'search', content), 422, 'no-photo')


@pytest.mark.parametrize(
    'asked, said',
    [
        (dict(), 'ask with photos'),
        (dict(id=1, k=201), 'k: '),
        (dict(id=1, colour='red'), 'colour'),
        (dict(id=1, where=['label~x']), 'not a condition'),
        (dict(id=1, where=['"label; DROP TABLE records"=1']), 'no column'),
        (dict(id=1, space='other'), 'no space'),
        (dict(id=1, rerank='magic'), 'magic'),
        (dict(id=99), 'no row'),
        (dict(text='a wren'), 'no text tower'),
    ],
)
def test_questions_that_are_refused(client, asked, said):
    response = ask(client, 'search', **asked)
    assert said in refused(response, 404 if asked == dict(id=99) else 422, response.json()['type'].split(':')[-1])


def test_requests_that_are_too_long_or_no_form(start, photo):
    with start(max_request_bytes=1 << 20) as client:
        refused(ask(client, 'search', bytes(2 << 20)), 413, 'too-long')
        chunks = (bytes(1 << 19) for _ in range(4))  # without a Content-Length
        kind = {'content-type': 'multipart/form-data; boundary=x'}
        refused(client.post(f'{API}/search', content=chunks, headers=kind), 413, 'too-long')
        refused(client.post(f'{API}/search', content=photo, headers={'content-type': 'image/png'}), 415, 'wrong-type')
        refused(client.post(f'{API}/search', content=b'--x\r\nno header\r\n', headers=kind), 422, 'wrong-form')
        refused(client.post(f'{API}/search', files=[('photo', photo)] * 6), 422, 'wrong-form')
        refused(client.post(f'{API}/search', files=[('file', photo)]), 422, 'wrong-form')


def test_the_token_and_the_cookie_of_the_page(start):
    with start(token=TOKEN) as client:
        info = f'{API}/info'
        refused(client.get(info), 401, 'no-token')
        refused(client.get(info, headers={'authorization': 'Bearer wrong'}), 401, 'no-token')
        assert client.get(info, headers={'authorization': f'Bearer {TOKEN}'}).status_code == 200
        assert client.get(f'{API}/healthz').status_code == client.get('/').status_code == 200
        refused(client.post(f'{API}/session'), 401, 'no-token')
        given = client.post(f'{API}/session', headers={'authorization': f'Bearer {TOKEN}'}).headers['set-cookie']
        assert 'HttpOnly' in given and 'SameSite=strict' in given and TOKEN not in given
        assert client.get(info).status_code == 200
        refused(client.post(f'{API}/search', json=dict(id=1)), 403, 'no-csrf-header')
        assert client.post(f'{API}/search', json=dict(id=1), headers={'x-glsim': '1'}).status_code == 200
        client.cookies.clear()
        client.cookies.set(given.split('=')[0], given.split('=')[1].split(';')[0] + '0')
        refused(client.get(info), 401, 'no-token')
        client.cookies.clear()
        codes = [client.get(info, headers={'authorization': f'Bearer {n}'}).status_code for n in range(12)]
        assert codes[0] == 401 and codes[-1] == 429


def test_other_hosts_and_other_sites(start):
    with start(hosts=('birds.example',)) as client:
        for host in ('evil.example', 'localhost.evil.example', '10.0.0.1:8765', ''):
            refused(client.get(f'{API}/info', headers={'host': host}), 421, 'unknown-host')
        for host in ('localhost', '127.0.0.1:8765', '[::1]:8765', 'birds.example'):
            assert client.get(f'{API}/info', headers={'host': host}).status_code == 200, host
        for headers in ({'origin': 'http://evil.example'}, {'origin': 'null'}, {'sec-fetch-site': 'cross-site'}):
            refused(client.post(f'{API}/search', json=dict(id=1), headers=headers), 403, 'other-site')
        own = {'origin': 'http://localhost:8765', 'sec-fetch-site': 'same-origin'}
        answer = client.post(f'{API}/search', json=dict(id=1), headers=own)
        assert answer.status_code == 200 and 'access-control-allow-origin' not in answer.headers
        for one in (answer, client.get('/')):
            assert one.headers['content-security-policy'].startswith("default-src 'self'")
            assert one.headers['x-content-type-options'] == 'nosniff'
            assert one.headers['referrer-policy'] == 'no-referrer'


def test_addresses_have_a_rate(start):
    with start(rate=0.01, burst=3) as client:
        assert [client.get(f'{API}/healthz').status_code for _ in range(4)] == [200, 200, 200, 429]
    now = 0.0
    buckets = Buckets(2.0, 1.0, lambda: now)
    assert buckets.take('a') == 0 and buckets.take('a') == pytest.approx(0.5) and buckets.take('b') == 0
    now = 0.5
    assert buckets.take('a') == 0


def test_other_machines_need_a_token(tmp_path, galleries):
    with pytest.raises(GLSimError, match='needs a token'):
        create_app(galleries, Settings(host='0.0.0.0'))
    ((token, visitor),) = read_tokens(tmp_path / 'token').items()
    assert read_tokens(tmp_path / 'token') == {token: visitor} and len(token) >= 32 and visitor == Visitor('admin')
    assert (tmp_path / 'token').stat().st_mode & 0o777 == 0o600
    (tmp_path / 'token').write_text('short')
    with pytest.raises(GLSimError, match='16 or more'):
        read_tokens(tmp_path / 'token')
    assert Settings(host='0.0.0.0', token=token).answers_to('192.168.1.5:80')
    assert not Settings(host='0.0.0.0', token=token).answers_to('evil.example')


def test_bugs_tell_nothing(start, monkeypatch, galleries):
    def fail(*_):
        raise RuntimeError('/home/somebody/secret')

    monkeypatch.setattr(ServedGallery, 'newest', fail)
    with start() as client:
        response = client.get(f'{API}/columns')
    assert 'secret' not in response.text
    refused(response, 500, 'bug')


# -- batches ---------------------------------------------------------------------------------------------------------


def test_batched_searches_equal_single_ones(start, galleries, location):
    files = sorted((location.parent / 'photos').rglob('*.png'))
    alone = [galleries[0].search(str(file), 8)[0] for file in files]
    app = start(patience=0.2).app

    async def ask_all():
        http = AsyncClient(transport=ASGITransport(app), base_url='http://localhost')
        async with app.state.service.running(), http:
            jobs = [http.post(f'{API}/search', files={'photo': file.read_bytes()}) for file in files]
            jobs.insert(3, http.post(f'{API}/search', files={'photo': b'no photo'}))
            return await asyncio.gather(*jobs)

    answers = run_apart(ask_all())
    sizes = app.state.service.measures.batches
    assert answers.pop(3).status_code == 422
    for single, answer in zip(alone, answers):
        hits = {hit['id']: hit['score'] for hit in answer.json()['hits']}
        expected = {hit.record.id: hit.score for hit in single.hits}
        assert hits.keys() == expected.keys()
        np.testing.assert_allclose([hits[one] for one in expected], [*expected.values()], atol=1e-5)
    assert sum(sample.value for sample in sizes.collect()[0].samples if sample.name.endswith('_count')) < len(files)


# -- the page --------------------------------------------------------------------------------------------------------


def test_files_of_the_page_lead_to_each_other(client):
    for path in ('/', '/docs'):
        text = client.get(path).text
        for address in re.findall(r'(?:src|href)="(page/[^"]+)"', text):
            assert client.get(f'/{address}').status_code == 200, address
    assert client.get('/page/main.js').headers['content-type'].startswith('text/javascript')
