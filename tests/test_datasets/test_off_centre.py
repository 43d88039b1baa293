"""The off-centre protocol: where the photo goes, what is around it, and that every run makes the same."""

import cv2
import numpy as np
import pytest
from mmpretrain.registry import DATASETS, TRANSFORMS

from glsim_mm.datasets import OffCentre, off_centre_pipeline
from glsim_mm.errors import GLSimError

SIDES = (60, 90)


@pytest.fixture
def table(tmp_path):
    """Config of a data set of 6 photos: a box in the middle of one colour, and the number of the photo around it."""
    rows = ['path,label,box']
    for number in range(6):
        photo = np.full((*SIDES, 3), 20 + number, np.uint8)
        photo[20:40, 30:75] = 200 + number
        cv2.imwrite(str(tmp_path / f'{number}.png'), photo)
        rows.append(f'{number}.png,{number % 2},30 20 75 40')
    (tmp_path / 'photos.csv').write_text('\n'.join(rows))
    return dict(type='TableDataset', ann_file='photos.csv', data_root=str(tmp_path))


def load(table, number, **options):
    steps = [dict(type='LoadImage'), dict(type='OffCentre', backgrounds=table, **options)]
    return DATASETS.build(dict(table, pipeline=steps))[number]


@pytest.mark.parametrize('number', range(6))
def test_the_photo_is_in_its_frame_and_around_it_the_border_of_another(table, number):
    results = load(table, number)
    image, (x0, y0, x1, y1) = results['img'], results['gt_bboxes'][0].astype(int)
    share = SIDES[0] / image.shape[0]
    assert 0.39 < share < 0.81 and SIDES[1] / image.shape[1] == pytest.approx(share, abs=0.02)
    assert (image[y0:y1, x0:x1] == 200 + number).all() and (x1 - x0, y1 - y0) == (45, 20)
    own = image[y0 - 20 : y0 + 40, x0 - 30 : x0 + 60].copy()
    image[y0 - 20 : y0 + 40, x0 - 30 : x0 + 60] = 0
    assert set(np.unique(own)) == {20 + number, 200 + number}
    around = set(np.unique(image)) - {0}
    assert len(around) == 1 and around < set(range(20, 26)) - {20 + number}  # nothing of any object
    assert results['img_shape'] == image.shape[:2]


def test_it_is_the_same_wherever_the_photos_lie_and_another_with_another_seed(table, tmp_path):
    moved = tmp_path / 'elsewhere' / tmp_path.name
    moved.mkdir(parents=True)
    for path in [*tmp_path.glob('*.png'), tmp_path / 'photos.csv']:
        (moved / path.name).write_bytes(path.read_bytes())
    there = dict(table, data_root=str(moved))
    places = []
    for number in range(6):
        here = load(table, number)
        np.testing.assert_array_equal(here['img'], load(there, number)['img'])
        places.append((here['img'].shape, *here['gt_bboxes'][0]))
    assert len(set(places)) == 6
    assert any(load(table, number, seed=1)['img'].shape != load(table, number)['img'].shape for number in range(6))


def test_what_a_centre_crop_keeps_holds_all_that_it_held_before(table):
    steps = [dict(type='LoadImage'), dict(type='Resize', scale=60), dict(type='CenterCrop', crop_size=40)]
    for number in range(6):
        plain = DATASETS.build(dict(table, pipeline=steps))[number]
        moved = DATASETS.build(dict(table, pipeline=off_centre_pipeline(steps, table)))[number]
        a, b = plain['gt_bboxes'][0], moved['gt_bboxes'][0]
        shrunk = (b[2:] - b[:2]) / (a[2:] - a[:2])
        assert (shrunk > 0.35).all() and (shrunk < 0.85).all()
        assert moved['img'].shape == plain['img'].shape and (b >= 0).all() and (b <= 40).all()
        assert moved['img'][int(b[1:4:2].mean()), int(b[0:3:2].mean())].mean() == pytest.approx(200 + number, abs=1)


def test_photos_without_boxes_and_photos_that_cannot_be_read(table, tmp_path, mmengine_log):
    rows = (tmp_path / 'photos.csv').read_text().splitlines()
    (tmp_path / 'photos.csv').write_text('\n'.join(row.rpartition(',')[0] for row in rows))
    results = load(table, 0)
    assert 'gt_bboxes' not in results and 20 not in results['img'][[0, -1]][:, [0, -1]]
    for number in range(1, 6):
        (tmp_path / f'{number}.png').write_bytes(b'')
    with pytest.raises(GLSimError, match='no other photo that can be read'):
        load(table, 0)
    assert 'is no background' in mmengine_log.text


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(scale=(0.8, 0.4)), 'the least first'),
        (dict(scale=(0.0, 0.4)), 'above 0'),
        (dict(kept=0), 'kept must be above 0'),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(GLSimError, match=message):
        TRANSFORMS.build(dict(type='OffCentre', backgrounds={}, **options))
    assert 'seed=0' in repr(OffCentre({}))


def test_a_pipeline_that_cannot_be_off_centre(table):
    for steps in ([dict(type='LoadImage')], off_centre_pipeline([dict(type='Resize', scale=8)], table)):
        with pytest.raises(GLSimError, match='needs a test pipeline with Resize'):
            off_centre_pipeline(steps, table)
