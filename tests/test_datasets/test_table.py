import csv

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from published_layouts import write_image

from glsim_mm.apis.runner import mark_test_tables
from glsim_mm.datasets import TableDataset
from glsim_mm.errors import GLSimError

ROWS = [
    dict(path='b/1.jpg', label='wren', split='train', box='5 6 25 36', family='songbird'),
    dict(path='a/2.jpg', label='teal', split='train', box='', family='duck'),
    dict(path='a/3.jpg', label='teal', split='val', box='0,0,4,4; 1,2,3,4', family='duck'),
]


def write_csv(path, rows):
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path, rows):
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


WRITERS = {'csv': write_csv, 'parquet': write_parquet}


def samples(dataset):
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def labels(dataset):
    return [(sample['img_path'], sample['gt_label']) for sample in samples(dataset)]


@pytest.mark.parametrize('ending', WRITERS)
def test_rows_of_a_split(ending, tmp_path):
    WRITERS[ending](tmp_path / f'birds.{ending}', ROWS)
    for row in ROWS:
        write_image(tmp_path / row['path'])
    config = dict(type='mmpretrain.TableDataset', data_root=str(tmp_path), ann_file=f'birds.{ending}')
    config.update(pipeline=[dict(type='LoadImage'), dict(type='PackInputs')], ancestor_columns=('family',))
    train, val = (DATASETS.build(dict(config, split=split)) for split in ('train', 'val'))
    assert train.CLASSES == val.CLASSES == ('teal', 'wren')
    assert train.metainfo['ancestors'] == (('duck',), ('songbird',))
    assert labels(train) == [(f'{tmp_path}/b/1.jpg', 1), (f'{tmp_path}/a/2.jpg', 0)]
    assert [sample['gt_bboxes'].tolist() for sample in samples(train)] == [[[5, 6, 25, 36]], []]
    assert samples(train)[1]['gt_bboxes'].shape == (0, 4)
    assert samples(val)[0]['gt_bboxes'].tolist() == [[0, 0, 4, 4], [1, 2, 3, 4]]
    assert train[0]['inputs'].shape == (3, 40, 50)
    assert 'birds' in repr(train)


def test_parquet_boxes_may_be_lists(tmp_path):
    path = write_parquet(tmp_path / 't.parquet', [dict(path='1.jpg', label=3, box=[5.0, 6.0, 25.0, 36.0])])
    dataset = TableDataset(path)
    assert samples(dataset)[0]['gt_bboxes'].tolist() == [[5, 6, 25, 36]]
    assert dataset.CLASSES == ('3',)


def test_all_rows_without_a_split(tmp_path):
    path = write_csv(tmp_path / 't.csv', [dict(path='/abs/1.jpg', label='x'), dict(path='2.jpg', label='y')])
    dataset = TableDataset(path, data_root='images')
    assert labels(dataset) == [('/abs/1.jpg', 0), ('images/2.jpg', 1)]
    assert 'gt_bboxes' not in samples(dataset)[0]


def test_numbers_are_sorted_by_value_and_may_be_positions(tmp_path):
    path = write_csv(tmp_path / 't.csv', [dict(path=f'{n}.jpg', label=n) for n in (10, 2, 0)])
    assert TableDataset(path).CLASSES == ('0', '2', '10')
    names = tuple('abcdefghijk')
    assert [label for _, label in labels(TableDataset(path, metainfo=dict(classes=names)))] == [10, 2, 0]
    with pytest.raises(GLSimError, match="line 2 of .*t.csv has the label '10', which is none of the 10 classes"):
        TableDataset(path, metainfo=dict(classes=names[:10]))


def test_given_classes_fix_the_order(tmp_path):
    path = write_csv(tmp_path / 't.csv', ROWS)
    dataset = TableDataset(path, split='train', metainfo=dict(classes=('wren', 'owl', 'teal')))
    assert [label for _, label in labels(dataset)] == [0, 2]


@given(st.permutations(ROWS))
def test_order_of_rows_changes_no_label(tmp_path_factory, rows):
    path = write_csv(tmp_path_factory.mktemp('table') / 't.csv', rows)
    assert dict(labels(TableDataset(path))) == {'a/2.jpg': 0, 'a/3.jpg': 0, 'b/1.jpg': 1}


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(path=''), 'line 3 of .*t.csv has no path'),
        (dict(label=' '), 'line 3 of .*t.csv has no label'),
        (dict(path='b/1.jpg'), 'b/1.jpg is in lines 2 and 3 of .*t.csv'),
        (dict(box='5 6 25'), "line 3 of .*t.csv has the box '5 6 25'; write it as"),
        (dict(box='a b c d'), 'line 3 of .*t.csv has the box'),
        (dict(box='5 6 5 36'), 'line 3 of .*t.csv .* whose end is not after its start'),
        (dict(box='5 6 nan 36'), 'line 3 of .*t.csv .* whose end is not after its start'),
        (dict(family='goose'), 'line 4 of .*t.csv puts teal into duck, an earlier line into goose'),
    ],
)
def test_rows_that_cannot_be_used(change, message, tmp_path):
    path = write_csv(tmp_path / 't.csv', [ROWS[0], {**ROWS[1], **change}, ROWS[2]])
    with pytest.raises(GLSimError, match=message):
        TableDataset(path, ancestor_columns=('family',))


