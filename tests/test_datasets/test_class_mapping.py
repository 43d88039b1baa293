"""Labels are numbered by the names of their classes, whatever wraps the data sets."""

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmpretrain.datasets import CustomDataset
from PIL import Image
from torch.utils.data import Subset

from glsim_mm.datasets.class_mapping import check_folders, map_classes
from glsim_mm.errors import GLSimError

BIRDS = dict(classes=('ani', 'finch', 'wren'), ancestors=(('cuckoo',), ('songbird',), ('songbird',)))
SOURCE = 'the train split in birds/train'


class Labels(BaseDataset):
    """Labels without images."""

    def __init__(self, labels, classes, **kwargs):
        self.labels = labels
        metainfo = {} if classes is None else dict(classes=classes)
        super().__init__(metainfo=metainfo, data_root='birds', data_prefix=dict(img_path='val'), **kwargs)

    def load_data_list(self):
        return [dict(img_path=f'{index}.png', gt_label=label) for index, label in enumerate(self.labels)]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)['gt_label']]


def labels_of(dataset):
    return [dataset.get_data_info(index)['gt_label'] for index in range(len(dataset))]


@pytest.mark.parametrize('serialize', [True, False])
@pytest.mark.parametrize(
    'wrap, expected',
    [
        (lambda one: one, [2, 1, [2, 0]]),
        (lambda one: RepeatDataset(one, times=2), [2, 1, [2, 0]] * 2),
        (lambda one: ConcatDataset([Labels([2], BIRDS['classes']), one], ignore_keys='classes'), [2, 2, 1, [2, 0]]),
        (lambda one: ClassBalancedDataset(Labels([0, 0, 1], ('wren', 'ani')), 0.5), [2, 2, 0, 0]),
    ],
)
def test_labels_and_names_follow_those_of_training(serialize, wrap, expected):
    dataset = wrap(Labels([0, 1, [0, 2]], ('wren', 'finch', 'ani'), serialize_data=serialize))
    map_classes(dataset, BIRDS, 'val', SOURCE, allow_missing=True)
    assert labels_of(dataset) == expected
    assert dataset.metainfo['classes'] == BIRDS['classes']
    map_classes(dataset, BIRDS, 'val', SOURCE)  # has all names now, and nothing left to do
    assert labels_of(dataset) == expected


def test_groups_of_classes_go_along():
    dataset = Labels([0, 1], ('wren', 'finch'))
    dataset._metainfo['ancestors'] = (('small',), ('seed eater',))
    map_classes(dataset, BIRDS, 'val', SOURCE, allow_missing=True)
    assert dataset.metainfo['ancestors'] == (('cuckoo',), ('seed eater',), ('small',))


def test_data_sets_without_names_stay_as_they_are():
    dataset = Labels([0, 2], None)
    assert map_classes(dataset, BIRDS, 'val', SOURCE) == []
    assert labels_of(dataset) == [0, 2]


@pytest.mark.parametrize(
    'dataset, expected',
    [
        (Labels([0, 0, 1], ('Wren', 'ani')), "in birds/val has 2 photos of the class 'Wren', which .*mean 'wren'"),
        (Labels([2], ('ani', 'finch', 'zebra')), f"'zebra', which {SOURCE} does not have .*lacks the class 'wren'"),
        (
            Labels([0], ('finch',)),
            f"split in birds/val lacks the class 'ani' and 1 more of {SOURCE}; .*--allow-mis",
        ),
        (Labels([0], ('finch', 'finch')), "two classes named 'finch'"),
        (Labels([5], ('wren', 'ani', 'finch')), 'label 5, but 3 classes'),
    ],
)
def test_what_does_not_fit_is_told(dataset, expected):
    with pytest.raises(GLSimError, match=expected):
        map_classes(dataset, BIRDS, 'val', SOURCE)


def test_a_class_without_photos_may_be_unknown():
    dataset = Labels([1, 2, 3], ('albatross', 'wren', 'ani', 'finch'))
    map_classes(dataset, BIRDS, 'val', SOURCE)
    assert labels_of(dataset) == [2, 0, 1]


def test_other_data_sets_are_refused_rather_than_numbered_wrongly():
    class Plain:
        metainfo = dict(classes=('wren', 'finch', 'ani'))

        def __len__(self):
            return 1

    with pytest.raises(GLSimError, match='use a data set of mmengine'):
        map_classes(Subset(Plain(), [0]), BIRDS, 'val', SOURCE)


def write_folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(root / name / f'{name}.png')
    return str(root)


def test_folders_are_numbered_as_given_names_say(tmp_path):
    root = write_folders(tmp_path / 'train', 'ani', 'finch', 'wren')
    dataset = CustomDataset(root, metainfo=dict(classes=('wren', 'ani', 'finch')))
    map_classes(dataset, dataset.metainfo, 'train', SOURCE)
    assert labels_of(dataset) == [1, 2, 0]


def test_given_names_need_the_same_folders(tmp_path):
    names = dict(classes=('Ani', 'Wren'))
    train = CustomDataset(write_folders(tmp_path / 'train', 'ani', 'wren'), metainfo=names)
    val = CustomDataset(write_folders(tmp_path / 'val', 'wren', 'zebra'), metainfo=names)
    check_folders(train, train, 'val')
    with pytest.raises(GLSimError, match="val split in .*val has the folder 'zebra', which the train split in .*train"):
        check_folders(train, val, 'val')


def test_hidden_folder_is_no_class(tmp_path):
    dataset = CustomDataset(write_folders(tmp_path / 'train', '.ipynb_checkpoints', 'ani'))
    with pytest.raises(
        GLSimError, match=r'train split in .*train has the hidden or system folder \.ipynb_checkpoints, .*remove'
    ):
        map_classes(dataset, dataset.metainfo, 'train', SOURCE)
