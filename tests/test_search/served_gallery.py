"""A gallery of six photos with the mean colours as its model, and a server over it: nothing here needs torch."""

import json
from pathlib import Path

from mean_encoder import MeanEncoder
from PIL import Image
from starlette.testclient import TestClient

from glsim_mm.search import ImageSearch, add_images
from glsim_mm.search.server.app import create_app
from glsim_mm.search.server.galleries import ServedGallery
from glsim_mm.search.server.settings import Settings
from retrieval.gallery import create_gallery, open_gallery

API = '/api/v1'


def make_gallery(folder: Path) -> Path:
    """Photos of three colours, two of each, in ``folder/photos``, and their gallery in ``folder/birds``."""
    photos = folder / 'photos'
    for number, colour in enumerate(('red', 'green', 'blue')):
        for shade in (0, 40):
            (photos / colour).mkdir(parents=True, exist_ok=True)
            pixel = [shade, shade, shade]
            pixel[number] = 200
            Image.new('RGB', (8, 8), tuple(pixel)).save(photos / colour / f'{shade}.png')
    encoder = MeanEncoder()
    origin = dict(sources=json.dumps([str(photos)]))
    facts = dict(fingerprint=encoder.fingerprint, origin=origin)
    with create_gallery(folder / 'birds', encoder.dimensions, **facts) as gallery:
        add_images(gallery, encoder, photos, num_workers=0, progress=False)
    return folder / 'birds'


def serve(location, folder, encoder=None, **settings):
    """A search over a gallery, to be closed, and a client of a server over it, which keeps its things in a folder."""
    search = ImageSearch(open_gallery(location), encoder or MeanEncoder())
    own = Settings(**dict(writable=True) | settings)
    app = create_app([ServedGallery('birds', search)], own, folder / 'cache', folder / 'state')
    return search, TestClient(app, base_url='http://localhost:8765', raise_server_exceptions=False)


def refused(response, status, kind):
    """The sentence of a refusal."""
    assert response.status_code == status, response.text
    assert response.json()['type'] == f'urn:glsim:problem:{kind}'
    return response.json()['detail']
