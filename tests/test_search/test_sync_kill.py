"""A sync that is killed wherever something becomes durable: the gallery is consistent, and the next sync finishes."""

import os
import shutil
import sqlite3

import numpy as np
import pytest
from counting_model import write_photo
from mean_encoder import MeanEncoder

from glsim_mm.images.photos import hash_content
from glsim_mm.search import sync_images
from retrieval.gallery import create_gallery, open_gallery
from retrieval.gallery.database import Database

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')]
OPTIONS = dict(progress=False, num_workers=0, batch_size=1, seconds_between_commits=0.0)
MAX_STEPS = 200


def change(photos) -> None:
    """Moves, a swap, changed, new and lost photos, and content in two classes."""
    rng = np.random.default_rng(5)
    (photos / 'a' / '0.png').rename(photos / 'b' / 'moved.png')
    (photos / 'a' / '1.png').rename(photos / 'tmp')
    (photos / 'b' / '1.png').rename(photos / 'a' / '1.png')
    (photos / 'tmp').rename(photos / 'b' / '1.png')
    write_photo(photos / 'a' / '2.png', rng)
    write_photo(photos / 'b' / '2.png', rng)
    write_photo(photos / 'a' / 'new.png', rng)
    shutil.copy(photos / 'a' / 'new.png', photos / 'b' / 'new.png')
    (photos / 'a' / '3.png').unlink()
    (photos / 'b' / '3.png').rename(photos / 'a' / '0.png')


def state_of(gallery_folder) -> dict[str, tuple[str | None, str | None, int]]:
    """Label, content and id by path; each row has the embedding of its content, and its id once."""
    with open_gallery(gallery_folder) as gallery:
        gallery.verify()
        ids = gallery.ids()
        records, vectors = gallery.records(ids), gallery.vectors(ids)
        assert len(set(ids.tolist())) == len(ids) == len(gallery)
    for record, vector in zip(records, vectors):
        np.testing.assert_allclose(vector, EMBEDDINGS[record.content_hash], atol=1e-6)
    rows = {one.path: (one.label, one.content_hash, one.id) for one in records}
    assert len(rows) == len(records)
    return rows


def without_ids(rows):
    return {path: row[:2] for path, row in rows.items()}


EMBEDDINGS: dict[str, np.ndarray] = {}


def remember_embeddings(photos) -> None:
    for file in photos.rglob('*.png'):
        vector = MeanEncoder().encode(file).embeddings['global'][0]
        EMBEDDINGS[hash_content(file.read_bytes())] = vector / np.linalg.norm(vector)


def sync(folder, photos):
    with open_gallery(folder, writable=True) as gallery:
        return sync_images(gallery, MeanEncoder(), photos, **OPTIONS)


def die_at(step: int) -> None:
    """Kill this process when it is about to make something durable for the ``step``-th time."""
    count = [0]

    def counted(function):
        def call(*args, **options):
            count[0] += 1
            if count[0] == step:
                os._exit(9)
            return function(*args, **options)

        return call

    os.replace = counted(os.replace)
    Database.write_meta = counted(Database.write_meta)
    Database.delete_records = counted(Database.delete_records)
    Database.close = counted(Database.close)


def test_a_killed_sync_is_finished_by_the_next(tmp_path):
    rng = np.random.default_rng(1)
    for name in ('a/0', 'a/1', 'a/2', 'a/3', 'b/0', 'b/1', 'b/2', 'b/3'):
        write_photo(tmp_path / 'photos' / f'{name}.png', rng)
    photos = tmp_path / 'photos'
    remember_embeddings(photos)
    origin = {'root': str(photos)}
    create_gallery(tmp_path / 'start', {'global': 48}, fingerprint=MeanEncoder().fingerprint, origin=origin).close()
    assert len(sync(tmp_path / 'start', photos).added) == 8
    before = state_of(tmp_path / 'start')
    change(photos)
    remember_embeddings(photos)
    shutil.copytree(tmp_path / 'start', tmp_path / 'done')
    assert sync(tmp_path / 'done', photos).encoded == 3
    after = state_of(tmp_path / 'done')
    assert {path: content for path, (_, content, _) in after.items()} == {
        str(file.relative_to(photos)): hash_content(file.read_bytes()) for file in photos.rglob('*.png')
    }
    for step in range(1, MAX_STEPS):
        folder = tmp_path / f'step{step}'
        shutil.copytree(tmp_path / 'start', folder)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                die_at(step)
                sync(folder, photos)
                code = 0
            finally:
                os._exit(code)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in (0, 9)
        seen = state_of(folder)
        for path, row in seen.items():  # none is half of one photo and half of another
            assert row[:2] in (before.get(path, ())[:2], after.get(path, ())[:2]), (step, path)
        sync(folder, photos)
        finished = state_of(folder)
        assert without_ids(finished) == without_ids(after), step
        assert {row[1:] for row in before.values()} & {row[1:] for row in after.values()} <= {
            row[1:] for row in finished.values()
        }, step
        with sqlite3.connect(folder / 'gallery.sqlite') as database:
            assert database.execute('PRAGMA integrity_check').fetchone() == ('ok',)
        if ended == 0:
            assert step > 5
            return
        shutil.rmtree(folder)
    pytest.fail('the sync took more steps than expected')
