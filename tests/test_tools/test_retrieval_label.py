"""Labels and metadata through the command line: by id, by filter, by table, by names of classes; history and undo."""

import getpass
import re

import numpy as np
import pytest
from tiny_run import call_tool

from retrieval.gallery import Record, create_gallery, open_gallery

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture(params=['folder', 'Milvus'])
def gallery(request, tmp_path):
    """Six rows of two classes, with a number and a code."""
    place = str(tmp_path / 'gallery') if request.param == 'folder' else f'milvus://{tmp_path}/test.db/birds'
    records = [
        Record(f'a/{n}.jpg', label='wren' if n < 3 else 'robin', metadata={'year': 2000 + n, 'code': f'0{n}'})
        for n in range(6)
    ]
    with create_gallery(place, 4, origin={'root': '/photos'}) as created:
        created.add(X, records, ids=range(6))
    return place


@pytest.fixture
def label(gallery, capsys):
    """Runs the tool on the gallery and returns what it prints."""

    def run(*arguments):
        call_tool('retrieval/label', gallery, *arguments)
        return capsys.readouterr().out

    return run


@pytest.fixture
def refuse(gallery, capsys):
    """Runs the tool, which must end with code 2, and returns its one line."""

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            call_tool('retrieval/label', gallery, *arguments)
        error = capsys.readouterr().err
        assert caught.value.code == 2 and error.count('\n') == 1
        return error

    return run


def records(place):
    with open_gallery(place) as gallery:
        return gallery.records(range(6))


def labels(place):
    return [record.label for record in records(place)]


