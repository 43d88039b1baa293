"""Rows of a gallery as files: formulas are harmless, paths tell nothing, and others can read them."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from served_birds import API, BIRDS, build_birds, refused, serve_birds
from tiny_run import call_tool

from glsim_mm.datasets import TableDataset
from glsim_mm.search.row_exports import export_page, export_rows, harmless
from glsim_mm.visualization import FoundImage
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.relabelling import read_value_table

DANGEROUS = ['=cmd|"/c calc"!A1', '+1+1', '-2+3', '@SUM(A1)', '\t=1', ' =1', '＝1+1', '=HYPERLINK("http://e.example")']


@pytest.fixture(scope='module')
def location(tmp_path_factory):
    built = build_birds(tmp_path_factory.mktemp('exports') / 'birds', 3)
    with open_gallery(built, writable=True) as gallery:
        gallery.set_values([0, 1], {'split': 'train', 'note': '=1+1', 'year': -3})
        gallery.set_values([2], {'label': None, 'weight': -0.5})
    return built


@pytest.fixture(scope='module')
def client(location):
    with serve_birds(location) as opened:
        yield opened


def export(client, kind, **asked):
    response = client.post(f'{API}/export', json=dict(format=kind) | asked)
    assert response.status_code == 200, response.text
    assert response.headers['content-disposition'].startswith('attachment; filename="birds')
    return response


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text.removeprefix('\ufeff'))))


@pytest.mark.parametrize('text', DANGEROUS)
def test_what_a_spreadsheet_would_run_is_a_text(tmp_path, text):
    assert harmless(text) == f"'{text}"
    label = text.strip() if text != text.strip() else text
    with create_gallery(tmp_path / 'gallery', 2) as gallery:
        records = [Record(f'{text.strip()}.jpg', label, metadata={'note': text, 'depth': -3})]
        gallery.add(np.ones((1, 2), np.float32), records)
        for kind in ('csv', 'table'):
            for row in read_csv(''.join(export_rows(gallery, gallery.ids(), kind))):
                for value in row.values():
                    assert not value.lstrip().startswith(tuple('=+@＝')) and value[:1] not in ('\t', '\r', '\n')
                assert row['path'].startswith('./') and row['label'] == f"'{label}"
                assert row.get('depth', '-3') == '-3'  # a number is no formula


def test_plain_values_stay_as_they_are():
    assert [harmless(one) for one in ('a=b', 'x-1', '1', 'a@b', -1, -1.5, None, '')] == [
        *('a=b', 'x-1', '1', 'a@b', -1, -1.5, None, '')
    ]


def test_a_spreadsheet_comes_back_as_labels(client, location, tmp_path):
    text = export(client, 'csv').content.decode('utf-8-sig')
    rows = read_csv(text)
    assert [int(row['id']) for row in rows] == [*range(9)] and rows[0]['note'] == "'=1+1" and rows[0]['year'] == '-3'
    assert rows[2]['label'] == '' and rows[2]['weight'] == '-0.5' and rows[3]['path'] == '002.Wren/0.png'
    (tmp_path / 'rows.csv').write_text(text.replace('002.Wren/0.png,002.Wren', '002.Wren/0.png,Robin'))
    with open_gallery(location) as gallery:
        new = read_value_table(gallery, tmp_path / 'rows.csv')
        changes = [one for one in gallery.plan_values(new.ids, new.values) if one.column == 'label']
    assert [(one.id, one.new) for one in changes] == [(3, 'Robin')]


def test_filters_and_ids_choose_rows(client):
    assert len(json.loads(export(client, 'json', where=['label=002.Wren']).text)['rows']) == 3
    rows = json.loads(export(client, 'json', ids=[7, 1, 7]).text)['rows']
    assert [row['id'] for row in rows] == [1, 7] and rows[0]['metadata']['year'] == -3
    refused(client.post(f'{API}/export', json=dict(format='json', ids=[99])), 404, 'no-such-row')
    refused(client.post(f'{API}/export', json=dict(format='json', where=['label=none'])), 404, 'no-such-row')
    refused(client.post(f'{API}/export', json=dict(format='json', ids=[1], where=['id=1'])), 422, 'wrong-request')
    refused(client.post(f'{API}/export', json=dict(format='xlsx')), 422, 'wrong-request')


def check_coco(content):
    """The rules of COCO's format for boxes (cocodataset.org/#format-data), on which its readers rely."""
    images, categories = ({one['id']: one for one in content[name]} for name in ('images', 'categories'))
    for name in ('images', 'annotations', 'categories'):
        ids = [one['id'] for one in content[name]]
        assert all(type(one) is int and one > 0 for one in ids) and len(set(ids)) == len(ids), name
    assert all(isinstance(one['file_name'], str) and one['file_name'] for one in images.values())
    assert all(isinstance(one['name'], str) and one['name'] for one in categories.values())
    for one in content['annotations']:
        assert one['iscrowd'] == 0 and one['category_id'] in categories
        image, (x, y, width, height) = images[one['image_id']], one['bbox']
        assert min(x, y) >= 0 and min(width, height) > 0 and one['area'] == width * height
        assert x + width <= image['width'] and y + height <= image['height']


def test_detectors_read_the_annotations(client):
    content = json.loads(export(client, 'coco').text)
    assert content['images'][0] == dict(id=1, file_name='001.Blue_Jay/0.png', width=48, height=40)
    assert len(content['images']) == 9 and len(content['annotations']) == 8  # one row has no label
    check_coco(content)
    assert [one['name'] for one in content['categories']] == list(BIRDS)
    assert content['annotations'][0]['bbox'] == [0, 0, 48, 40]


