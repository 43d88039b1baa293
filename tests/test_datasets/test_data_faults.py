"""What is likely wrong with photos, classes and boxes is found, and nothing else."""

import shutil
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
from image_files import encode, turned_by_exif, two_colors
from mmengine.config import Config
from mmpretrain.datasets import CustomDataset
from PIL import Image

from glsim_mm.apis.dataset_overview import describe_dataset
from glsim_mm.datasets import FolderDataset, TableDataset
from glsim_mm.datasets.data_faults import (
    AS_STORED,
    BEYOND,
    FRACTIONS,
    OUTSIDE,
    check_two_classes,
    find_box_fault,
    find_junk,
    summarise_faults,
)
from glsim_mm.datasets.dataset_statistics import collect_statistics, format_statistics
from glsim_mm.errors import GLSimError
from glsim_mm.images.image_files import FileFacts

UPRIGHT = FileFacts((120, 90), (120, 90))
TURNED = FileFacts((90, 160), (160, 90))


@pytest.mark.parametrize(
    'box, facts, fault',
    [
        ([0, 0, 120, 90], UPRIGHT, None),
        ([-1, -1, 121, 91], UPRIGHT, None),  # rounding
        ([10, 10, 11, 11], UPRIGHT, None),
        ([0.1, 0.1, 0.9, 0.9], UPRIGHT, FRACTIONS),
        ([0, 0, 1, 1], UPRIGHT, FRACTIONS),
        ([500, 500, 9000, 9000], UPRIGHT, OUTSIDE),
        ([120, 10, 150, 20], UPRIGHT, OUTSIDE),
        ([-30, -30, -10, -10], UPRIGHT, OUTSIDE),
        ([10, 10, 130, 60], UPRIGHT, BEYOND),
        ([-10, 10, 60, 60], UPRIGHT, BEYOND),
        ([10, 10, 80, 150], TURNED, None),
        ([10, 10, 150, 80], TURNED, AS_STORED),
        ([10, 10, 150, 120], TURNED, BEYOND),
        ([10, 10, 80, 60], TURNED, None),  # fits both ways
    ],
)
def test_boxes(box, facts, fault):
    assert find_box_fault(np.array([box], np.float32), facts) == fault
    assert find_box_fault(np.array([[2, 2, 60, 60], box], np.float32), facts) == (None if fault == FRACTIONS else fault)


def noise(seed: int, size=(60, 40)) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def birds(tmp_path):
    """Two classes of three photos to train, two to validate."""
    for split, first, number in (('train', 0, 3), ('val', 100, 2)):
        for label, name in enumerate(('ani', 'wren')):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(number):
                noise(first + 10 * label + index).save(tmp_path / split / name / f'{index}.png')
    return tmp_path


@cache
def read_config() -> Config:
    return Config.fromfile('configs/glsim_vit_custom.py')


def config(root) -> Config:
    cfg = deepcopy(read_config())
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(root)
    return cfg


def folders(root, split, **options):
    return FolderDataset(str(root), data_prefix=split, pipeline=[], **options)


def summary(root, **options):
    train, val = folders(root, 'train', **options), folders(root, 'val')
    return summarise_faults(train, {'val': val}, train.metainfo['classes'])


def test_nothing_wrong_nothing_said(birds):
    assert summary(birds) == ''
    found = describe_dataset(config(birds), progress=False)
    assert found.leaks == {'val': []} and found.near_copies == [] and not found.left_out and not found.notes
    assert found.duplicates == [] and found.box_faults == {}
    assert 'also in val, equal content: 0\nalso in val, near copies: 0' in format_statistics(found)


def test_equal_photos_and_near_copies_in_two_splits(birds):
    (birds / 'val' / 'wren' / 'copy.png').write_bytes((birds / 'train' / 'ani' / '0.png').read_bytes())
    noise(1, (120, 80)).save(birds / 'val' / 'ani' / 'large.png')
    (birds / 'train' / 'wren' / 'same.png').write_bytes((birds / 'train' / 'wren' / '1.png').read_bytes())
    noise(2).save(birds / 'train' / 'ani' / 'again.jpg', quality=95, subsampling=0)
    assert summary(birds) == 'photos that val has too: 1'
    found = describe_dataset(config(birds), progress=False)
    names = [[path.removeprefix(f'{birds}/') for path in leak[:2]] + [leak.is_equal] for leak in found.leaks['val']]
    assert names == [['train/ani/0.png', 'val/wren/copy.png', True], ['train/ani/1.png', 'val/ani/large.png', False]]
    assert found.duplicates == [[f'{birds}/train/wren/{name}.png' for name in ('1', 'same')]]
    assert found.near_copies == [[f'{birds}/train/ani/2.png', f'{birds}/train/ani/again.jpg']]
    text = format_statistics(found)
    assert f'near copies: 1\n  {birds}/train/ani/2.png, {birds}/train/ani/again.jpg' in text
    assert f'also in val, equal content: 1\n  {birds}/train/ani/0.png, {birds}/val/wren/copy.png' in text
    assert f'also in val, near copies: 1\n  {birds}/train/ani/1.png, {birds}/val/ani/large.png' in text
    other = describe_dataset(config(birds), 'val', progress=False)
    assert [(leak.path, leak.other) for leak in other.leaks['train']] == [
        (leak.other, leak.path) for leak in found.leaks['val']
    ]
    assert describe_dataset(config(birds), duplicates=False, progress=False).leaks is None


