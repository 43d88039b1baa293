"""Which images are encoded, and what is known of each."""

from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from mmengine.config import Config

from glsim_mm.images.photo_folders import LeftOut
from glsim_mm.images.photos import UnreadableImageError, read_content
from glsim_mm.search import Encoder, ImageItem, build_gallery, find_items, sync_gallery
from glsim_mm.search.items import class_name, dataset_items, load_dataset
from retrieval.errors import UserError
from retrieval.gallery import open_gallery


def paths(items: list[ImageItem]) -> list[str]:
    return [item.path for item in items]


def test_folder(photos):
    items, root = find_items(photos)[:2]
    assert root.default == str(photos)
    expected = [
        '0.png',
        '1.png',
        '2.png',
        '3.png',
        'a/0.png',
        'a/1.png',
        'a/2.png',
        'b/0.png',
        'b/1.png',
        'b/deep/2.png',
    ]
    assert paths(items) == expected
    assert [item.label for item in items] == [None] * 4 + ['a'] * 3 + ['b'] * 3
    assert all(Path(item.file) == photos / item.path for item in items)


def test_patterns_and_files(photos):
    items, root = find_items(f'{photos}/**/1.png')[:2]
    assert paths(items) == ['1.png', 'a/1.png', 'b/1.png'] and root.default == str(photos)
    items, root = find_items([photos / 'a' / '0.png', photos / 'a', f'{photos}/b/*.png'])[:2]
    assert paths(items) == ['a/0.png', 'a/1.png', 'a/2.png', 'b/0.png', 'b/1.png'] and root.default == str(photos)
    assert paths(find_items(photos / 'a' / '0.png').items) == ['0.png']


def test_relative_folders(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    items, root = find_items('photos/a')[:2]
    assert root.default == str(photos / 'a') and paths(items) == ['0.png', '1.png', '2.png']


def test_own_root(photos, tmp_path):
    assert paths(find_items(photos / 'a', tmp_path).items)[0] == 'photos/a/0.png'
    items, roots = find_items([photos / 'a', photos / '3.png'], photos / 'b')[:2]
    assert paths(items) == ['root-a:0.png', 'root-a:1.png', 'root-a:2.png', 'photos:3.png']
    assert roots.folders == {'': str(photos / 'b'), 'root-a': str(photos / 'a'), 'photos': str(photos)}
    assert [roots.file(item.path) for item in items] == [item.file for item in items]
    assert paths(find_items([photos / 'a', photos / '3.png'], photos / 'b', ['[01].png']).items) == [
        'root-a:2.png',
        'photos:3.png',
    ]


def test_addresses_stay_as_they_are():
    (item,), root = find_items('https://example.org/a.jpg')[:2]
    assert (item.file, item.path, root.default) == ('https://example.org/a.jpg', 'https://example.org/a.jpg', '')


def test_list_of_files(photos):
    (photos / 'list.txt').write_text('a/0.png\tWren\n\nb/deep/2.png\r\n a/1.png \n', encoding='utf-8')
    items, root = find_items(photos / 'list.txt')[:2]
    assert paths(items) == ['a/0.png', 'b/deep/2.png', 'a/1.png'] and root.default == str(photos)
    assert [item.label for item in items] == ['Wren', None, None]


def test_table(photos):
    (photos / 'table.csv').write_text(
        '\ufeffpath,label,split,year,weight,note\na/0.png,Wren,test,2019,1.5,"one,\ntwo"\n'
        f'{photos}/a/1.png,,,2020,,\n,Wren,test,1,1,x\n',
        encoding='utf-8',
    )
    items, _ = find_items(photos / 'table.csv')[:2]
    assert paths(items) == ['a/0.png', 'a/1.png']
    assert (items[0].label, items[0].split) == ('Wren', 'test')
    assert items[0].metadata == {'year': 2019, 'weight': 1.5, 'note': 'one,\ntwo'}
    assert (items[1].label, items[1].metadata) == (None, {'year': 2020, 'weight': None, 'note': None})
    (photos / 'table.tsv').write_text('path\tyear\n0.png\told\n1.png\t3\n')
    assert [item.metadata['year'] for item in find_items(photos / 'table.tsv').items] == ['old', '3']


@pytest.mark.parametrize(
    'column, values',
    [
        (['0012', '0013'], ['0012', '0013']),
        (['2024_11', '2024_12'], ['2024_11', '2024_12']),
        (['1', '12345678901234567890'], ['1', '12345678901234567890']),
        (['1.5', '12345678901234567890'], ['1.5', '12345678901234567890']),
        (['9223372036854775807', '-1'], [2**63 - 1, -1]),
        (['nan', '1'], ['nan', '1']),
        (['inf', '1.5'], ['inf', '1.5']),
        (['1', '?'], ['1', '?']),
        (['1e400', '1'], ['1e400', '1']),
        (['1', ''], [1, None]),
        (['1.5', '-.25', '3', '1e-5', '2.'], [1.5, -0.25, 3.0, 1e-5, 2.0]),
        (['00.5', '1'], ['00.5', '1']),
        (['-', '.'], ['-', '.']),
    ],
)
def test_columns_are_numbers_only_where_nothing_is_lost(photos, column, values):
    lines = [f'a/{row}.png,{value}' for row, value in enumerate(column)]
    (photos / 'codes.csv').write_text('\n'.join(['path,"Größe, Name"', *lines]), encoding='utf-8')
    found = [item.metadata['Größe, Name'] for item in find_items(photos / 'codes.csv').items]
    assert found == values and list(map(type, found)) == list(map(type, values))


@pytest.mark.parametrize(
    'text,message',
    [
        ('file,label\na.png,b\n', 'no column "path", but file, label'),
        ('', 'no column "path", but nothing'),
        ('path,a=b\na.png,b\n', "letters, digits, blanks .* rename .'a=b'."),
        ('path,content_hash\na.png,b\n', "none of id, path.* rename .'content_hash'."),
        ('path,Year,year\na.png,1,2\n', 'each once, whatever the case'),
        ('path,x,x\na.png,b,c\n', 'each once'),
        ('path,x\na.png\n', 'line 2 has another number of fields'),
        ('path,x\na.png,1\nb.png,1,2\n', 'line 3 has another number of fields'),
        ('path,x\n"a.png,1\n', 'cannot be read'),
        ('path,x\n', 'no images to encode'),
    ],
)
def test_tables_that_are_none(tmp_path, text, message):
    (tmp_path / 'table.csv').write_text(text)
    with pytest.raises(UserError, match=message):
        find_items(tmp_path / 'table.csv')


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match='No such file'):
        find_items(tmp_path / 'table.csv')
    (tmp_path / 'table.csv').write_bytes(b'path\n\xff\xfe.png\n')
    with pytest.raises(UserError, match='not UTF-8'):
        find_items(tmp_path / 'table.csv')


