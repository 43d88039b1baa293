"""A sync that is killed at random points: no row is half of one photo and half of another, and the next one goes on."""

import logging
import os
import shutil
import signal
import time
import traceback
from collections import Counter
from functools import cached_property

import cv2
import numpy as np
import pytest

from glsim_mm.images.photos import hash_content
from glsim_mm.search import sync_images
from glsim_mm.search.base_encoder import BaseEncoder, Features
from retrieval.gallery import Fingerprint, create_gallery, open_gallery

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')]

DIMENSION = 12


class _AsItIs:
    background = (0, 0, 0)

    def __call__(self, pixels):
        return pixels.transpose(2, 0, 1)

    def to_photo(self, shape):
        return None


class PixelEncoder(BaseEncoder):
    """The first pixels of a photo are its embedding, so that NumPy alone says what belongs to which content."""

    description, classes, spaces, pipeline, has_regions, checkpoint = 'pixels', (), ('pixels',), _AsItIs(), False, ''

    @cached_property
    def fingerprint(self):
        return Fingerprint('pixels', '', '')

    def forward(self, inputs):
        return Features({'pixels': np.asarray(inputs, np.float32).reshape(len(inputs), -1)[:, :DIMENSION]})


def _embedding(content):
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return tuple(pixels.transpose(2, 0, 1).reshape(-1)[:DIMENSION].astype(float).tolist())


def _photos(folder):
    """What a gallery of the folder has to hold: path -> label, content hash and embedding."""
    found = {}
    for path in folder.rglob('*.png'):
        content = path.read_bytes()
        name = path.relative_to(folder)
        found[name.as_posix()] = name.parts[0], hash_content(content), _embedding(content)
    return found


def _rows(place):
    """The same of a gallery, and ids by path."""
    with open_gallery(place) as gallery:
        gallery.verify()
        ids = gallery.ids()
        records, vectors = gallery.records(ids), gallery.vectors(ids)
        assert len({record.path for record in records}) == len(ids) == len(gallery)
        np.testing.assert_array_equal(gallery.search(vectors, 1).ids[:, 0], ids)
        return {
            record.path: (record.label, record.content_hash, tuple(vector.tolist()))
            for record, vector in zip(records, vectors)
        }, {record.content_hash: record.id for record in records}


def _write(path, rng):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), rng.integers(0, 256, (4, 4, 3), np.uint8))


def _change(folder, rng, number):
    """Photos move to another class, change, go and come."""
    for position, path in enumerate(sorted(folder.rglob('*.png'))):
        kind = rng.choice(['stay', 'move', 'change', 'go'], p=[0.4, 0.3, 0.2, 0.1])
        if kind == 'move':
            target = folder / str(rng.choice(['a', 'b', 'c'])) / f'{number}-{position}.png'
            target.parent.mkdir(exist_ok=True)
            shutil.move(path, target)
        elif kind == 'change':
            _write(path, rng)
        elif kind == 'go':
            path.unlink()
    for new in range(max(3, 30 - len(list(folder.rglob('*.png'))))):
        _write(folder / str(rng.choice(['a', 'b', 'c'])) / f'{number}-new{new}.png', rng)


def _sync(place, folder):
    with open_gallery(place, writable=True) as gallery:
        options = dict(missing='remove', batch_size=4, num_workers=0, progress=False, seconds_between_commits=0.0)
        sync_images(gallery, PixelEncoder(), folder, **options)


def _start_sync(place, folder, error):
    child = os.fork()
    if child:
        return child
    try:
        _sync(place, folder)
        os._exit(0)
    finally:
        error.write_text(traceback.format_exc())
        os._exit(1)


def test_a_killed_sync_mixes_nothing_and_is_finished_by_the_next(tmp_path):
    """It is killed ``GLSIM_TEST_KILLS`` (12) times."""
    rng, folder, place = np.random.default_rng(0), tmp_path / 'photos', tmp_path / 'gallery'
    create_gallery(place, {'pixels': DIMENSION}, metric='l2', origin=dict(root=str(folder))).close()
    for number in range(30):
        _write(folder / 'abc'[number % 3] / f'{number}.png', rng)
    _sync(place, folder)
    count, longest = Counter(), 0.6  # seconds
    while count['killed'] < int(os.environ.get('GLSIM_TEST_KILLS', 12)):
        before, ids = _rows(place)
        _change(folder, rng, count.total())
        after, start = _photos(folder), time.monotonic()
        child = _start_sync(place, folder, tmp_path / 'error')
        time.sleep(rng.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL), (tmp_path / 'error').read_text()
        if status == 0:
            longest = max(0.05, 0.9 * (time.monotonic() - start))  # it was too fast
        count['killed' if status else 'done'] += 1
        seen, seen_ids = _rows(place)
        for path, row in seen.items():
            assert row in (before.get(path), after.get(path)), path
        kept = {row[1] for row in before.values()} & {row[1] for row in after.values()}
        assert all(seen_ids[content] == ids[content] for content in kept)
        count['between'] += seen not in (before, after)
        _sync(place, folder)
        assert _rows(place)[0] == after
    logging.getLogger(__name__).info('%s', dict(count))
