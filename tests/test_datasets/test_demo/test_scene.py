"""Pictures of the demo set: the mark, and nothing but the mark, tells the class."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glsim_mm.datasets.demo_scene import MARKS, render_scene

SCENE_DIGEST = '16cc382df2aa080c74aeae52232d538a43af52dc81d81c428f38ac97bd7510d0'
SEEDS = st.tuples(st.integers(0, 2**31), st.integers(0, 2**31))
SIZES = st.sampled_from([32, 48, 96])


@settings(max_examples=25, deadline=None)
@given(seeds=SEEDS, size=SIZES, names=st.lists(st.sampled_from(list(MARKS)), min_size=2, max_size=2, unique=True))
def test_classes_differ_in_the_mark_alone(seeds, size, names):
    first, second = (render_scene(MARKS[name], size, *seeds) for name in names)
    assert (first.box, first.mark) == (second.box, second.mark)
    changed = (first.image != second.image).any(axis=-1)
    rows, columns = np.nonzero(changed)
    x, y, radius = first.mark
    # A pixel of smooth edge, and a little bend of the fish.
    assert np.hypot(columns + 0.5 - x, rows + 0.5 - y).max() <= 1.15 * radius + 1.5
    assert 0 < changed.mean() < 0.08


@settings(max_examples=40, deadline=None)
@given(seeds=SEEDS, size=SIZES)
def test_fish_and_mark_are_in_the_picture(seeds, size):
    scene = render_scene(MARKS['Ring'], size, *seeds)
    assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
    x, y, width, height = scene.box
    assert 0 <= x and 0 <= y and x + width <= size and y + height <= size
    mark_x, mark_y, radius = scene.mark
    assert x <= mark_x - 0.8 * radius and mark_x + 0.8 * radius <= x + width
    assert y <= mark_y - 0.8 * radius and mark_y + 0.8 * radius <= y + height
    assert 0.02 < width * height / size**2 < 0.9


def test_place_and_size_vary():
    boxes = np.array([render_scene(MARKS['Line'], 32, 0, index).box for index in range(40)]) / 32
    centers = boxes[:, :2] + boxes[:, 2:] / 2
    assert (np.ptp(centers, axis=0) > 0.2).all()
    assert boxes[:, 2].max() > 1.25 * boxes[:, 2].min()


@pytest.mark.parametrize('size', [48])
def test_every_two_marks_can_be_told_apart(size):
    images = [render_scene(mark, size, 0, 5).image.astype(int) for mark in MARKS.values()]
    for index, first in enumerate(images):
        for second in images[:index]:
            assert (np.abs(first - second).max(axis=-1) > 60).sum() >= 8


def test_pixels_are_what_they_always_were():
    digest = hashlib.sha256()
    for index, mark in enumerate(MARKS.values()):
        digest.update(render_scene(mark, 48, 0, index).image.tobytes())
    assert digest.hexdigest() == SCENE_DIGEST, 'raise VERSION in demo/writer.py if pictures are meant to change'


@settings(max_examples=5, deadline=None)
@given(seeds=SEEDS)
def test_other_seeds_give_other_pictures(seeds):
    first = render_scene(MARKS['Ring'], 32, *seeds).image
    assert (first != render_scene(MARKS['Ring'], 32, seeds[0], seeds[1] + 1).image).mean() > 0.5
    assert (first == render_scene(MARKS['Ring'], 32, *seeds).image).all()
