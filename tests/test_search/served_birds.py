"""Galleries of coloured photos that are served without a model: quick to build, to tune and to search."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from mean_encoder import MeanEncoder
from PIL import Image
from starlette.testclient import TestClient

from glsim_mm.search import ImageSearch, sync_images
from glsim_mm.search.server import jobs, schemas
from glsim_mm.search.server.app import create_app
from glsim_mm.search.server.galleries import ServedGallery
from glsim_mm.search.server.settings import Settings
from retrieval.gallery import create_gallery, open_gallery

API = '/api/v1'
BIRDS = {'001.Blue_Jay': (60, 90, 160), '002.Wren': (130, 100, 70), '003.Tree_Sparrow': (150, 110, 80)}


def draw_bird(label: str, seed: int) -> Image.Image:
    """A photo of the colour of a class, with noise in large patches, so that classes overlap a little."""
    rng = np.random.default_rng([seed, len(label), ord(label[2])])
    patches = np.clip(rng.normal(BIRDS[label], 22, (4, 4, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(np.kron(patches, np.ones((10, 12, 1), np.uint8)))


def build_birds(folder: Path, each: int = 8) -> Path:
    """``folder/gallery`` of ``folder/photos``, which has ``each`` photos of every class."""
    for label in BIRDS:
        (folder / 'photos' / label).mkdir(parents=True, exist_ok=True)
        for seed in range(each):
            draw_bird(label, seed).save(folder / 'photos' / label / f'{seed}.png')
    return build_gallery_of(folder)


def build_colours(folder: Path) -> Path:
    """``folder/gallery`` of six tiny photos in ``folder/photos``, two of each of the classes red, green and blue."""
    for number, colour in enumerate(('red', 'green', 'blue')):
        for shade in (0, 40):
            (folder / 'photos' / colour).mkdir(parents=True, exist_ok=True)
            pixel = [shade, shade, shade]
            pixel[number] = 200
            Image.new('RGB', (8, 8), tuple(pixel)).save(folder / 'photos' / colour / f'{shade}.png')
    return build_gallery_of(folder)


def build_gallery_of(folder: Path) -> Path:
    """``folder/gallery`` of ``folder/photos``."""
    origin = dict(root=str(folder / 'photos'), sources=json.dumps([str(folder / 'photos')]))
    with create_gallery(
        folder / 'gallery', {'global': 48}, fingerprint=MeanEncoder().fingerprint, origin=origin
    ) as new:
        sync_images(new, MeanEncoder(), folder / 'photos', progress=False, num_workers=0)
    return folder / 'gallery'


@contextmanager
def serve_birds(*locations: Path, encoders=None, **settings) -> Iterator[TestClient]:
    """A client of a server of galleries, which have one encoder unless others are given."""
    one = MeanEncoder()
    opened = [
        ServedGallery(location.parent.name, ImageSearch(open_gallery(location), encoder))
        for location, encoder in zip(locations, encoders or [one] * len(locations))
    ]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jobs, '_SECONDS_BETWEEN_EVENTS', 0.0)  # nobody who watches needs to be spared
            with client_of(opened, locations[0].parent, **settings) as client:
                yield client
    finally:
        for served in opened:
            served.search.close()


def client_of(galleries: Sequence[ServedGallery], folder: Path, **settings) -> TestClient:
    """A client of a new server with some settings, which keeps its things in a folder."""
    app = create_app(galleries, Settings(**settings), folder / 'thumbnails', folder / 'state')
    return TestClient(app, base_url='http://localhost:8765', raise_server_exceptions=False)


def run_apart(work):
    """What a coroutine returns, run in a thread of its own: a browser of other tests keeps the loop of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def ask(client, route: str, *photos: bytes, **asked):
    """The answer to a question: with photos as a form, without as JSON."""
    if not photos:
        return client.post(f'{API}/{route}', json=asked)
    files = [('photo', ('photo.png', one)) for one in photos]
    return client.post(f'{API}/{route}', files=files, data={'request': json.dumps(asked)})


def refused(response, status: int, kind: str) -> str:
    """The sentence of a problem, which is checked."""
    assert response.status_code == status, response.text
    assert response.headers['content-type'] == 'application/problem+json'
    found = schemas.ProblemDetails(**response.json())
    assert found.type == f'urn:glsim:problem:{kind}' and found.status == status and found.detail
    return found.detail
