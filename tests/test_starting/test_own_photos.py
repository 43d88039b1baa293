"""Photos and classes are found in every layout in which people have them."""

import pytest

from glsim_mm.errors import UserError
from glsim_mm.starting.own_photos import read_own_photos


def write(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def found(photos):
    return [(item.path, item.label, item.split) for item in photos.items]


@pytest.mark.parametrize(
    'paths, expected, left_out',
    [
        (['a/1.jpg', 'b/x/2.jpg', '3.jpg'], [('a/1.jpg', 'a', None), ('b/x/2.jpg', 'b', None)], ['3.jpg']),
        (['pictures/a/1.jpg', 'pictures/b/2.jpg'], [('a/1.jpg', 'a', None), ('b/2.jpg', 'b', None)], []),
        (
            ['Train/a/1.jpg', 'Train/b/2.jpg', 'valid/a/3.jpg', 'test/b/4.jpg', 'test/5.jpg'],
            [('Train/a/1.jpg', 'a', 'train'), ('Train/b/2.jpg', 'b', 'train'), ('test/b/4.jpg', 'b', 'test'),
             ('valid/a/3.jpg', 'a', 'val')],
            ['test/5.jpg'],
        ),
        (
            ['all/train/a/1.jpg', 'all/train/b/2.jpg', 'all/val/a/3.jpg'],
            [('train/a/1.jpg', 'a', 'train'), ('train/b/2.jpg', 'b', 'train'), ('val/a/3.jpg', 'a', 'val')],
            [],
        ),
        (['car/1.jpg', 'train/2.jpg'], [('car/1.jpg', 'car', None), ('train/2.jpg', 'train', None)], []),  # vehicles
    ],
)  # fmt: skip
def test_folders(tmp_path, paths, expected, left_out):
    photos = read_own_photos(write(tmp_path / 'photos', *paths))
    assert found(photos) == expected
    assert [path for paths in photos.left_out.by_reason.values() for path in paths] == left_out
    assert all((tmp_path / 'photos').joinpath(photos.root, item.path).is_file() for item in photos.items)


def test_tables(tmp_path):
    table = tmp_path / 'mugs.csv'
    table.write_text(
        'path,label,split,box\na.jpg,red,Training,1 2 3 4\n/else/b.jpg,blue,dev,\nc.jpg,,val,\nd.jpg,red,,\n'
    )
    photos = read_own_photos(table)
    assert found(photos) == [('a.jpg', 'red', 'train'), ('/else/b.jpg', 'blue', 'val')]
    assert photos.items[0].metadata['box'] == '1 2 3 4' and photos.is_table and photos.is_split
    assert photos.left_out.by_reason == {'without a label': ['c.jpg'], 'without a split': ['d.jpg']}
    assert not read_own_photos(table, take_split=False).is_split


@pytest.mark.parametrize(
    'text, message',
    [
        ('path,split\na.jpg,train\n', 'has no labels; name the column with the classes label'),
        ('path,label,split\na.jpg,x,train\nb.jpg,y,hold\n', "the split 'hold', which is none of train, val and test"),
        ('path,label\na.jpg,x\nb.jpg,x\n', "has photos of one class only, 'x'; a classifier needs two"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / 'table.csv').write_text(text)
    with pytest.raises(UserError, match=message):
        read_own_photos(tmp_path / 'table.csv')


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match='has photos of no class; a classifier needs two or more: .*1 in no folder of'):
        read_own_photos(write(tmp_path / 'flat', '1.jpg'))
    cub = write(tmp_path / 'cub', 'images/a/1.jpg', 'images/b/2.jpg', 'train_test_split.txt')
    with pytest.raises(UserError, match="has CUB's file layout, .* give .*cub/images"):
        read_own_photos(cub)
