"""Loaded and resized images kept on disk."""

import os
import resource
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from glsim_mm.engine.hooks.wrappers import all_transforms
from glsim_mm.errors import GLSimError

STEPS = [dict(type='LoadImage'), dict(type='Resize', scale=24, backend='pillow', interpolation='bicubic')]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'photo.jpg'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
    return path


def build(folder, steps=STEPS):
    return TRANSFORMS.build(dict(type='CachedTransforms', transforms=steps, cache_dir=str(folder)))


def sample(photo):
    return dict(img_path=str(photo), gt_label=3, gt_bboxes=np.array([[8, 6, 40, 30]], np.float32))


def uncached(photo, steps=STEPS):
    results = sample(photo)
    for step in steps:
        results = TRANSFORMS.build(dict(step))(results)
    return results


def same(one, other):
    assert set(one) == set(other)
    for name, value in other.items():
        if isinstance(value, np.ndarray):
            assert one[name].dtype == value.dtype and np.array_equal(one[name], value)
        else:
            assert tuple(np.ravel(one[name])) == tuple(np.ravel(value)), name


def entries(folder):
    return sorted(folder.rglob('*.npz'))


def test_the_same_bit_for_bit_and_read_the_second_time(photo, tmp_path):
    wanted = uncached(photo)
    same(build(tmp_path / 'cache')(sample(photo)), wanted)
    (entry,) = entries(tmp_path / 'cache')
    content = photo.read_bytes()
    state = photo.stat()
    photo.write_bytes(bytes(len(content)))  # unreadable from here on, but of the same size and time
    os.utime(photo, ns=(state.st_atime_ns, state.st_mtime_ns))
    same(build(tmp_path / 'cache')(sample(photo)), wanted)
    assert entries(tmp_path / 'cache') == [entry]


def test_a_changed_photo_or_step_makes_a_new_entry(photo, tmp_path):
    build(tmp_path / 'cache')(sample(photo))
    Image.new('RGB', (80, 60), 'red').save(photo)
    os.utime(photo, ns=(1, 1))
    same(build(tmp_path / 'cache')(sample(photo)), uncached(photo))
    smaller = [STEPS[0], dict(STEPS[1], scale=16)]
    assert build(tmp_path / 'cache', smaller)(sample(photo))['img'].shape == (16, 16, 3)
    assert len(entries(tmp_path / 'cache')) == 3


@pytest.mark.parametrize('damage', [b'', b'PK', None])
def test_a_damaged_entry_is_made_again(photo, tmp_path, damage):
    build(tmp_path / 'cache')(sample(photo))
    (entry,) = entries(tmp_path / 'cache')
    content = entry.read_bytes()
    entry.write_bytes(content[: len(content) // 2] if damage is None else damage)
    same(build(tmp_path / 'cache')(sample(photo)), uncached(photo))
    assert entry.read_bytes() == content


def test_it_goes_on_where_nothing_can_be_written(photo, tmp_path, caplog):
    (tmp_path / 'cache').write_text('a file where the folder should be')
    transform = build(tmp_path / 'cache')
    for _ in range(2):
        same(transform(sample(photo)), uncached(photo))


def test_a_full_disk_leaves_nothing_behind(photo, tmp_path):
    transform = build(tmp_path / 'cache')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # no file of this process may grow beyond 100 bytes
    try:
        results = transform(sample(photo))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    same(results, uncached(photo))
    assert not [path for path in (tmp_path / 'cache').rglob('*') if path.is_file()]


def test_several_at_once(photo, tmp_path):
    transform = build(tmp_path / 'cache')
    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(lambda _: transform(sample(photo)), range(32)):
            assert np.array_equal(results['img'], uncached(photo)['img'])
    assert len(entries(tmp_path / 'cache')) == 1 and not list((tmp_path / 'cache').rglob('tmp*'))


def test_unreadable_photos_are_skipped_and_counted(tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    transform = build(tmp_path / 'cache')
    assert transform(dict(img_path=str(tmp_path / 'broken.jpg'))) is None
    assert transform(dict(img_path=str(tmp_path / 'missing.jpg'))) is None
    assert sum(getattr(one, 'num_unreadable', 0) for one in all_transforms(transform)) == 2
    assert not entries(tmp_path / 'cache')


def test_random_steps_are_refused(tmp_path):
    with pytest.raises(GLSimError, match='RandomCrop draws at random'):
        build(tmp_path, [*STEPS, dict(type='RandomCrop', crop_size=8)])