def test_rows_with_boxes_and_of_one_photo(tmp_path):
    records = [
        Record('phone:a/1.jpg', 'x', box=(10, 20, 30, 60), image_size=(100, 80)),
        Record('phone:a/1.jpg', 'y', box=(0, 0, 50, 60), image_size=(100, 80)),
        Record('./phone:b.jpg', 'x'),
        Record(str(tmp_path / 'secret' / 'c.jpg'), 'x', image_size=(5, 5)),
        Record('', 'x', image_size=(5, 5)),
    ]
    origin = {'root': str(tmp_path), 'root:phone': str(tmp_path / 'phone')}
    with create_gallery(tmp_path / 'gallery', 2, origin=origin) as gallery:
        gallery.add(np.ones((5, 2), np.float32), records)
        coco = json.loads(''.join(export_rows(gallery, gallery.ids(), 'coco')))
        table = read_csv(''.join(export_rows(gallery, gallery.ids(), 'table')))
        texts = [''.join(export_rows(gallery, gallery.ids(), kind)) for kind in ('csv', 'json', 'coco', 'table')]
    assert [one['file_name'] for one in coco['images']] == ['phone/a/1.jpg', 'phone:b.jpg', 'c.jpg']
    assert [(one['image_id'], one['bbox']) for one in coco['annotations']] == [
        (1, [10, 20, 20, 40]),
        (1, [0, 0, 50, 60]),
        (3, [0, 0, 5, 5]),
    ]
    assert [(row['path'], row['label']) for row in table] == [
        ('phone/a/1.jpg', 'x'),
        ('phone:b.jpg', 'x'),
        ('c.jpg', 'x'),
    ]
    assert not any(str(tmp_path) in text for text in texts)


def test_a_config_trains_on_the_table(client, location, tmp_path):
    (tmp_path / 'rows.csv').write_text(export(client, 'table').text)
    dataset = TableDataset(str(tmp_path / 'rows.csv'), str(location.parent / 'photos'), pipeline=[])
    assert len(dataset) == 8 and dataset.CLASSES == tuple(BIRDS)
    assert all(Path(dataset.get_data_info(row)['img_path']).is_file() for row in range(8))
    train = TableDataset(str(tmp_path / 'rows.csv'), str(location.parent / 'photos'), split='train', pipeline=[])
    assert len(train) == 2


def test_a_page_holds_its_photos(client, location):
    page = export(client, 'html', where=['id<5']).text
    assert page.count('<image id=') == 5 and 'Blue Jay' in page and '001.Blue_Jay/0.png' in page
    assert not re.search(r'(src|href)="(?!#|data:)', page) and '<script' not in page
    assert str(location.parent) not in page
    assert page.index('Blue Jay') < page.index('Wren') < page.index('Without a label')


def test_a_page_shows_no_photo_from_elsewhere(location, tmp_path):
    copied = shutil.copytree(location.parent, tmp_path / 'birds')
    with open_gallery(copied / 'gallery', writable=True) as gallery:
        gallery.set_origin({'root': str(copied / 'photos' / '001.Blue_Jay')})
        gallery.set_values([0], {'path': '../002.Wren/0.png'})
        gallery.set_values([1], {'path': '1.png', 'note': '<script>alert(1)</script>'})
        gallery.set_values([2], {'path': 'gone.png', 'label': '<img src=x onerror=alert(1)>'})
    with serve_birds(copied / 'gallery') as client:
        page = export(client, 'html', ids=[0, 1, 2]).text
    assert page.count('(cannot be read) (id') == 2 and '<script' not in page and '<img src=x' not in page


def test_a_page_comes_piece_by_piece(location):
    made = []

    def photo(record):
        made.append(record.id)
        return FoundImage(np.zeros((8, 8, 3), np.uint8), label=record.label, number=record.id)

    with create_gallery(location.parent / 'many', 2) as gallery:
        labels = [None if n % 3 == 0 else f'class {n % 3}' for n in range(100)]
        gallery.add(np.ones((100, 2), np.float32), [Record(f'{n}.png', label) for n, label in enumerate(labels)])
        pieces = export_page(gallery, gallery.ids(), photo)
        assert next(pieces).startswith(b'<!DOCTYPE html>') and made == []
        first = next(pieces)
        assert len(made) == 24 and first.count(b'<image id=') == 24  # no more photos are in memory at a time
        rest = list(pieces)
    assert sorted(made) == [*range(100)] and len(rest) == 6 and rest[-1].rstrip().endswith(b'</html>')
    assert sum(one.count(b'<image id=') for one in [first, *rest]) == 100


def test_pages_have_an_end(client, monkeypatch):
    monkeypatch.setattr('glsim_mm.search.row_exports.MOST_SHOWN', 4)
    assert 'at most' in refused(client.post(f'{API}/export', json=dict(format='html')), 422, 'wrong-request')


def test_the_command_writes_the_same(client, location, tmp_path, capsys):
    for kind, name in (
        ('csv', 'a.csv'),
        ('table', 'b.csv'),
        ('json', 'c.json'),
        ('coco', 'd.json'),
        ('html', 'e.html'),
    ):
        options = ['--format', kind] if kind in ('table', 'coco') else []
        call_tool('retrieval/export_rows', location, '--where', 'id<5', '--out', tmp_path / name, *options)
        served = export(client, kind, where=['id<5'])
        if kind == 'html':
            assert (tmp_path / name).read_text().count('<image id=') == 5
        else:
            assert (tmp_path / name).read_bytes() == served.content, kind
    for options in (('rows.txt',), ('rows.csv', '--format', 'coco')):
        with pytest.raises(SystemExit):
            call_tool('retrieval/export_rows', location, '--out', *options)
        assert 'the name must end in .' in capsys.readouterr().err
