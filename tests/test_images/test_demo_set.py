"""The demo data set on disk: complete or not there, and never in the place of a user's files."""

import json
import multiprocessing
import os
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from glsim_mm.datasets import CUBFormat
from glsim_mm.errors import GLSimError
from glsim_mm.images.demo_scene import MARKS, render_scene
from glsim_mm.images.demo_set import MARKER, DemoSettings, is_complete, render_demo

SMALL = DemoSettings(num_classes=3, train_per_class=2, test_per_class=1, size=32)


def snapshot(root) -> dict:
    """Content and time of every file."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob('*') if path.is_file()}


def test_is_a_data_set_in_cub_format(tmp_path):
    assert render_demo(tmp_path / 'demo', SMALL)
    train, test = CUBFormat(tmp_path / 'demo'), CUBFormat(tmp_path / 'demo', 'test')
    assert train.get_gt_labels().tolist() == [0, 1, 2, 0, 1, 2]
    assert test.get_gt_labels().tolist() == [0, 1, 2]
    assert train.CLASSES == tuple(f'{i}.{name}_fish' for i, name in zip(('001', '002', '003'), MARKS))
    info = test.get_data_info(1)
    scene = render_scene(MARKS['Two_spots'], 32, 0, 8)
    np.testing.assert_array_equal(cv2.imread(info['img_path'])[..., ::-1], scene.image)
    x, y, width, height = scene.box
    assert info['gt_bboxes'].tolist() == [[x, y, x + width, y + height]]


def test_second_run_changes_nothing(tmp_path):
    assert render_demo(tmp_path / 'demo', SMALL)
    before = snapshot(tmp_path)
    assert not render_demo(tmp_path / 'demo', SMALL)
    assert snapshot(tmp_path) == before


def test_same_seed_gives_the_same_files(tmp_path):
    render_demo(tmp_path / 'a', SMALL)
    render_demo(tmp_path / 'b', SMALL)
    render_demo(tmp_path / 'c', replace(SMALL, seed=1))
    first, second, other = (
        {path.relative_to(tmp_path / name): content for path, (content, _) in snapshot(tmp_path / name).items()}
        for name in 'abc'
    )
    assert first == second
    assert first.keys() == other.keys() and first != other


def test_pictures_do_not_depend_on_how_many_there_are(tmp_path):
    """Only the first training picture is compared: numbers of later ones depend on the size of the set."""
    render_demo(tmp_path / 'small', SMALL)
    render_demo(tmp_path / 'large', replace(SMALL, train_per_class=4))
    path = 'images/001.One_spot_fish/One_spot_fish_00001.png'
    assert (tmp_path / 'small' / path).read_bytes() == (tmp_path / 'large' / path).read_bytes()


@pytest.mark.parametrize(
    'victim, damage',
    [('images/002.Two_spots_fish/Two_spots_fish_00002.png', 'emptied'), ('images.txt', 'removed')],
)
def test_incomplete_set_is_made_anew(tmp_path, victim, damage):
    render_demo(tmp_path / 'demo', SMALL)
    path = tmp_path / 'demo' / victim
    content = path.read_bytes()
    path.unlink()
    if damage == 'emptied':
        path.touch()
    assert not is_complete(tmp_path / 'demo', SMALL)
    assert render_demo(tmp_path / 'demo', SMALL)
    assert path.read_bytes() == content


def test_other_settings_and_versions_are_made_anew(tmp_path):
    render_demo(tmp_path / 'demo', SMALL)
    assert render_demo(tmp_path / 'demo', replace(SMALL, test_per_class=2))
    marker = tmp_path / 'demo' / MARKER
    marker.write_text(json.dumps(dict(json.loads(marker.read_text()), version=0)))
    assert render_demo(tmp_path / 'demo', replace(SMALL, test_per_class=2))
    assert [path.name for path in tmp_path.iterdir()] == ['demo']


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'photo.jpg').write_bytes(b'mine')
    with pytest.raises(GLSimError, match='mine holds files that are not of the demo set; choose another folder'):
        render_demo(tmp_path / 'mine', SMALL)
    with pytest.raises(GLSimError, match='photo.jpg is a file; choose another folder'):
        render_demo(tmp_path / 'mine' / 'photo.jpg', SMALL)
    assert (tmp_path / 'mine' / 'photo.jpg').read_bytes() == b'mine'
    assert [path.name for path in tmp_path.iterdir()] == ['mine']


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / 'demo').mkdir()
    assert render_demo(tmp_path / 'demo', SMALL)
    assert is_complete(tmp_path / 'demo', SMALL)


def test_killed_run_leaves_nothing_that_looks_complete(tmp_path):
    run = multiprocessing.get_context('fork').Process(target=render_demo, args=(tmp_path / 'demo',))
    run.start()
    try:
        while run.is_alive() and not list(tmp_path.rglob('*_00005.png')):
            time.sleep(0.05)
    finally:
        run.kill()
        run.join()
    assert list(tmp_path.rglob('*_00005.png')), 'it ended before it had begun'
    assert not (tmp_path / 'demo').exists()
    [left_over] = tmp_path.iterdir()
    os.utime(left_over, (0, 0))
    assert render_demo(tmp_path / 'demo', SMALL)
    assert is_complete(tmp_path / 'demo', SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['demo']


def test_folder_of_a_run_in_progress_is_left_alone(tmp_path):
    (tmp_path / '.demo-x.glsim-demo').mkdir()
    render_demo(tmp_path / 'demo', SMALL)
    assert (tmp_path / '.demo-x.glsim-demo').exists()


@pytest.mark.parametrize(
    'values, message',
    [
        (dict(num_classes=1), 'the demo set has 2 to 12 classes, got 1'),
        (dict(num_classes=13), 'got 13'),
        (dict(train_per_class=0), 'at least one training and one test picture'),
        (dict(size=16), 'pictures of 16 px are too small'),
        (dict(seed=-1), 'the seed must not be negative'),
    ],
)
def test_bad_settings_are_told(values, message):
    with pytest.raises(GLSimError, match=message):
        DemoSettings(**values)
