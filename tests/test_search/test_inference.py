"""The model alone, as ``glsim serve`` shows it to other servers, and a server whose model another one runs."""

import asyncio
import json
import re
import socket
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from httpx2 import ASGITransport, AsyncClient
from running_servers import listening
from served_birds import client_of, run_apart
from tiny_run import ROOT, run_command

from glsim_mm.errors import UserError
from glsim_mm.exported import ExportedModel, RemoteModel
from glsim_mm.exported.open_inference import LENGTH_HEADER, read_message, write_message
from glsim_mm.search import Encoder, ExportedEncoder, ImageSearch, add_images, encoder_for
from glsim_mm.search.server.app import create_app
from glsim_mm.search.server.galleries import ServedGallery, open_galleries
from glsim_mm.search.server.settings import Settings
from retrieval.gallery import Fingerprint, create_gallery, open_gallery

TOKEN = 'a-token-of-the-tests'
MODEL = '/v2/models/glsim'


@pytest.fixture(scope='module')
def gallery(made, tmp_path_factory) -> Path:
    """A gallery of an exported model, of 8 photos in two classes."""
    _, _, images, path = made
    encoder = ExportedEncoder(path, device='cpu', keep_patches=True)
    location = tmp_path_factory.mktemp('inference') / 'gallery'
    spaces, made_by = encoder.dimensions, dict(fingerprint=encoder.fingerprint, origin=dict(patches='3'))
    with create_gallery(location, spaces, **made_by) as created:
        add_images(created, encoder, str(images), num_workers=0, progress=False)
    return location


@pytest.fixture(scope='module')
def galleries(made, gallery):
    opened = open_galleries([str(gallery)], checkpoint=made[3], device='cpu')
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
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 3, 32, 40), dtype=np.uint8)


def infer(client, pixels, binary=(), name='pixels', place=f'{MODEL}/infer', headers=None, **message):
    body, own = write_message(message, 'inputs', {name: pixels}, binary)
    return client.post(place, content=body, headers={**own, **(headers or {})})


def refused(response, status=400):
    assert response.status_code == status, response.text
    assert response.headers['content-type'] == 'application/problem+json'
    return response.json()['error']


def test_the_state_of_server_and_model(client, made):
    assert client.get('/v2').json()['extensions'] == ['binary_tensor_data']
    assert client.get('/v2/health/live').json() == {'live': True}
    assert client.get('/v2/health/ready').json() == {'ready': True}
    described = client.get(MODEL).json()
    assert described['inputs'] == [dict(name='pixels', datatype='UINT8', shape=[-1, 3, 32, 40])]
    outputs = ExportedModel(made[3], device='cpu')(np.zeros((1, 3, 32, 40), np.uint8))
    wanted = [dict(name=name, datatype='FP32', shape=[-1, *values.shape[1:]]) for name, values in outputs.items()]
    assert described['outputs'] == wanted and described['parameters']['max_batch_size'] == 64
    assert json.loads(described['parameters']['glsim_mm'])['image_size'] == [32, 40]
    for place in ('/v2/models/gallery', f'{MODEL}/versions/1'):
        assert client.get(place).json()['outputs'] == wanted
        assert client.get(f'{place}/ready').json()['ready'] is True
    for place in ('/v2/models/other', f'{MODEL}/versions/2'):
        assert 'no such model, but glsim, gallery' in refused(client.get(place), 404)
    paths = client.get('/api/v1/openapi.json').json()['paths']
    assert '/v2/models/{name}/infer' in paths and '/v2/models/{name}/versions/{version}' not in paths


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
@pytest.mark.parametrize('is_binary', [False, True])
def test_outputs_are_those_of_the_model(client, made, pixels, is_binary, dtype):
    wanted = ExportedModel(made[3], device='cpu')(pixels)
    own = dict(parameters=dict(binary_data_output=True)) if is_binary else {}
    answer = infer(client, pixels.astype(dtype), ['pixels'] if is_binary else (), id='7', **own)
    message, found = read_message(answer.content, answer.headers.get(LENGTH_HEADER), 'outputs')
    assert (LENGTH_HEADER in answer.headers) is is_binary
    assert (message['id'], message['model_name'], message['model_version']) == ('7', 'glsim', '1')
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_some_outputs_some_of_them_binary(client, pixels):
    asked = [dict(name='logits'), dict(name='embedding', parameters=dict(binary_data=True))]
    answer = infer(client, pixels, outputs=asked, place=f'{MODEL}/versions/1/infer')
    message, found = read_message(answer.content, answer.headers[LENGTH_HEADER], 'outputs')
    assert list(found) == ['logits', 'embedding'] and found['logits'].shape == (3, 2)
    assert ['data' in one for one in message['outputs']] == [True, False]


