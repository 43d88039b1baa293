"""Boxes for mmdet and masks for mmseg."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_run import call_tool

from glsim_mm.datasets import CUBFormat
from glsim_mm.datasets.box_export import coco_annotations, draw_mask, export_boxes, polygon_in_box
from glsim_mm.errors import GLSimError
from glsim_mm.images.demo_set import DemoSettings, render_demo


@pytest.fixture(scope='module')
def fish(tmp_path_factory):
    folder = tmp_path_factory.mktemp('boxes') / 'demo'
    render_demo(folder, DemoSettings(3, 2, 1, 48))
    return folder


def _samples(folder, split='train'):
    dataset = CUBFormat(str(folder), split, pipeline=[])
    return [dataset.get_data_info(index) for index in range(len(dataset))], dataset.CLASSES


def test_coco(fish):
    samples, classes = _samples(fish)
    content = coco_annotations(samples, classes, fish / 'images')
    assert [one['name'] for one in content['categories']] == list(classes)
    assert len(content['images']) == len(content['annotations']) == 6
    for sample, image, one in zip(samples, content['images'], content['annotations']):
        x, y, width, height = one['bbox']
        np.testing.assert_allclose([x, y, x + width, y + height], sample['gt_bboxes'][0])
        assert one['image_id'] == image['id'] and one['category_id'] == sample['gt_label'] + 1
        assert one['area'] == width * height and (image['width'], image['height']) == (48, 48)
        assert (fish / 'images' / image['file_name']).is_file()
        assert one['segmentation'] == [[x, y, x + width, y, x + width, y + height, x, y + height]]
    single = coco_annotations(samples, classes, fish / 'images', 'fish')
    assert [one['name'] for one in single['categories']] == ['fish']
    assert {one['category_id'] for one in single['annotations']} == {1}


def test_masks(fish):
    samples, classes = _samples(fish)
    for shape, share in (('box', 1.0), ('ellipse', np.pi / 4)):
        content = coco_annotations(samples, classes, fish / 'images', shape=shape)
        mask = np.asarray(draw_mask(content['images'][1], content['annotations'][1:2]))
        x0, y0, x1, y1 = samples[1]['gt_bboxes'][0].astype(int)
        assert mask.shape == (48, 48) and set(np.unique(mask)) == {0, samples[1]['gt_label'] + 1}
        assert (mask > 0).sum() / ((x1 - x0) * (y1 - y0)) == pytest.approx(share, abs=0.12)
        outside = mask.copy()
        outside[y0 : y1 + 1, x0 : x1 + 1] = 0
        assert not outside.any()


def test_polygons_fill_their_box():
    corners = np.array(polygon_in_box((2, 4, 10, 8), 'ellipse'))
    np.testing.assert_allclose([corners.min(0), corners.max(0)], [[2, 4], [10, 8]])


def test_command_line(fish, tmp_path, capsys):
    call_tool('datasets/export_boxes', fish, '--out', tmp_path, '--single-class', 'fish')
    assert '6 images in' in capsys.readouterr().out
    content = json.loads((tmp_path / 'annotations' / 'test.json').read_text())
    assert len(content['images']) == 3 and len(content['annotations'][0]['segmentation'][0]) == 48
    names = (tmp_path / 'splits' / 'train.txt').read_text().split('\n')[:-1]
    assert len(names) == 6
    for name in names:
        assert (fish / 'images' / f'{name}.png').is_file()
        mask = np.asarray(Image.open(tmp_path / 'masks' / f'{name}.png'))
        assert mask.shape == (48, 48) and mask.max() == 1


def test_images_that_lie_on_their_side(fish, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (40, 20)).save(tmp_path / 'a.jpg', exif=exif)
    sample = dict(img_path=str(tmp_path / 'a.jpg'), gt_label=0, gt_bboxes=np.array([[0, 0, 30, 30]], np.float32))
    content = coco_annotations([sample], ['x'], tmp_path)
    assert (content['images'][0]['width'], content['images'][0]['height']) == (20, 40)
    assert content['annotations'][0]['bbox'] == [0, 0, 20, 30]  # ends at the border


def test_mistakes(fish, tmp_path):
    samples, classes = _samples(fish)
    with pytest.raises(GLSimError, match='has no box'):
        coco_annotations([dict(samples[0], gt_bboxes=None)], classes, fish / 'images')
    with pytest.raises(GLSimError, match='cannot be read'):
        coco_annotations([dict(samples[0], img_path=str(fish / 'classes.txt'))], classes, fish)
    with pytest.raises(GLSimError, match='masks hold 254 classes'):
        export_boxes(samples, [str(number) for number in range(300)], fish / 'images', tmp_path, 'train')
    with pytest.raises(ValueError, match='shape must be'):
        coco_annotations(samples, classes, fish, shape='star')
