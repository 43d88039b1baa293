import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS

from glsim_mm.datasets import RandomCropWithBoxes


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