def test_values_by_id_and_by_filter(gallery, label):
    out = label('--id', 0, 4, '--set', 'label=House, wren', '--set', 'year=', '--set', 'Weight=1.5', '--by', 'anna')
    assert out.startswith('Weight is a new column\n')
    assert re.search(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  anna  2 rows: label \(2\), ', out)
    assert labels(gallery) == ['House, wren', 'wren', 'wren', 'robin', 'House, wren', 'robin']
    assert records(gallery)[0].metadata == {'code': '00', 'Weight': 1.5}
    out = label('--where', 'label=robin', '--where', 'year>=2004', '--set', 'code=7', '--set', 'split=train')
    assert f'  {getpass.getuser()}  1 row: ' in out
    assert (records(gallery)[5].metadata['code'], records(gallery)[5].split) == ('7', 'train')
    assert 'nothing was changed' in label('--id', 0, '--set', 'Weight=1.5')


def test_dry_run_changes_nothing(gallery, label):
    out = label('--where', 'label=wren', '--set', 'year=1999', '--dry-run')
    assert out == (
        'id 0  year: 2000 -> 1999\nid 1  year: 2001 -> 1999\nid 2  year: 2002 -> 1999\n3 rows would change\n'
    )
    assert label('--history') == 'nothing has been changed\n' and records(gallery)[0].metadata['year'] == 2000
    label('--rename', 'wren', 'robin')
    assert label('--undo', '--dry-run').splitlines()[-2:] == [
        'id 2  label: "robin" -> "wren"',
        '3 rows would change',
    ]
    assert labels(gallery) == ['robin'] * 6


def test_rename_and_merge(gallery, label, refuse):
    assert label('--rename', 'wren', 'Wren').splitlines()[0] == 'wren -> Wren: 3 rows'
    assert label('--rename', 'Wren', 'robin').splitlines()[0] == 'Wren -> robin: 3 rows, merged with the 3 that have it'
    assert labels(gallery) == ['robin'] * 6
    label('--undo')
    label('--rename', 'Wren', 'robin', '--rename', 'robin', 'Wren')  # at once
    assert labels(gallery) == ['robin'] * 3 + ['Wren'] * 3
    assert '0 of 6 rows have label=wren; did you mean Wren?' in refuse('--rename', 'wren', 'x')
    assert 'is given two new names' in refuse('--rename', 'Wren', 'x', '--rename', 'Wren', 'y')
    assert 'needs a new name' in refuse('--rename', 'Wren', ' ')
    assert labels(gallery) == ['robin'] * 3 + ['Wren'] * 3


def test_tables(gallery, label, tmp_path):
    table = tmp_path / 'new.csv'
    table.write_text('path,label,code,size\na/0.jpg,"House, wren",12,3\n/photos/a/1.jpg,,,4.5\na\\2.jpg,Wren,,\n')
    out = label('--table', table)
    assert '3 rows: ' in out and out.startswith('size is a new column\n')
    found = records(gallery)
    assert labels(gallery)[:3] == ['House, wren', 'wren', 'Wren']  # an empty cell says nothing
    assert [one.metadata.get('size') for one in found[:3]] == [3.0, 4.5, None]
    assert [one.metadata['code'] for one in found[:3]] == ['12', '01', '02']  # text in the gallery
    table.write_text('id;path;split\n3;a/3.jpg;val\n5;;test\n')
    label('--table', table)
    assert [one.split for one in records(gallery)[3:]] == ['val', None, 'test']


@pytest.mark.parametrize(
    'content, words',
    [
        ('path,label\na/0.jpg,x\na/9.jpg,y\nb,z\n', 'line 3: 0 of 6 rows have path=a/9.jpg; did you mean a/'),
        ('path,label\na/0.jpg,x\na/9.jpg,y\nb,z\n', '; 1 more name no row either'),
        ('path,label\na/0.jpg,x\na/0.jpg,y\n', 'line 3 names a/0.jpg again, as line 2 does'),
        ('path,label\na/0.jpg,x\n./a/0.jpg,y\n', 'id 0 occurs twice'),
        ('id,label\n0,x\n17,y\n', 'line 3: id 17 is not in the gallery'),
        ('id,label\none,x\n', "line 2 has the id 'one', which is no id of a row"),
        ('id,label\n,x\n', 'line 2 has no id: fill it in'),
        ('id,path,label\n0,a/1.jpg,x\n', 'line 2 names id 0, which is a/0.jpg, not a/1.jpg'),
        ('path\na/0.jpg\n', 'needs a column id or path, and others with values, not path'),
        ('file,label\na/0.jpg,x\n', 'needs a column id or path, and others with values, not file, label'),
        ('path,label\na/0.jpg,x,y\n', 'line 2 has another number of fields'),
        ('path,Label\na/0.jpg,x\n', "rename ['Label']"),
        ('path,year\na/0.jpg,soon\n', "column year holds INTEGER, not 'soon'"),
        ('', 'needs a column id or path'),
    ],
)
def test_tables_that_do_not_fit_change_nothing(tmp_path, capsys, content, words):
    table, place = tmp_path / 'new.csv', tmp_path / 'gallery'
    table.write_text(content)
    with create_gallery(place, 4) as created:
        created.add(X, [Record(f'a/{n}.jpg', metadata={'year': n}) for n in range(6)])
    with pytest.raises(SystemExit):
        call_tool('retrieval/label', place, '--table', table)
    error = capsys.readouterr().err
    assert words in error and error.count('\n') == 1
    with open_gallery(place) as gallery:
        assert gallery.history() == [] and [record.label for record in gallery.records(range(6))] == [None] * 6


def test_history_and_undo(gallery, label, refuse):
    label('--id', 0, '--set', 'label=a', '--by', 'anna')
    label('--where', 'label=a', '--set', 'label=b', '--by', 'bert')
    first, second = (line.split()[0] for line in label('--history').splitlines())
    assert label('--history', first) == 'id 0  label: "wren" -> "a"\n'
    lines = label('--history', '--id', 0).splitlines()
    assert lines == [f'{first}  id 0  label: "wren" -> "a"', f'{second}  id 0  label: "a" -> "b"']
    error = refuse('--undo', first)
    assert '1 row (0) was changed since' in error and labels(gallery)[0] == 'b'
    assert f', takes back {second}\n' in label('--undo', '--by', 'bert') and labels(gallery)[0] == 'a'
    label('--undo')
    assert labels(gallery)[0] == 'b'  # the change is there again
    label('--rename', 'robin', 'c')
    fourth = label('--history').splitlines()[-1].split()[0]
    call_tool('retrieval/remove', gallery, '--id', 5)
    assert '1 row (5) was removed since; add --skip-changed ' in refuse('--undo', fourth)
    out = label('--undo', fourth, '--skip-changed')
    assert 'left alone, removed since: id 5\n' in out and '2 rows: label (2)' in out
    assert 'has no change 77' in refuse('--undo', 77)


@pytest.mark.parametrize('gallery', ['folder'], indirect=True)
def test_removed_rows_come_back(gallery, label, refuse, capsys):
    before = labels(gallery)
    call_tool('retrieval/remove', gallery, '--id', 5, '--by', 'anna')
    assert f'glsim label {gallery} --undo 1 brings them back\n' in capsys.readouterr().out
    assert label('--history', 1) == 'id 5  removed\n' and '  anna  1 row: removed\n' in label('--history')
    assert '1 row would change' in label('--undo', '--dry-run')
    assert '1 row: brought back, takes back 1\n' in label('--undo') and labels(gallery) == before
    call_tool('retrieval/remove', gallery, '--id', 5, '--compact')
    assert 'brings them back' not in capsys.readouterr().out
    assert '1 row (5) was removed for good' in refuse('--undo')


def test_mistakes_of_the_caller(gallery, refuse, capsys):
    assert 'id 17 is not in' in refuse('--id', 17, '--set', 'label=x')
    assert '0 of 6 rows have label=Wren; did you mean wren?' in refuse('--where', 'label=Wren', '--set', 'label=x')
    assert "'year>5' sets no value" in refuse('--id', 0, '--set', 'year>5')
    assert "'label' sets no value: write label=Wren" in refuse('--id', 0, '--set', 'label')
    assert "there is no column 'yaer'" in refuse('--id', 0, '--set', 'yaer=')
    assert 'label is set twice' in refuse('--id', 0, '--set', 'label=a', '--set', 'label=b')
    assert 'content_hash cannot be set' in refuse('--id', 0, '--set', 'content_hash=b')
    assert 'by is the name' in refuse('--id', 0, '--set', 'label=a', '--by', '')
    assert 'nothing was changed in' in refuse('--undo')
    for wrong in (
        (),
        ('--set', 'label=x'),
        ('--id', 1, '--where', 'label=wren', '--set', 'label=x'),
        ('--id', 1, '--undo'),
    ):
        with pytest.raises(SystemExit):
            call_tool('retrieval/label', gallery, *map(str, wrong))
        assert capsys.readouterr().err.startswith('error: ')
    assert labels(gallery) == ['wren'] * 3 + ['robin'] * 3


def test_control_characters_do_not_reach_the_terminal(gallery, label):
    with open_gallery(gallery, writable=True) as opened:
        opened.set_labels([0], 'a\x1b[31m\nb')
    out = label('--history', '--id', 0) + label('--rename', 'a\x1b[31m\nb', 'c\x1b')
    assert '\x1b' not in out and out.count('\n') == 3