def test_validation_on_the_training_photos(birds):
    cfg = config(birds)
    cfg.val_dataloader.dataset.data_prefix = 'train'
    found = describe_dataset(cfg, progress=False)
    assert {split: len(leaks) for split, leaks in found.leaks.items()} == {'val': 6, 'test': 0}
    train = folders(birds, 'train')
    assert summarise_faults(train, {'val': train}, ('ani', 'wren')) == 'photos that val has too: 6'


def test_classes_of_no_and_of_one_photo(birds):
    (birds / 'train' / 'zebra').mkdir()
    for name in ('ani/0', 'ani/1'):
        (birds / 'train' / f'{name}.png').unlink()
    assert summary(birds) == 'classes without an image: 1 (zebra); classes of one image: 1 (ani)'
    text = format_statistics(collect_statistics(folders(birds, 'train')))
    assert 'classes without an image: 1 (zebra)\nclasses of one image: 1 (ani)\n' in text


def test_left_out_photos_by_reason(birds):
    for name in ('ani/.x', 'ani/a.xyz', 'wren/b.xyz', 'loose.png'):
        (birds / 'train' / name).touch()
    (birds / 'val' / '@eaDir').mkdir()
    assert summary(birds, exclude='0.png') == (
        'left out of train: 1 hidden or of the system (ani/.x), 2 excluded (such as ani/0.png), 2 .xyz (such as '
        'ani/a.xyz), 1 in no folder of a class (loose.png); left out of val: 1 hidden or of the system (@eaDir)'
    )
    text = format_statistics(describe_dataset(config(birds), progress=False))
    assert 'left out, .xyz: 2\n  ani/a.xyz\n  wren/b.xyz\n' in text
    assert 'left out, in no folder of a class: 1\n  loose.png\n' in text


def test_junk_that_other_data_sets_take(birds):
    for place in ('@eaDir', '.hidden'):
        (birds / 'train' / 'ani' / place).mkdir()
        noise(77).save(birds / 'train' / 'ani' / place / 'x.png')
    dataset = CustomDataset(str(birds), 'train', pipeline=[])
    assert len(dataset) == 8
    path = f'{birds}/train/ani/.hidden/x.png'
    assert summarise_faults(dataset, {}, ('ani', 'wren')) == f'photos in hidden or system folders: 2 ({path}, ...)'
    assert f'photos in hidden or system folders: 2\n  {path}\n' in format_statistics(collect_statistics(dataset))
    assert find_junk(['/home/.cache/a.png', 'b/@eaDir/c.png']) == ['b/@eaDir/c.png']
    assert find_junk([]) == find_junk(['.cache/a.png', '.cache/b.png']) == []


@pytest.mark.parametrize('names', [('ani', 'wren'), None])
def test_one_class_is_refused(names):
    class Labels:
        metainfo = dict(classes=names)

        def __init__(self, *labels):
            self.labels = labels

        def __len__(self):
            return len(self.labels)

        def get_data_info(self, index):
            return dict(gt_label=self.labels[index])

    check_two_classes(Labels(1, 1, 0))
    check_two_classes(Labels([0, 1]))
    check_two_classes(Labels())
    with pytest.raises(GLSimError, match=f'one class only, {repr("wren") if names else "number 1"}; .*another class'):
        check_two_classes(Labels(1, np.array([1]), 1))


def write_table(root, *boxes):
    for index, _ in enumerate(boxes):
        two_colors().save(root / f'{index}.png')
    (root / 'turned.jpg').write_bytes(turned_by_exif())
    rows = [f'{index}.png,{"ab"[index % 2]},{box}' for index, box in enumerate(boxes)]
    (root / 'all.csv').write_text('path,label,box\n' + '\n'.join([*rows, 'turned.jpg,a,1 1 20 38']) + '\n')
    return TableDataset('all.csv', str(root), pipeline=[])


