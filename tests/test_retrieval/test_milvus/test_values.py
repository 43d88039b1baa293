"""Records, ids and values mean the same in a folder and in Milvus, or are refused by both and nothing is written."""

import sqlite3
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Condition, Record, create_gallery, open_gallery, parse_conditions
from retrieval.migration import migrate

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
HUGE = 2**63


@pytest.fixture(scope='module', params=['folder', 'milvus'])
def gallery(request, tmp_path_factory):
    """A gallery with one row, id 5, which no test changes."""
    path = tmp_path_factory.mktemp('values')
    place = path / 'g' if request.param == 'folder' else f'milvus://{path}/test.db/g'
    with create_gallery(place, 4) as opened:
        opened.add(X[:1], [Record('a.jpg', metadata={'year': 2**60, 'weight': 0.5, 'note': 'x'})], ids=[5])
        yield opened


@pytest.mark.parametrize(
    'record, words',
    [
        (Record(path=None), 'record 0: path must be text; leave it out where there is none, got None'),
        (Record(path=b'a'), 'path must be text'),
        (Record(label=3), 'label must be text or None, got 3'),
        (Record(label=np.int64(3)), 'label must be text or None'),
        (Record(label=True), 'label must be text or None, got True'),
        (Record(label=float('nan')), 'label must be text or None, got nan'),
        (Record(label=b'x'), 'label must be text or None'),
        (Record(label=['a']), 'label must be text or None'),
        (Record(label=Path('a')), 'label must be text or None'),
        (Record(split=1.5), 'split must be text or None'),
        (Record(content_hash=7), 'content_hash must be text or None'),
        (Record(label='\ud800'), 'label: .* is not valid text'),
        (Record(path='\udce9.jpg'), 'path: .* is not valid text'),
        (Record(image_size=(10.7, 3.9)), 'image_size must be two whole numbers'),
        (Record(image_size=(10, 0)), 'image_size must be two whole numbers'),
        (Record(image_size=(10,)), 'image_size must be 2 finite numbers'),
        (Record(box=(1, 2, 3)), 'box must be 4 finite numbers'),
        (Record(box=(1, 2, 3, float('nan'))), 'box must be 4 finite numbers'),
        (Record(box='abcd'), 'box must be 4 finite numbers'),
        (Record(map_area=(0, 0, float('inf'), 1)), 'map_area must be 4 finite numbers'),
        (Record(patch_boxes=((0, 0, 1),)), 'patch_boxes must be 4 finite numbers'),
        (Record(metadata=[('a', 1)]), 'metadata must be a dict'),
        (Record(metadata={3: 1}), '3 is not a valid name'),
        (Record(metadata={'a=b': 1}), 'not a valid name'),
        (Record(metadata={'': 1}), 'not a valid name'),
        (Record(metadata={'a\n': 1}), 'not a valid name'),
        (Record(metadata={'Path': 1}), 'not a valid name'),
        (Record(metadata={'f': float('nan')}), 'column f cannot hold nan: leave the value out'),
        (Record(metadata={'f': np.float32('inf')}), 'column f cannot hold inf'),
        (Record(metadata={'f': HUGE}), f'cannot hold {HUGE}: it needs more than 64 bits; store it as text'),
        (Record(metadata={'f': np.datetime64('NaT')}), 'not NaT'),
        (Record(metadata={'f': b'x'}), "numbers, texts and dates, not b'x'"),
        (Record(metadata={'f': [1]}), 'numbers, texts and dates'),
        (Record(metadata={'f': np.array([1])}), 'numbers, texts and dates'),
        (Record(metadata={'new': 1, 'New': 2}), "'New' and another name are the same column 'new'"),
        (Record(metadata={'year': 'x'}), "column year holds INTEGER, not 'x'"),
        (Record(metadata={'note': True}), 'column note holds TEXT, not True'),
        (Record(metadata={'weight': 2**53 + 1}), 'column weight holds floating point numbers'),
        (Record(metadata={'year': 1.5}), 'column year holds whole numbers of more than 53 bits'),
        (Record(metadata={f'c{number}': 1 for number in range(2100)}), 'at most 1900 columns'),
        ({'path': 'a'}, 'must be a list of Record'),
    ],
)
def test_what_a_record_cannot_hold(gallery, record, words):
    columns = gallery.columns()
    for write in (lambda: gallery.add(X[:1], [record]), lambda: gallery.update([5], records=[record])):
        with pytest.raises(RetrievalError, match=words):
            write()
    assert gallery.columns() == columns and gallery.ids().tolist() == [5]


