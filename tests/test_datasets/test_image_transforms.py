"""Unreadable photos are skipped, replaced or told, and counted over all worker processes; boxes follow a crop."""

import copy
import logging
import pickle
from multiprocessing.reduction import ForkingPickler

import cv2
import numpy as np
import pytest
from image_files import colored_files, unreadable_files, write_files
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import DataLoader

from glsim_mm.datasets import LoadImage, RandomCropWithBoxes
from glsim_mm.errors import GLSimError


@pytest.fixture
def warnings_told(mmengine_log):
    """Messages of warnings, in order."""
    return lambda: [record.getMessage() for record in mmengine_log.records if record.levelno == logging.WARNING]


@pytest.fixture
def good(tmp_path) -> str:
    return str(write_files(tmp_path, {'good photo.png': colored_files()['rgb.png']})[0])


def folder_with_bad_photos(path) -> CustomDataset:
    """30 good photos and some bad ones in two classes, loaded with the default of training."""
    for name in ('a', 'b'):
        (path / name).mkdir()
    write_files(path / 'a', {f'{index}.png': colored_files()['rgb.png'] for index in range(30)})
    write_files(path / 'b', unreadable_files())
    steps = [dict(type='LoadImage'), dict(type='Resize', scale=16), dict(type='PackInputs')]
    return CustomDataset(data_root=str(path), pipeline=[TRANSFORMS.build(step) for step in steps])


def take_all(dataset, **options) -> int:
    batches = DataLoader(dataset, batch_size=4, collate_fn=list, **options)
    return sum(len(batch) for batch in batches)


def test_loads_bgr_with_shapes(good):
    results = LoadImage()(dict(img_path=good, gt_label=3))
    np.testing.assert_array_equal(results['img'], cv2.imread(good))
    assert results['img'].dtype == np.uint8
    assert results['img_shape'] == results['ori_shape'] == results['img'].shape[:2]
    assert results['gt_label'] == 3


def test_float32_has_the_same_values(good):
    results = LoadImage(to_float32=True)(dict(img_path=good))
    assert results['img'].dtype == np.float32
    np.testing.assert_array_equal(results['img'], cv2.imread(good))


def test_image_that_is_there_already_passes():
    image = np.zeros((4, 5, 3), np.uint8)
    results = dict(img=image, img_shape=(4, 5))
    assert LoadImage()(results) is results and results['img'] is image


@pytest.mark.parametrize('name', [*unreadable_files(), 'missing.jpg', 'folder'])
def test_unreadable_is_skipped_counted_and_told_once(tmp_path, name, warnings_told):
    write_files(tmp_path, unreadable_files())
    (tmp_path / 'folder').mkdir()
    load = LoadImage()
    for meetings in range(1, 4):
        assert load(dict(img_path=str(tmp_path / name))) is None
        assert load.num_unreadable == meetings
    assert len(warnings_told()) == 1
    assert str(tmp_path / name) in warnings_told()[0]


def test_blank_stands_in_so_that_no_test_photo_is_lost(tmp_path):
    load = LoadImage(on_unreadable='blank')
    results = load(dict(img_path=str(tmp_path / 'missing.jpg'), gt_label=5))
    assert results['img'].dtype == np.uint8
    assert (results['img'] == (104, 116, 124)).all()
    assert results['img_shape'] == results['ori_shape'] == (224, 224)
    assert results['gt_label'] == 5
    assert load.num_unreadable == 1


def test_blanks_never_end_a_test(tmp_path):
    load = LoadImage(on_unreadable='blank')
    for index in range(2 * LoadImage.MAX_FIRST_MISSES):
        assert load(dict(img_path=str(tmp_path / f'{index}.jpg')))['img'] is not None


def test_error_names_the_file(tmp_path):
    with pytest.raises(GLSimError, match='missing.jpg cannot be read .*; replace or remove it'):
        LoadImage(on_unreadable='error')(dict(img_path=str(tmp_path / 'missing.jpg')))


def test_unknown_choice():
    with pytest.raises(GLSimError, match="on_unreadable must be one of skip, blank, error, got 'ignore'"):
        LoadImage(on_unreadable='ignore')