def test_boxes_of_a_table(tmp_path):
    dataset = write_table(tmp_path, '500 500 900 900', '1 1 30 20', '10 10 60 20', '')
    assert summarise_faults(dataset, {}, ('a', 'b')) == (
        f'{OUTSIDE}: in 1 of 4 photos looked at; {BEYOND}: in 1 of 4 photos looked at; {AS_STORED}: in 1 of 4 photos '
        'looked at'
    )
    found = collect_statistics(dataset)
    assert found.num_without_box == 1 and found.num_turned == 1
    assert found.box_faults[OUTSIDE] == [f'{tmp_path}/0.png: 500 500 900 900 in 40 x 24 pixels']
    assert found.box_faults[AS_STORED] == [f'{tmp_path}/turned.jpg: 1 1 20 38 in 40 x 24 pixels']
    text = format_statistics(found)
    assert 'images with a box that EXIF turns by a quarter: 1 (boxes must be in pixels of the upright photo)' in text
    assert f'{BEYOND}: 1\n  {tmp_path}/2.png: 10 10 60 20 in 40 x 24 pixels' in text


@pytest.mark.parametrize('box', ['0.1 0.1 0.9 0.9', '0 0 1 1', '2 2 9 9; 0.1 0.1 0.9 0.9'])
def test_boxes_that_are_fractions_are_refused(box, tmp_path):
    if ';' in box:  # all boxes of a photo must be pixels or fractions
        write_table(tmp_path, box)
    else:
        with pytest.raises(GLSimError, match=r'line 2 of .*all\.csv has the box .* a fraction .*; write pixels'):
            write_table(tmp_path, box)


def test_labels_are_numbered_as_in_training(birds):
    """mmpretrain numbers folders by their place, whatever the order of given classes; training corrects that."""
    cfg = config(birds)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.type = 'mmpretrain.CustomDataset'
        loader.dataset.extensions = ('.png',)
    (birds / 'train' / 'ani' / '2.png').unlink()
    (birds / 'val' / 'wren' / '0.png').unlink()
    cfg.train_dataloader.dataset.metainfo = dict(classes=('wren', 'ani'))
    found = describe_dataset(cfg, progress=False)
    assert dict(zip(found.names, found.counts.tolist())) == {'wren': 3, 'ani': 2}
    val = describe_dataset(cfg, 'val', progress=False)
    assert (val.names, val.counts.tolist(), val.notes) == (('wren', 'ani'), [1, 2], [])


def test_other_splits_that_cannot_be_used_are_notes(birds):
    cfg = config(birds)
    cfg.test_dataloader.dataset.data_root = 'nowhere'
    (birds / 'val' / 'ani').rename(birds / 'val' / 'zebra')
    found = describe_dataset(cfg, progress=False)
    assert found.leaks == {'val': []}
    assert found.notes[0].startswith('not compared with test: the data is not there: nowhere/val; set data_root')
    (note,) = describe_dataset(cfg, 'val', progress=False).notes
    assert note.startswith('other classes than those of the train split: the val split in') and "'zebra'" in note


def test_unreadable_photos_are_decoded_only_to_be_compared(birds):
    content = encode(noise(7, (300, 300)), 'PNG')
    (birds / 'train' / 'ani' / 'half.png').write_bytes(content[: len(content) // 2])
    assert len(describe_dataset(config(birds), progress=False).unreadable) == 1
    assert describe_dataset(config(birds), duplicates=False, progress=False).unreadable == []


def test_other_class_names_in_another_split(birds):
    (birds / 'val' / 'ani').rename(birds / 'val' / 'finch')
    (note,) = describe_dataset(config(birds), progress=False).notes
    assert note.startswith('other classes than those of the train split: the val split in ')
    assert "has 2 photos of the class 'finch'" in note
    (note,) = describe_dataset(config(birds), 'val', progress=False).notes
    assert "has 2 photos of the class 'finch'" in note
    shutil.rmtree(birds / 'val' / 'finch')
    (note,) = describe_dataset(config(birds), progress=False).notes
    assert note == "the val split lacks the class 'ani' of the train split"
    search = config(birds)
    search.val_evaluator = search.test_evaluator = dict(type='RetrievalMetrics')
    assert not describe_dataset(search, progress=False).notes


def test_line_ends_in_names_make_no_lines(birds):
    (birds / 'train' / 'ani' / 'two\nlines.png').write_text('<html>')
    text = format_statistics(describe_dataset(config(birds), progress=False))
    assert rf'{birds}/train/ani/two\nlines.png: not an image' in text