def test_data_set_of_a_config(tiny_model):
    dataset = load_dataset(Config.fromfile(tiny_model[0]), 'train')
    items, root = find_items(dataset)[:2]
    assert root.default == str(tiny_model[2].parent)
    assert paths(items)[0] == 'train/plain/plain0.png' and {item.label for item in items} == {'plain', 'striped'}
    assert items[0].split is None
    assert {item.split for item in dataset_items(dataset, 'train')} == {'train'}


def test_labels_of_folders_are_their_names_whatever_the_order_of_classes(tiny_model):
    cfg = Config.fromfile(tiny_model[0])
    cfg.train_dataloader.dataset.metainfo = dict(classes=['striped', 'plain'])
    items, _ = find_items(load_dataset(cfg, 'train'))[:2]
    assert {(item.path.split('/')[1], item.label) for item in items} == {('plain', 'plain'), ('striped', 'striped')}


def test_data_sets_that_are_not_there(tiny_model):
    cfg = Config.fromfile(tiny_model[0])
    cfg.val_dataloader = None
    with pytest.raises(UserError, match='no val_dataloader: choose one of train, test'):
        load_dataset(cfg, 'val')
    cfg.test_dataloader.dataset.data_prefix = 'nowhere'
    with pytest.raises(UserError, match='nowhere'):
        find_items(load_dataset(cfg, 'test'))


def test_own_items(photos):
    item = ImageItem(str(photos / '0.png'), label='Wren', metadata={'year': 3})
    (found,), root = find_items([item])[:2]
    assert (found.path, found.label, found.metadata) == ('0.png', 'Wren', {'year': 3}) and root.default == str(photos)
    assert item.path == ''


@pytest.mark.parametrize('images', [3, np.zeros((4, 4, 3), np.uint8), [np.zeros((4, 4, 3), np.uint8)]])
def test_inputs_that_are_no_files(images):
    with pytest.raises(UserError, match='data loader'):
        find_items(images)