@pytest.mark.parametrize(
    'change, said',
    [
        (dict(name='photo'), 'only input is called pixels'),
        (dict(pixels=np.zeros((1, 3, 32, 32), np.uint8)), r'shape \(B, 3, 32, 40\)'),
        (dict(pixels=np.zeros((3, 32, 40), np.uint8)), r'shape \(B, 3, 32, 40\)'),
        (dict(pixels=np.zeros((0, 3, 32, 40), np.uint8)), '1 to 64 images, not 0'),
        (dict(pixels=np.zeros((65, 3, 32, 40), np.uint8), binary=['pixels']), '1 to 64 images, not 65'),
        (dict(pixels=np.zeros((1, 3, 32, 40), np.int64)), 'must be UINT8 or FP32'),
        (dict(pixels=np.full((1, 3, 32, 40), np.nan, np.float32)), 'must be UINT8 or FP32'),
        (dict(outputs=[dict(name='weights')]), 'outputs must be some of'),
        (dict(outputs='logits'), 'outputs must be some of'),
        (dict(id=7), 'the id must be a text'),
        (dict(headers={LENGTH_HEADER: '99999999'}), 'bytes of the JSON'),
    ],
)
def test_requests_that_are_refused(client, change, said):
    options = {**dict(pixels=np.zeros((1, 3, 32, 40), np.uint8)), **change}
    answer = infer(client, options.pop('pixels'), **options)
    assert re.search(said, refused(answer))


def test_the_token_guards_the_model_too(start, pixels):
    with start(token=TOKEN) as client:
        assert client.get('/v2/health/live').status_code == client.get('/v2/health/ready').status_code == 200
        for answer in (client.get('/v2'), client.get(MODEL), infer(client, pixels)):
            assert answer.status_code == 401
        bearer = {'authorization': f'Bearer {TOKEN}'}
        assert infer(client, pixels, headers=bearer).status_code == 200
        assert infer(client, pixels, headers={**bearer, 'origin': 'http://evil.example'}).status_code == 403
    with start(max_request_bytes=4 << 20) as client:
        assert client.get(MODEL).json()['parameters']['max_batch_size'] == 64
        assert infer(client, np.zeros((5 << 20,), np.uint8), ['pixels']).status_code == 413


def test_requests_become_batches_with_those_of_the_page(start, made, pixels, tmp_path):
    wanted = ExportedModel(made[3], device='cpu')(pixels)['embedding']
    photo = next(made[2].rglob('*.png')).read_bytes()
    app = start(patience=0.3, queue=8).app

    async def ask_all():
        http = AsyncClient(transport=ASGITransport(app), base_url='http://localhost')
        async with app.state.service.running(), http:
            await http.get(MODEL)
            bodies = [write_message({}, 'inputs', dict(pixels=one[None]), ['pixels']) for one in pixels]
            jobs = [http.post(f'{MODEL}/infer', content=body, headers=headers) for body, headers in bodies]
            jobs.append(http.post('/api/v1/search', files={'photo': photo}))
            together = await asyncio.gather(*jobs)
            body, headers = write_message({}, 'inputs', dict(pixels=np.repeat(pixels, 2, 0)), ['pixels'])
            crowd = [http.post(f'{MODEL}/infer', content=body, headers=headers) for _ in range(3)]
            return together, await asyncio.gather(*crowd)

    together, crowd = run_apart(ask_all())
    for row, answer in enumerate(together[:3]):
        _, found = read_message(answer.content, None, 'outputs')
        np.testing.assert_allclose(found['embedding'][0], wanted[row], atol=1e-5)
    assert together[3].json()['hits'][0]['score'] == pytest.approx(1, abs=1e-5)
    sizes = app.state.service.measures.batches.collect()[0].samples
    assert {one.labels.get('le'): one.value for one in sizes}['4.0'] == 1  # three inputs and a photo
    assert sorted(one.status_code for one in crowd) == [200, 503, 503]
    assert all(one.headers['retry-after'] for one in crowd if one.status_code == 503)


# -- servers whose model another one runs ----------------------------------------------------------------------------


