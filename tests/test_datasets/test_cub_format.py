"""Data sets in the layout of CUB-200-2011."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import colored_files, write_files
from mmpretrain.registry import DATASETS, TRANSFORMS

from glsim_mm.datasets import CUBFormat
from glsim_mm.errors import GLSimError

TABLES = {
    'classes.txt': '1 Black footed Albatross\n2 Crow\n',
    'images.txt': '1 first class/a photo.png\n2 first class/b.png\n3 crow/c.png\n\n',
    'image_class_labels.txt': '1 1\n2 1\n3 2\n',
    'train_test_split.txt': '1 1\n2 0\n3 1\n',
    'bounding_boxes.txt': '1 2.0 3.0 10.0 12.5\n2 0 0 40 24\n3 5 6 7 8\n',
}


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / 'my birds'
    for name in ('first class', 'crow'):
        (root / 'images' / name).mkdir(parents=True)
    png = colored_files()['rgb.png']
    write_files(root / 'images' / 'first class', {'a photo.png': png, 'b.png': png})
    write_files(root / 'images' / 'crow', {'c.png': png})
    for name, text in TABLES.items():
        (root / name).write_text(text)
    return root


def test_splits_labels_paths_and_names(folder):
    train = DATASETS.build(dict(type='CUBFormat', data_root=str(folder), split='train'))
    assert train.CLASSES == ('Black footed Albatross', 'Crow')
    assert [train.get_data_info(index)['gt_label'] for index in range(len(train))] == [0, 1]
    assert train.get_data_info(0)['img_path'] == str(folder / 'images' / 'first class' / 'a photo.png')
    assert all(Path(train.get_data_info(index)['img_path']).is_file() for index in range(len(train)))
    test = CUBFormat(folder, 'test')
    assert len(test) == 1 and test.get_data_info(0)['img_path'].endswith('b.png')


def test_junk_beside_the_photos_changes_nothing(folder):
    before = [sample['img_path'] for sample in CUBFormat(folder, 'train')]
    shutil.copytree(folder / 'images' / 'crow', folder / 'images' / '.ipynb_checkpoints')
    (folder / 'images' / 'crow' / '._c.png').touch()
    train = CUBFormat(folder, 'train')
    assert [sample['img_path'] for sample in train] == before and train.CLASSES == ('Black footed Albatross', 'Crow')


def test_boxes_are_corners_and_follow_the_image(folder):
    steps = [dict(type='LoadImage'), dict(type='Resize', scale=(80, 48)), dict(type='CenterCrop', crop_size=48)]
    dataset = CUBFormat(folder, pipeline=[TRANSFORMS.build(step) for step in steps])
    assert dataset.get_data_info(0)['gt_bboxes'].tolist() == [[2.0, 3.0, 12.0, 15.5]]
    # Twice as large, then 16 px less on the left.
    assert dataset[0]['gt_bboxes'].tolist() == [[0.0, 6.0, 8.0, 31.0]]
    assert dataset.get_data_info(0)['gt_bboxes'].tolist() == [[2.0, 3.0, 12.0, 15.5]]


def test_boxes_are_optional(folder):
    (folder / 'bounding_boxes.txt').unlink()
    assert 'gt_bboxes' not in CUBFormat(folder).get_data_info(0)


def test_own_names_take_the_place_of_the_file(folder):
    (folder / 'classes.txt').unlink()
    assert CUBFormat(folder, classes=['x', 'y']).CLASSES == ('x', 'y')
    assert CUBFormat(folder, metainfo=dict(classes=('u', 'v'))).CLASSES == ('u', 'v')


def test_missing_root_is_told(tmp_path):
    with pytest.raises(GLSimError, match='data folder .*nowhere does not exist; set data_root'):
        CUBFormat(tmp_path / 'nowhere')


def test_unknown_split_is_told(folder):
    with pytest.raises(GLSimError, match="split must be one of train, test, got 'val'"):
        CUBFormat(folder, 'val')


@pytest.mark.parametrize('name', [name for name in TABLES if name != 'bounding_boxes.txt'])
def test_missing_file_is_told(folder, name):
    (folder / name).unlink()
    with pytest.raises(GLSimError, match=f'{name} is not there; check data_root'):
        CUBFormat(folder)


@pytest.mark.parametrize(
    'name, text, message',
    [
        ('image_class_labels.txt', '1 1\n2 1\n', r'do not list the same images \(id 3'),
        ('train_test_split.txt', '1 1\n2 0\n3 1\n4 1\n', r'do not list the same images \(id 4'),
        ('bounding_boxes.txt', '1 0 0 1 1\n', r'do not list the same images \(id 2'),
        ('image_class_labels.txt', '1 1\n2 1\n3 3\n', 'image 3 in .* has class 3, but there are classes 1 to 2'),
        ('image_class_labels.txt', '1 0\n2 1\n3 2\n', 'image 1 in .* has class 0'),
        ('image_class_labels.txt', '1 1\n2 crow\n3 2\n', "line 2 of .* cannot be read .'2 crow'"),
        ('bounding_boxes.txt', '1 0 0 1\n2 0 0 1 1\n3 0 0 1 1\n', 'line 1 of .*bounding_boxes.txt cannot be read'),
        ('images.txt', '1 a.png\n2\n3 c.png\n', 'line 2 of .*images.txt cannot be read'),
        ('images.txt', '1 a.png\n1 b.png\n3 c.png\n', 'line 2 of .*images.txt has the id 1 again'),
        ('images.txt', '1 a.png\n2 b.png\n3 a.png\n', 'images.txt lists a.png twice, as 1 and 3'),
        ('classes.txt', '0 a\n1 b\n', 'the ids in .*classes.txt must be 1, 2, 3'),
        ('train_test_split.txt', '1 0\n2 0\n3 0\n', 'belongs to the train split'),
    ],
)
def test_inconsistent_files_are_told(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(GLSimError, match=message):
        CUBFormat(folder)


NAMES = st.text(st.characters(codec='utf-8', categories=('L', 'N', 'P')), min_size=1, max_size=8)


@settings(max_examples=20, deadline=None)
@given(
    names=st.lists(st.lists(NAMES, min_size=1, max_size=3).map(' '.join), min_size=1, max_size=5, unique=True),
    rows=st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=12),
)
def test_reads_back_what_was_written(tmp_path_factory, names, rows):
    root = tmp_path_factory.mktemp('cub')
    rows = [(label % len(names), train) for label, train in rows] + [(0, True), (0, False)]
    (root / 'classes.txt').write_text(''.join(f'{i} {name}\n' for i, name in enumerate(names, 1)), encoding='utf-8')
    images = [f'{i} {names[label].replace("/", "_")}/{i}.png' for i, (label, _) in enumerate(rows, 1)]
    (root / 'images.txt').write_text('\n'.join(images), encoding='utf-8')
    (root / 'image_class_labels.txt').write_text('\n'.join(f'{i} {row[0] + 1}' for i, row in enumerate(rows, 1)))
    (root / 'train_test_split.txt').write_text('\n'.join(f'{i} {int(row[1])}' for i, row in enumerate(rows, 1)))
    for split in ('train', 'test'):
        dataset = CUBFormat(root, split, serialize_data=False)  # which is slow
        assert dataset.CLASSES == tuple(names)
        labels = [label for label, train in rows if train == (split == 'train')]
        assert dataset.get_gt_labels().tolist() == labels
        for label, index in zip(labels, range(len(dataset))):
            path = Path(dataset.get_data_info(index)['img_path'])
            assert path.parent.name == names[label].replace('/', '_')
    shutil.rmtree(root)


def test_real_birds(shared_root):
    root = shared_root / 'data' / 'cub50'
    train, test = CUBFormat(root), CUBFormat(root, 'test')
    assert (len(train), len(test), len(train.CLASSES)) == (1500, 1389, 50)
    assert train.CLASSES[0] == '001.Black_footed_Albatross'
    assert np.bincount(train.get_gt_labels(), minlength=50).min() > 0
    info = test.get_data_info(0)
    image = TRANSFORMS.build(dict(type='LoadImage'))(info)['img']
    x0, y0, x1, y1 = info['gt_bboxes'][0]
    assert 0 <= x0 < x1 <= image.shape[1] + 1 and 0 <= y0 < y1 <= image.shape[0] + 1