def test_nothing_there(tmp_path):
    for images, message in [([], 'at least one'), (tmp_path, 'no image in'), (tmp_path / 'x', 'does not exist')]:
        with pytest.raises(UserError, match=message):
            find_items(images)


def test_names_of_classes():
    assert class_name(1, ['Wren', 'Gull']) == 'Gull'
    assert class_name(np.array([0]), None) == '0'
    assert class_name([0, 1], ['Wren', 'Gull']) is None
    assert class_name(None, ['Wren']) is None
    assert class_name(7, ['Wren']) == '7'


@pytest.fixture
def bucket(photos):
    """The photos behind addresses, with a table, a list and a file that is no photo."""
    system = MemoryFileSystem()
    system.put(str(photos), '/birds', recursive=True)
    system.pipe('/birds/table.csv', b'path,label,year\na/0.png,Wren,2019\nmemory://birds/3.png,,\n')
    system.pipe('/birds/list.txt', b'a/1.png\tWren\n')
    system.pipe('/birds/.hidden/1.png', b'')
    yield 'memory://birds'
    system.store.clear()
    system.pseudo_dirs[:] = ['']


def test_addresses_of_folders_patterns_lists_and_tables(bucket, photos):
    left_out = LeftOut()
    items, roots, sources, _ = find_items(f'{bucket}/', left_out=left_out)
    here = find_items(photos).items
    assert paths(items) == [f'{bucket}/{item.path}' for item in here] == [item.file for item in items]
    assert [item.label for item in items] == [item.label for item in here] and not roots.folders and not sources
    assert {path for found in left_out.by_reason.values() for path in found} == {'.hidden', 'list.txt', 'table.csv'}
    assert paths(find_items(bucket, exclude=['b/', '[0-2].png']).items) == [f'{bucket}/3.png']
    assert paths(find_items(f'{bucket}/*/1.png').items) == [f'{bucket}/a/1.png', f'{bucket}/b/1.png']
    (first, second), *_ = find_items(f'{bucket}/table.csv')
    assert (first.file, first.label, first.metadata) == (f'{bucket}/a/0.png', 'Wren', {'year': 2019})
    assert (second.file, second.label) == (f'{bucket}/3.png', None)
    ((listed,), *_) = find_items(f'{bucket}/list.txt')
    assert (listed.path, listed.label) == (f'{bucket}/a/1.png', 'Wren')


def test_a_gallery_of_addresses(bucket, tiny_model, photos, tmp_path):
    options = dict(device='cpu', num_workers=0, progress=False)
    MemoryFileSystem().pipe('/birds/broken.png', b'no photo')
    items = [*find_items(bucket).items, ImageItem(f'{bucket}/gone.png', f'{bucket}/gone.png')]
    report = build_gallery(items, *tiny_model[:2], tmp_path / 'remote', **options)
    assert [error.path for error in report.unreadable] == [f'{bucket}/broken.png', f'{bucket}/gone.png']
    build_gallery(photos, *tiny_model[:2], tmp_path / 'local', **options)
    with open_gallery(tmp_path / 'remote') as remote, open_gallery(tmp_path / 'local') as local:
        np.testing.assert_array_equal(remote.vectors(remote.ids()), local.vectors(local.ids()))
    with pytest.raises(UserError, match='memory://birds is an address.*glsim add'):
        sync_gallery(tmp_path / 'remote', Encoder(*tiny_model[:2], device='cpu'), bucket)


@pytest.mark.parametrize(
    'address, message',
    [
        ('memory://nowhere', 'there is nothing at memory://nowhere'),
        ('memory://nowhere/table.csv', 'memory://nowhere/table.csv cannot be read'),
        ('what://ever', 'what://ever cannot be listed: Protocol not known: what'),
        ('adl://bucket', 'adl://bucket needs a package that is not installed: pip install adlfs'),
    ],
)
def test_addresses_where_nothing_is(address, message):
    with pytest.raises(UserError, match=message):
        find_items(address)


def test_what_fails_on_the_way_is_tried_again(bucket, monkeypatch):
    calls = []
    read = MemoryFileSystem.cat_file

    def fail_twice(system, path, **options):
        calls.append(path)
        if len(calls) < 3:
            raise TimeoutError('the server does not answer')
        return read(system, path, **options)

    monkeypatch.setattr(MemoryFileSystem, 'cat_file', fail_twice)
    assert read_content(f'{bucket}/3.png') and len(calls) == 3
    calls.clear()
    with pytest.raises(UnreadableImageError):
        read_content(f'{bucket}/gone.png')
    assert len(calls) == 3
