"""A tiny model with its weights, photos for it, and a browser."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from counting_model import CountingViT, write_photo, write_weights
from server_pages import BROWSER, find_browser
from tiny_run import write_config, write_images

from glsim_mm.search import Encoder


@pytest.fixture
def counter():
    """:class:`CountingViT`, set back to zero."""
    CountingViT.count, CountingViT.stop_before = 0, None
    yield CountingViT
    CountingViT.count, CountingViT.stop_before = 0, None


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Config, checkpoint with random weights, and a folder of 8 images in two sub-folders."""
    folder = tmp_path_factory.mktemp('encoder')
    images = write_images(folder / 'images')
    config = write_config(folder / 'tiny_encoder.py', images, "model['backbone']['type'] = 'CountingViT'\n")
    return config, write_weights(config, folder / 'weights.pth'), images / 'val'


@pytest.fixture(scope='session')
def encoder(tiny_model) -> Encoder:
    return Encoder(*tiny_model[:2], device='cpu')


@pytest.fixture
def photos(tmp_path) -> Path:
    """Ten photos of different content: six in the sub-folders a and b, four in the folder itself."""
    rng = np.random.default_rng(1)
    for name in (
        'a/0.png',
        'a/1.png',
        'a/2.png',
        'b/0.png',
        'b/1.png',
        'b/deep/2.png',
        '0.png',
        '1.png',
        '2.png',
        '3.png',
    ):
        write_photo(tmp_path / 'photos' / name, rng)
    return tmp_path / 'photos'


@pytest.fixture
def start(location):
    """A function that starts a server of the gallery at ``location``, which can be written to; a context manager."""
    from served_birds import serve_birds

    return partial(serve_birds, location, writable=True)


@pytest.fixture
def client(start):
    """A client of such a server."""
    with start() as opened:
        yield opened


# What forms ask for; browsers do not tell it of forms with files.
_REMEMBER = """
window.asked = [];
const { append } = FormData.prototype;
FormData.prototype.append = function (name, value, ...others) {
    if (name === 'request') asked.push(value);
    return append.call(this, name, value, ...others);
};
"""


def pytest_collection_modifyitems(items):
    """Without a browser, tests of pages are skipped, told in one line for each file; see the fixture for the rest."""
    wanted = [item for item in items if 'browser' in getattr(item, 'fixturenames', ())]
    if wanted and os.environ.get('GLSIM_REQUIRE_SHARED') != '1' and find_browser() is None:
        for item in wanted:
            item.add_marker(pytest.mark.skip(reason=BROWSER))


@pytest.fixture(scope='session')
def browser():
    """Chromium, started once; with GLSIM_REQUIRE_SHARED=1, it must be there."""
    found = find_browser()
    if found is None:
        pytest.fail(f'GLSIM_REQUIRE_SHARED=1, but {BROWSER}')
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=['--no-sandbox'])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Open a page; at the end, no error may have been told, and no other host asked."""
    contexts, faults = [], []

    def open_page(address, language='en', width=1280, **options):
        context = browser.new_context(locale=language, viewport=dict(width=width, height=800), **options)
        contexts.append(context)
        host = '/'.join(address.split('/')[:3])
        page = context.new_page()
        page.set_default_timeout(120_000)  # however busy the machine is
        page.on('pageerror', lambda error: faults.append(str(error)))
        # Chromium itself tells each answer that is no success; other hosts are looked for below.
        page.on(
            'console',
            lambda told: (
                told.type in ('error', 'warning') and 'Failed to load' not in told.text and faults.append(told.text)
            ),
        )
        page.on(
            'request',
            lambda one: one.url.startswith((host, 'blob:', 'data:')) or faults.append(one.url),
        )
        page.add_init_script(_REMEMBER)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults
