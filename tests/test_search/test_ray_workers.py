"""Encoding on a Ray cluster: workers that die, what they give, and that it is what one process gives."""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray
from counting_model import write_photo, write_weights
from mean_encoder import MeanEncoder
from mortal_encoder import MortalEncoder
from tiny_run import ROOT, call_tool, write_config

from glsim_mm.progress import ProgressBar
from glsim_mm.search import build_gallery, find_items
from glsim_mm.search.encoded import join_encoded
from glsim_mm.search.items import hash_items
from glsim_mm.search.ray_workers import RayWorkers
from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, open_gallery

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module', autouse=True)
def cluster(tmp_path_factory):
    """A cluster of two processors for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('RAY_USAGE_STATS_ENABLED', '0')
        patch.setenv('HOME', str(tmp_path_factory.mktemp('home')))  # Ray keeps a token there
        patch.setenv('PYTHONPATH', f'{ROOT}{os.pathsep}{Path(__file__).parent}')
        settings = dict(num_cpus=2, num_gpus=0, object_store_memory=80 << 20)
        settings.update(address='local', include_dashboard=False, log_to_driver=False)
        for _ in range(4):  # Ray gives its own processes 15 seconds to start, too few on a busy machine
            with suppress(Exception):
                ray.init(**settings)
                break
        else:
            ray.init(**settings)
        yield
        ray.shutdown()


@pytest.fixture
def lives(tmp_path):
    folder = tmp_path / 'lives'
    folder.mkdir()
    return folder


@pytest.fixture
def items(photos):
    write_photo(photos / 'a' / 'deadly.png', np.random.default_rng(7))
    (photos / 'b' / 'broken.png').write_bytes(b'no photo')
    return find_items(photos).items


def test_a_killed_worker_costs_its_photos_a_second_try_and_no_more(items, lives):
    (lives / '1').touch()
    workers = RayWorkers(count=2, photos_at_once=3)
    with workers.join(partial(MortalEncoder, lives), MeanEncoder().fingerprint, 2, 1) as pool:
        with ProgressBar(len(items), '', False) as bar:
            hashes = pool.hash_items(items, range(len(items)), bar)
            assert hashes == hash_items(items, range(len(items)), 1, bar)
        parts = list(pool.encode(items, range(len(items))))
    assert not list(lives.iterdir()) and len(parts) == 4
    found, expected = join_encoded(parts), join_encoded(list(MeanEncoder().stream(items, 2, 0)))
    np.testing.assert_array_equal(found.positions, expected.positions)
    np.testing.assert_allclose(found.embeddings['global'], expected.embeddings['global'], atol=1e-5)
    assert [one.content_hash for one in found.records] == [one.content_hash for one in expected.records]
    assert [one.path for one in found.records] == [one.path for one in expected.records]
    assert found.errors == expected.errors and len(found.errors) == 1


def test_what_kills_again_and_again_ends_the_build_with_what_was_encoded(items, lives):
    for number in range(2):
        (lives / str(number)).touch()
    workers = RayWorkers(count=1, photos_at_once=3, tries=2)
    done: list[int] = []
    with workers.join(partial(MortalEncoder, lives), MeanEncoder().fingerprint, 2, 1) as pool:
        parts = pool.encode(items, range(len(items)))
        with pytest.raises(RetrievalError, match='2 workers died while they had a/2.png and the 2 photos after it: '):
            done.extend(position for part in parts for position in part.positions.tolist())
    assert done == list(range(6))


def test_mistakes(items, tmp_path):
    with pytest.raises(RetrievalError, match='gpus of Ray workers must be 0 or more, got -1'):
        RayWorkers(gpus=-1)
    with pytest.raises(RetrievalError, match='no machine of the Ray cluster has 64 CPUs and 0.5 GPUs for a worker'):
        with RayWorkers(gpus=0.5).join(MeanEncoder, MeanEncoder().fingerprint, 2, 64):
            pass
    with RayWorkers(count=1).join(MeanEncoder, Fingerprint('other', 'mean', 'mean'), 2, 1) as pool:
        with pytest.raises(RetrievalError, match='a worker has another model, whose weights differ'):
            list(pool.encode(items, [0]))


def test_the_command_line_builds_what_build_does(photos, tmp_path):
    own = "model['backbone']['type'] = 'CountingViT'\ncustom_imports = dict(imports=['glsim_mm', 'counting_model'])\n"
    config = write_config(tmp_path / 'tiny_ray.py', photos, own)
    model = config, write_weights(config, tmp_path / 'weights.pth')
    images = f'file://{photos}'
    options = ['--device', 'cpu', '--num-workers', 1, '--no-progress', '--preset', 'flat']
    call_tool('ray_encode', images, *model, '--out', tmp_path / 'by_ray', '--workers', 1, *options)
    build_gallery(photos, *model, tmp_path / 'alone', device='cpu', num_workers=0, progress=False)
    with open_gallery(tmp_path / 'by_ray') as found, open_gallery(tmp_path / 'alone') as expected:
        ids = expected.ids()
        np.testing.assert_array_equal(found.ids(), ids)
        for space in expected.manifest.spaces:
            np.testing.assert_allclose(found.vectors(ids, space), expected.vectors(ids, space), atol=1e-5)
        for one, other in zip(found.records(ids), expected.records(ids)):
            assert one.path == f'{images}/{other.path}'
            assert (one.label, one.content_hash, one.image_size) == (other.label, other.content_hash, other.image_size)
            np.testing.assert_allclose(one.box, other.box)
            np.testing.assert_array_equal(one.similarity_map, other.similarity_map)
    assert not (tmp_path / 'by_ray.parts').exists()