def test_wrong_folder_is_told_after_a_hundred_misses(tmp_path):
    load = LoadImage()
    for index in range(LoadImage.MAX_FIRST_MISSES - 1):
        assert load(dict(img_path=str(tmp_path / f'{index}.jpg'))) is None
    with pytest.raises(GLSimError, match='none of the first 100 images can be read.*data_root'):
        load(dict(img_path=str(tmp_path / 'x.jpg')))


def test_many_bad_photos_do_not_end_training_once_one_was_good(tmp_path, good):
    load = LoadImage()
    load(dict(img_path=good))
    for index in range(3 * LoadImage.MAX_FIRST_MISSES):
        assert load(dict(img_path=str(tmp_path / f'{index}.jpg'))) is None
    assert load.num_unreadable == 3 * LoadImage.MAX_FIRST_MISSES


def test_data_set_takes_other_photos(tmp_path):
    dataset = folder_with_bad_photos(tmp_path)
    assert take_all(dataset) == 30 + len(unreadable_files())
    assert dataset.pipeline.transforms[0].num_unreadable >= len(unreadable_files())


def test_forked_workers_share_the_count(tmp_path):
    dataset = folder_with_bad_photos(tmp_path)
    assert take_all(dataset, num_workers=2, multiprocessing_context='fork') == 30 + len(unreadable_files())
    assert dataset.pipeline.transforms[0].num_unreadable >= len(unreadable_files())


def test_spawned_workers_share_the_count(tmp_path):
    """A spawned worker gets what this pickler makes; starting one takes seconds, most of them for imports."""
    load = LoadImage()
    received = ForkingPickler.loads(bytes(ForkingPickler.dumps(load)))
    assert received(dict(img_path=str(tmp_path / 'missing.jpg'))) is None
    assert (load.num_unreadable, received.num_unreadable) == (1, 1)


def test_copies_share_their_count_with_their_workers(tmp_path):
    dataset = folder_with_bad_photos(tmp_path)
    for duplicate in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):  # noqa: S301 (made right here)
        take_all(duplicate, num_workers=1, multiprocessing_context='fork')
        assert duplicate.pipeline.transforms[0].num_unreadable >= len(unreadable_files())
    assert dataset.pipeline.transforms[0].num_unreadable == 0


def test_repr_names_the_choice():
    assert "on_unreadable='blank'" in repr(TRANSFORMS.build(dict(type='LoadImage', on_unreadable='blank')))


def marked_image(height=30, width=40, box=(10, 5, 22, 18)):
    """An image that is white within its box and black outside."""
    x0, y0, x1, y1 = box
    image = np.zeros((height, width, 3), np.uint8)
    image[y0:y1, x0:x1] = 255
    return dict(img=image, gt_bboxes=np.array([box], np.float32))


@pytest.mark.parametrize('seed', range(8))
def test_box_stays_on_its_pixels(seed):
    np.random.seed(seed)
    results = RandomCropWithBoxes(crop_size=(16, 20))(marked_image())
    assert results['img'].shape == (16, 20, 3) == results['img_shape']
    x0, y0, x1, y1 = results['gt_bboxes'][0].astype(int)
    expected = np.zeros((16, 20, 3), np.uint8)
    expected[y0:y1, x0:x1] = 255
    assert np.array_equal(results['img'], expected)


def test_draws_the_numbers_of_mmpretrains_crop():
    image = np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)
    crops = []
    for name in ('RandomCrop', 'RandomCropWithBoxes'):
        np.random.seed(3)
        crops.append(TRANSFORMS.build(dict(type=f'mmpretrain.{name}', crop_size=16))(dict(img=image))['img'])
    assert np.array_equal(*crops)


def test_box_outside_the_crop_becomes_empty():
    np.random.seed(0)
    results = marked_image(height=16, width=200, box=(0, 0, 4, 4))
    while results['gt_bboxes'][0, 2] > 0:
        results = RandomCropWithBoxes(16)(marked_image(height=16, width=200, box=(0, 0, 4, 4)))
    assert results['gt_bboxes'].tolist() == [[0, 0, 0, 4]]


def test_small_images_stay_whole():
    results = RandomCropWithBoxes(64)(marked_image())
    assert results['img'].shape == (30, 40, 3) and results['gt_bboxes'].tolist() == [[10, 5, 22, 18]]
