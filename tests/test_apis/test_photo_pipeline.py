"""From the network input back to the photo, against maps computed by hand."""

import tracemalloc

import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS

from glsim_mm.apis.photo_pipeline import photo_from_input
from glsim_mm.images.places import map_box


def build(*steps: dict) -> list:
    return [TRANSFORMS.build(step) for step in steps]


def find(shape: tuple[int, int], *steps: dict) -> np.ndarray | None:
    return photo_from_input(build(*steps), shape)


def test_resize_and_centre_crop_by_hand():
    # 400 x 200 pixels become 300 x 300, of which 38..262 are kept: x = (x' + 38) 4/3, y = (y' + 38) 2/3.
    pillow = dict(type='Resize', scale=300, backend='pillow', interpolation='bicubic')
    matrix = find((200, 400), pillow, dict(type='CenterCrop', crop_size=224))
    expected = [[4 / 3, 0, 38 * 4 / 3], [0, 2 / 3, 38 * 2 / 3]]
    assert matrix == pytest.approx(np.array(expected), abs=1e-3)
    assert map_box(matrix, [0, 0, 224, 224], (200, 400)) == pytest.approx([50.667, 25.333, 349.333, 174.667], abs=0.01)
    assert map_box(matrix, [16, 32, 96, 64], (200, 400)) == pytest.approx([72, 46.667, 178.667, 68], abs=0.01)


def test_edge_resize_keeps_proportions_by_hand():
    # 300 x 600 (width x height): the short edge becomes 150, the crop of 100 starts at 25, 100.
    matrix = find((600, 300), dict(type='ResizeEdge', scale=150), dict(type='CenterCrop', crop_size=100))
    assert matrix == pytest.approx(np.array([[2.0, 0, 50], [0, 2, 200]]), abs=1e-3)


def test_padding_is_outside_the_photo():
    # mmcv pads on the right and below, so that the input's far corner is outside.
    steps = dict(type='Resize', scale=(64, 64), keep_ratio=True), dict(type='Pad', size=(64, 64))
    matrix = find((50, 100), *steps)
    assert matrix == pytest.approx(np.array([[100 / 64, 0, 0], [0, 100 / 64, 0]]), abs=1e-3)
    assert map_box(matrix, [32, 0, 64, 64], (50, 100)) == pytest.approx([50, 0, 100, 50], abs=0.01)


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (2, 3), (7, 5), (31, 500), (1200, 900)])
def test_whole_input_is_whole_photo(shape):
    matrix = find(shape, dict(type='Resize', scale=(64, 48)))
    assert map_box(matrix, [0, 0, 64, 48], shape) == pytest.approx([0, 0, shape[1], shape[0]], abs=0.05)


def test_mirrored_box_is_upright():
    def mirror(results: dict) -> dict:
        return {**results, 'img': results['img'][:, ::-1]}

    matrix = photo_from_input([mirror], (20, 40))
    assert map_box(matrix, [0, 2, 10, 8], (20, 40)) == pytest.approx([30, 2, 40, 8], abs=0.01)


def brighten(results: dict) -> dict:
    return {**results, 'img': results['img'] * 1.5}


def bend(results: dict) -> dict:
    height, width = results['img'].shape[:2]
    columns = (np.arange(width) ** 2 // width).astype(int)
    return {**results, 'img': results['img'][:, columns]}


def refuse(results: dict) -> dict:
    raise TypeError('uint8 only')


@pytest.mark.parametrize('step', [brighten, bend, refuse, lambda results: None])
def test_pipelines_that_cannot_be_followed(step):
    assert photo_from_input([step], (40, 60)) is None


def test_random_pipeline_cannot_be_followed():
    assert find((40, 60), dict(type='RandomCrop', crop_size=16)) is None


@pytest.mark.parametrize(
    'steps',
    [
        [dict(type='Resize', scale=(64, 48), backend='pillow')],
        [dict(type='Resize', scale=(64, 48), keep_ratio=True)],
        [dict(type='ResizeEdge', scale=52, edge='short')],
        [dict(type='ResizeEdge', scale=52, edge='long'), dict(type='CenterCrop', crop_size=(41, 30))],
        [dict(type='CenterCrop', crop_size=(120, 75))],
    ],
)
@pytest.mark.parametrize('shape', [(100, 151), (151, 100), (90, 90)])
def test_sizes_alone_tell_what_coordinates_tell(steps, shape):
    """Known steps are followed by arithmetic; an image of coordinates that really goes through them agrees."""
    built = build(*steps)
    by_coordinates = photo_from_input([lambda results: results, *built], shape)
    assert photo_from_input(built, shape) == pytest.approx(by_coordinates, abs=0.01)


def test_memory_does_not_grow_with_the_photo():
    steps = build(
        dict(type='Resize', scale=(64, 64)), dict(type='CenterCrop', crop_size=48), dict(type='Pad', size=(64, 64))
    )
    tracemalloc.start()
    try:
        matrix = photo_from_input(steps, (12240, 16320))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20
    assert map_box(matrix, [0, 0, 48, 48], (12240, 16320)) == pytest.approx([2040, 1530, 14280, 10710], abs=0.1)