@pytest.mark.parametrize(
    'ids, words',
    [
        ([5.0], 'list of whole numbers'),
        (['5'], 'list of whole numbers'),
        ([True], 'list of whole numbers'),
        ([5, True], 'True or False'),
        ([[5]], 'list of whole numbers'),
        ([[5], [5, 5]], 'list of whole numbers'),
        (np.array([2**64 - 1], np.uint64), r'from 0 to 2\*\*63 - 1'),
        ([2**70], r'from 0 to 2\*\*63 - 1'),
        ([None], 'list of whole numbers'),
    ],
)
def test_what_no_id_is(gallery, ids, words):
    for call in (gallery.records, gallery.vectors, gallery.remove, lambda ids: gallery.add(X[:1], ids=ids)):
        with pytest.raises(RetrievalError, match=words):
            call(ids)


def test_unknown_ids_are_told_as_such(gallery):
    for ids in ([-1], [5, 6]):
        with pytest.raises(RetrievalError, match=f'id {ids[-1]} is not in'):
            gallery.records(ids)


@pytest.mark.parametrize('k', [True, 0, -1, 2.5, '3', None])
def test_what_no_number_of_hits_is(gallery, k):
    for space in (None, {'embedding': 1.0}):
        queries = X if space is None else {'embedding': X}
        with pytest.raises(RetrievalError, match='k must be (a whole number|at least 1)'):
            gallery.search(queries, k, space=space)


@pytest.mark.parametrize('where', [{}, [], ()])
def test_an_empty_filter_removes_nothing(gallery, where):
    with pytest.raises(RetrievalError, match='the filter is empty and would remove every row'):
        gallery.remove(where=where)
    assert len(gallery) == 1


@pytest.mark.parametrize('weight', [True, 0, float('nan'), 'x', None])
def test_what_no_weight_is(gallery, weight):
    with pytest.raises(RetrievalError, match='weights of spaces must be above 0'):
        gallery.search({'embedding': X}, 1, space={'embedding': weight})


def values():
    """Values as they are given and as they are read."""
    berlin = timezone(timedelta(hours=2))
    return {
        'flag': (True, 1),
        'count': (np.int64(7), 7),
        'large': (2**63 - 1, 2**63 - 1),
        'half': (np.float32(0.5), 0.5),
        'taken': (date(2024, 5, 1), '2024-05-01'),
        'time': (datetime(2024, 5, 1, 12, 30), '2024-05-01T12:30:00'),
        'zoned': (datetime(2024, 5, 1, 1, 0, tzinfo=berlin), '2024-04-30T23:00:00+00:00'),
        'numpy': (np.datetime64('2024-05-01T12:30', 'ns'), '2024-05-01T12:30:00'),
        'Scientific Name': ('Troglodytes', 'Troglodytes'),
        'Größe (cm)': (9.5, 9.5),
        'code': ('0012', '0012'),
    }


@pytest.mark.parametrize('to_milvus', [False, True])
def test_values_have_one_meaning_and_survive_migration(tmp_path, to_milvus):
    folder, server = tmp_path / 'g', f'milvus://{tmp_path}/test.db/g'
    source, target = (folder, server) if to_milvus else (server, folder)
    given = {name: value for name, (value, _) in values().items()}
    with create_gallery(source, 4) as gallery:
        gallery.add(
            X[:2], [Record(Path('a') / 'b.jpg', metadata={**given, 'none': None}), Record(metadata={'flag': 0})]
        )
    migrate(source, target)
    for place in (source, target):
        with open_gallery(place) as gallery:
            first, second = gallery.ids()
            record = gallery.records([first])[0]
            assert record.path == 'a/b.jpg'
            assert record.metadata == {name: value for name, (_, value) in values().items()}
            assert all(type(value) is type(values()[name][1]) for name, value in record.metadata.items())
            for name, value in given.items():
                assert gallery.ids({name: value}).tolist() == [first], name
            for words, found in [
                ('taken>=2024-05-01', [first]),
                ('time<2024-05-02', [first]),
                ('time<2024-05-01', []),
                ('Scientific Name=Troglodytes', [first]),
                ('Größe (cm)>9', [first]),
                ('taken=', [second]),
                ('code=0012', [first]),
                ('code=12', []),
            ]:
                assert gallery.ids(parse_conditions([words])).tolist() == found, words


