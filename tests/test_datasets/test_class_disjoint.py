import pytest
from mmpretrain.registry import DATASETS
from published_layouts import write_food101, write_nabirds, write_stanford_cars

from glsim_mm.datasets import ClassDisjointSplit
from glsim_mm.errors import GLSimError


def official(kind, folder, splits=('train', 'test')):
    return [dict(type=kind, data_root=str(folder), split=split) for split in splits]


def samples(dataset):
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def test_halves_have_all_images_of_different_classes(tmp_path):
    parts = official('mmpretrain.NABirds', write_nabirds(tmp_path))
    pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]
    config = dict(type='mmpretrain.ClassDisjointSplit', datasets=parts, pipeline=pipeline)
    train, test = (DATASETS.build(dict(config, half=half)) for half in ('train', 'test'))
    assert (train.CLASSES, test.CLASSES) == (('Teal',), ('Snowy Owl', 'Teal (Female)'))
    assert (train.metainfo['ancestors'], test.metainfo['ancestors']) == ((('Ducks',),), (('Owls',), ('Ducks',)))
    assert [s['img_path'][-12:] for s in samples(train)] == ['0007/a-1.jpg', '0007/a-2.jpg']
    found = [(s['img_path'][-12:], s['gt_label'], s['sample_idx']) for s in samples(test)]
    assert found == [('0009/b-1.jpg', 1, 0), ('0008/c-1.jpg', 0, 1), ('0009/b-2.jpg', 1, 2), ('0008/c-2.jpg', 0, 3)]
    assert samples(test)[0]['gt_bboxes'].tolist() == [[5, 6, 25, 36]]
    assert test[1]['data_samples'].gt_label.tolist() == [0]
    assert (train.test_mode, test.test_mode) == (False, True)
    assert '1 to 2' in repr(test)


def test_number_of_training_classes(tmp_path):
    parts = official('mmpretrain.NABirds', write_nabirds(tmp_path))
    assert ClassDisjointSplit(parts, 'train', num_train_classes=2).CLASSES == ('Teal', 'Snowy Owl')
    for number in (0, 3):
        with pytest.raises(GLSimError, match=f'{number} of 3 classes for training leaves a half empty'):
            ClassDisjointSplit(parts, num_train_classes=number)


def test_configs_that_cannot_be_used(tmp_path):
    cars = official('mmpretrain.StanfordCarsFormat', write_stanford_cars(tmp_path / 'cars'))
    food = official('mmpretrain.Food101Format', write_food101(tmp_path / 'food'))
    with pytest.raises(GLSimError, match='different classes'):
        ClassDisjointSplit([cars[0], food[0]])
    with pytest.raises(GLSimError, match="half must be 'train' or 'test', got 'val'"):
        ClassDisjointSplit(cars, half='val')
    with pytest.raises(GLSimError, match='datasets is empty'):
        ClassDisjointSplit([])