def test_a_search_whose_model_another_server_runs(galleries, made, gallery, tmp_path):
    photos = sorted(map(str, made[2].rglob('*.png')))
    wanted = galleries[0].search(photos, 3, method='region', explain=True)
    with listening(create_app(galleries, Settings(token=TOKEN), tmp_path)) as url:
        server = dict(encoder_url=url, encoder_token=TOKEN)
        with ImageSearch.open(gallery, **server) as search:
            found = search(photos, 3, method='region', explain=True)
        for one, other in zip(found, wanted, strict=True):
            assert [hit.record.id for hit in one.hits] == [hit.record.id for hit in other.hits]
            scores = [[hit.score for hit in result.hits] for result in (one, other)]
            np.testing.assert_allclose(*scores, atol=1e-5)
            assert one.query.box == other.query.box and one.hits[0].matches
        (tmp_path / 'token').write_text(TOKEN)
        tool = ROOT / 'tools' / 'retrieval' / 'search.py'
        options = ('--encoder-url', url, '--encoder-token-file', 'token', '--json')
        without = 'import sys; sys.modules.update(dict.fromkeys(["torch", "mmengine", "mmpretrain"])); import runpy; '
        without += f'sys.path[0] = {str(tool.parent)!r}; del sys.argv[0]; runpy.run_path(sys.argv[0], None, "__main__")'
        done = run_command(sys.executable, '-c', without, tool, gallery, photos[0], *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert [hit['id'] for hit in json.loads(done.stdout)[0]['hits'][:3]] == [
            one.record.id for one in wanted[0].hits
        ]
        assert '--encoder-url' in done.stderr.splitlines()[-1]  # the next command asks the same server
        with pytest.raises(UserError, match='refuses this with status 401'):
            RemoteModel(url)


def test_a_model_with_its_code_is_served_too(made, gallery, tmp_path):
    config, weights, images, path = made
    photos = str(images)
    encoder = Encoder(config, str(weights), device='cpu', spaces=('global', 'crop', 'concat', 'centre'))
    with open_gallery(gallery) as opened:
        served = ServedGallery('birds', ImageSearch(opened, encoder))
        with listening(create_app([served], Settings(), tmp_path)) as url:
            remote = ExportedEncoder(RemoteModel(f'{url}/v2/models/birds'), encoder.spaces, keep_patches=True)
            wanted, found = encoder.with_patches().encode(photos), remote.encode(photos)
    assert remote.fingerprint == encoder.fingerprint and remote.pipeline.steps == ExportedEncoder(path).pipeline.steps
    for space in encoder.spaces:
        np.testing.assert_allclose(found.embeddings[space], wanted.embeddings[space], atol=1e-5)
    for one, other in zip(found.records, wanted.records, strict=True):
        np.testing.assert_allclose(one.patch_boxes, other.patch_boxes, atol=0.06)


def test_a_gallery_of_another_model_is_refused(galleries, tmp_path):
    other = Fingerprint('0' * 64, '0' * 64, '0' * 64, 'another')
    with listening(create_app(galleries, Settings(), tmp_path)) as url:
        for name, spaces, made_by, message in (
            ('narrow', {'global': 5}, {}, f'dimension 5 in the space global, and {url}{MODEL} gives 32'),
            ('wide', {'texture': 32}, {}, 'spaces must be some of'),
            ('other', {'global': 32}, dict(fingerprint=other), r'was made by another model \(another\)'),
        ):
            with create_gallery(tmp_path / name, spaces, **made_by) as gallery:
                with pytest.raises(UserError, match=message):
                    encoder_for(gallery, encoder_url=url)


def test_a_server_whose_model_is_away_says_so_and_comes_back(galleries, made, gallery, tmp_path):
    photo = next(made[2].rglob('*.png')).read_bytes()
    with socket.socket() as place:
        place.bind(('127.0.0.1', 0))
        port = place.getsockname()[1]
    with listening(create_app(galleries, Settings(), tmp_path), port=port) as url:
        opened = open_galleries([str(gallery)], encoder_url=url)
    with client_of(opened, tmp_path) as client:
        answer = client.post('/api/v1/search', files={'photo': photo})
        assert answer.status_code == 503 and answer.headers['retry-after']
        assert answer.json()['detail'] == 'the server that runs the model is away: try again in a moment'
        assert client.get('/api/v1/rows/1').status_code == 200  # what needs no model goes on
        with listening(create_app(galleries, Settings(), tmp_path), port=port):
            assert client.post('/api/v1/search', files={'photo': photo}).json()['hits'][0]['score'] > 0.999
    opened[0].search.close()