@pytest.mark.parametrize('kind', ['folder', 'milvus'])
def test_a_column_of_whole_numbers_widens(tmp_path, kind):
    place = tmp_path / 'g' if kind == 'folder' else f'milvus://{tmp_path}/test.db/g'
    with create_gallery(place, 4) as gallery:
        first = gallery.add(X[:1], [Record(metadata={'Size': 1})])
        second = gallery.add(X[1:3], [Record(metadata={'size': 1.5}), Record(metadata={'size': 2})])
    with open_gallery(place, writable=True) as gallery:
        assert gallery.columns()['Size'] == 'REAL'
        found = [record.metadata for record in gallery.records([*first, *second])]
        assert found == [{'Size': 1.0}, {'Size': 1.5}, {'Size': 2.0}]
        assert all(type(row['Size']) is float for row in found)
        assert gallery.ids({'Size': ('>', 1)}).tolist() == second.tolist()
        assert gallery.ids({'Size': 1}).tolist() == first.tolist()
        gallery.update(first, records=[Record(metadata={'Size': 3})])
        assert gallery.ids({'Size': 3.0}).tolist() == first.tolist()


def test_the_last_id_is_followed_by_a_sentence(tmp_path):
    with create_gallery(tmp_path / 'g', 4) as gallery:
        gallery.add(X[:1], ids=[2**63 - 3])
        with pytest.raises(RetrievalError, match=f'has or had the id {2**63 - 3}, above which 5 more .* give free ids'):
            gallery.add(X[:5])
        assert gallery.add(X[:2]).tolist() == [2**63 - 2, 2**63 - 1]
        with pytest.raises(RetrievalError, match='give free ids'):
            gallery.add(X[:1])
        assert gallery.add(X[:1], ids=[0]).tolist() == [0] and len(gallery) == 4


def test_only_damage_is_called_damage(tmp_path):
    gallery = create_gallery(tmp_path / 'g', {'a': np.int64(4)})
    gallery.add(X[:1])
    gallery.close()
    with pytest.raises(RetrievalError, match='g was closed: open it again'):
        gallery.records([0])
    with sqlite3.connect(tmp_path / 'g' / 'gallery.sqlite') as connection:
        connection.execute('DROP TABLE records')
    connection.close()
    with open_gallery(tmp_path / 'g') as reader, pytest.raises(RetrievalError, match='is damaged .no such table'):
        reader.ids()


@pytest.mark.parametrize('dimension', [True, 4.0, '4', 0])
def test_what_no_dimension_is(tmp_path, dimension):
    for spaces in (dimension, {'a': dimension}):
        with pytest.raises(RetrievalError, match='the dimension of .* must be'):
            create_gallery(tmp_path / 'g', spaces)
    assert not (tmp_path / 'g').exists()


@pytest.mark.parametrize('kind', ['folder', 'milvus'])
def test_a_filter_that_lets_no_row_through_says_why(tmp_path, kind):
    place = tmp_path / 'g' if kind == 'folder' else f'milvus://{tmp_path}/test.db/g'
    with create_gallery(place, 4) as gallery:
        assert gallery.why_empty(parse_conditions(['label=wren'])) == '0 of 0 rows have label=wren'
        labels = ['Wren', 'Wren', 'House Wren', 'none', None, 'Robin']
        gallery.add(X, [Record(label=label, metadata={'Place': 'Kiel', 'year': 2019}) for label in labels])
        for words, sentence in [
            (['label=Wren'], ''),
            (['label=wren'], '0 of 6 rows have label=wren; did you mean Wren?'),
            (['label in wren,"rob,in",x'], '0 of 6 rows have label in wren,"rob,in",x; did you mean Wren, Robin?'),
            (['label=zzz'], '0 of 6 rows have label=zzz'),
            (['label=none', 'Place=kil'], '0 of 6 rows have Place=kil; did you mean Kiel?'),
            (['year>2019'], '0 of 6 rows have year>2019'),
            (['Place='], '0 of 6 rows have Place='),
            (['label=', 'label!='], '0 of 6 rows meet all conditions: 1 have label=, 5 have label!='),
        ]:
            assert gallery.why_empty(parse_conditions(words)) == sentence


@pytest.mark.parametrize('value', ['', ' x', 'a,b', '"a"', '=x', 'say "hi"', 'none', 'x', None])
def test_conditions_are_shown_as_they_are_typed(value):
    for condition in (Condition('label', '!=', value), Condition('label', 'in', ('y', value or ''))):
        assert parse_conditions([str(condition)]) == [condition]