@pytest.mark.parametrize('ending', WRITERS)
def test_tables_that_cannot_be_used(ending, tmp_path):
    path = WRITERS[ending](tmp_path / f't.{ending}', [dict(path='1.jpg', split='train')])
    with pytest.raises(GLSimError, match="has no column 'label' .its columns: path, split."):
        TableDataset(path)
    path = WRITERS[ending](tmp_path / f't.{ending}', [dict(path='1.jpg', label='x')])
    with pytest.raises(GLSimError, match="has no column 'split'"):
        TableDataset(path, split='train')
    path = WRITERS[ending](tmp_path / f't.{ending}', [dict(path='1.jpg', label='x', split='val')])
    with pytest.raises(GLSimError, match="has no row of the split 'train'; it has val"):
        TableDataset(path, split='train')
    with pytest.raises(GLSimError, match='is not there'):
        TableDataset(tmp_path / f'nothing.{ending}')


def test_paths_as_people_write_them(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    (tmp_path / 'odd\\name.jpg').touch()
    rows = [
        r'train\Wren\0.jpg,w, val',
        r'odd\name.jpg,w,val',
        '~/1.jpg, w ,val ',
        './a/../2.jpg,w,val',
        's3://b/3.jpg,w,val',
    ]
    (tmp_path / 't.csv').write_text('\n'.join(['path,label,split', *rows]))
    expected = ['train/Wren/0.jpg', 'odd\\name.jpg', 'home/1.jpg', '2.jpg']
    found = [path for path, _ in labels(TableDataset('t.csv', data_root=tmp_path, split='val'))]
    assert found == [*(f'{tmp_path}/{path}' for path in expected), 's3://b/3.jpg']
    monkeypatch.setenv('HOME', str(tmp_path))
    assert TableDataset('t.csv', data_root='~').CLASSES == ('w',)


@pytest.mark.parametrize(
    'rows, message',
    [
        ('a.jpg,x,val\n./a.jpg,y,val', r'\./a.jpg is in lines 2 and 3 of'),
        (r'C:\photos\a.jpg,x,val', r'line 2 of .*t\.csv: C:\\photos\\a.jpg is a path of Windows; write it relative'),
        ('a.jpg,Jay, blue,val', 'line 2 of .*t.csv has 4 cells, but there are 3 columns; .* double quotes'),
        ('a\0.jpg,x,val', 'NUL character in line 2'),
    ],
)
def test_paths_and_cells_that_cannot_be_used(rows, message, tmp_path):
    (tmp_path / 't.csv').write_text(f'path,label,split\n{rows}\n')
    with pytest.raises(GLSimError, match=message):
        TableDataset('t.csv', data_root=tmp_path)


def test_a_split_may_have_any_name(tmp_path):
    """A photo that cannot be read is replaced in training, and ends a test, whatever the word for the split."""
    rows = ['bad.jpg,w,training', 'good.jpg,w,training', 'good2.jpg,w,prüfung']
    (tmp_path / 't.csv').write_text('\n'.join(['path,label,split', *rows]), encoding='utf-8')
    (tmp_path / 'bad.jpg').write_bytes(b'no image')
    write_image(tmp_path / 'good.jpg')
    pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]
    train = TableDataset('t.csv', data_root=tmp_path, split='training', pipeline=pipeline)
    assert train[0]['data_samples'].img_path.endswith('good.jpg')
    loader = dict(dataset=dict(type='mmpretrain.TableDataset', split='prüfung'))
    cfg = Config(dict(train_dataloader=loader, val_dataloader=loader, test_dataloader=None))
    mark_test_tables(cfg)
    assert cfg.val_dataloader.dataset.test_mode and 'test_mode' not in cfg.train_dataloader.dataset


def test_damaged_parquet_file(tmp_path):
    path = write_parquet(tmp_path / 't.parquet', [dict(path='1.jpg', label='x')])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(GLSimError, match='t.parquet cannot be read .* damaged or not a Parquet file'):
        TableDataset(path)


def test_excluded_images_are_counted(tmp_path):
    (tmp_path / 'all.csv').write_text(
        'path,label,split\na/1.jpg,wren,x\na/1_mask.jpg,wren,x\nb/2.jpg,ani,x\nb/3.jpg,ani,y\n'
    )
    dataset = TableDataset('all.csv', str(tmp_path), 'x', exclude=['*_mask.jpg', 'b/'], pipeline=[])
    assert [dataset.get_data_info(0)['img_path'], len(dataset)] == [f'{tmp_path}/a/1.jpg', 1]
    assert dataset.left_out.by_reason == {'excluded': ['a/1_mask.jpg', 'b/2.jpg']}
    assert dataset.metainfo['classes'] == ('ani', 'wren')
    with pytest.raises(GLSimError, match=r"has no image that exclude=\('\*.jpg',\) leaves"):
        TableDataset('all.csv', str(tmp_path), 'x', exclude='*.jpg', pipeline=[])
    with pytest.raises(GLSimError, match='excludes nothing'):
        TableDataset('all.csv', str(tmp_path), exclude='!a', pipeline=[])
