"""What the tests of the pages of ``glsim serve`` share: a server in a thread, and what each page must keep to."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from mean_encoder import MeanEncoder
from PIL import Image
from running_servers import listening

from glsim_mm.search import ImageSearch, add_images
from retrieval.gallery import Record, create_gallery, open_gallery

BROWSER = (
    'needs a browser: pip install playwright axe-playwright-python, and apt-get install chromium-headless-shell (or: '
    'playwright install chromium)'
)
COLOURS = {'red': (200, 40, 40), 'green': (40, 160, 60), 'blue': (50, 70, 200)}


@cache
def find_browser() -> str | None:
    """The system's Chromium, or that of Playwright; None where one of the packages, or a browser, is missing.

    Debian's build without windows opens a page with a quarter of the work.
    """
    if find_spec('axe_playwright_python') is None or find_spec('playwright') is None:
        return None
    found = next(filter(None, map(shutil.which, ('chromium-headless-shell', 'chromium', 'chromium-browser'))), None)
    if found is None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
        found = own if Path(own).is_file() else None
    return found


@contextmanager
def serving(galleries, folder: Path, **settings) -> Iterator[str]:
    """The address of a server, as long as the context is open."""
    pytest.importorskip('uvicorn', reason='needs the extra serve')
    from glsim_mm.search.server.app import create_app
    from glsim_mm.search.server.settings import Settings

    app = create_app(galleries, Settings(**settings), folder / 'thumbnails', folder / 'state')
    with listening(app) as address:
        yield f'{address}/'


def write_colours(folder: Path, rows: int = 12) -> Path:
    """A gallery of photos in three colours, a class each, two photos of each; further rows are of the same files.

    They are at the embeddings of these files with a little noise, and have the column ``number``.
    """
    encoder, rng = MeanEncoder(), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(2):
            (folder / 'photos' / name).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 30, (48, 64, 3)) + np.array(colour)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / 'photos' / name / f'{number}.png')
    location = folder / 'colours'
    with create_gallery(location, encoder.dimensions, fingerprint=encoder.fingerprint) as gallery:
        add_images(gallery, encoder, folder / 'photos', num_workers=0, progress=False)
        known = gallery.records(gallery.ids())
        more = [known[place % len(known)] for place in range(len(known), rows)]
        if more:
            vectors = np.resize(gallery.vectors(gallery.ids(), 'global'), (rows, 48))[len(known) :]
            records = [Record(one.path, one.label, metadata=dict(number=place)) for place, one in enumerate(more)]
            gallery.add({'global': vectors + rng.normal(0, 0.003, vectors.shape).astype(np.float32)}, records)
    return location


@contextmanager
def serving_copy(location: Path, folder: Path, **settings) -> Iterator[str]:
    """The address of a server of a copy of a gallery, which can be written to."""
    from glsim_mm.search.server.galleries import ServedGallery

    copy = Path(shutil.copytree(location, folder / location.name))
    with ImageSearch(open_gallery(copy), MeanEncoder()) as search:
        with serving([ServedGallery(location.name, search)], folder, **dict(writable=True) | settings) as address:
            yield address


def fits(page) -> None:
    """Nothing is wider than the window."""
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')


def is_accessible(page) -> None:
    """axe finds nothing serious."""
    from axe_playwright_python.sync_playwright import Axe

    found = [one for one in Axe().run(page).response['violations'] if one['impact'] in ('serious', 'critical')]
    assert not [(one['id'], [node['html'] for node in one['nodes']][:3]) for one in found]


def generation_of(address: str) -> int:
    """The generation that the first gallery of a server has."""
    with urlopen(f'{address}api/v1/rows?limit=1') as answer:
        return json.load(answer)['generation']


def send(address: str, route: str, **body) -> dict:
    """Write to the first gallery of a server, as somebody else does; its answer."""
    headers = {'If-Match': f'"{generation_of(address)}"', 'Content-Type': 'application/json'}
    with urlopen(Request(f'{address}api/v1/{route}', json.dumps(body).encode(), headers)) as answer:
        return json.load(answer)


def labels(address: str) -> dict[int, str | None]:
    """Labels of the rows of the first gallery of a server."""
    with urlopen(f'{address}api/v1/rows?limit=200') as answer:
        return {row['id']: row['label'] for row in json.load(answer)['rows']}


def last_request(page) -> dict:
    """What the page's last form asked for."""
    return json.loads(page.evaluate('asked.at(-1)'))
