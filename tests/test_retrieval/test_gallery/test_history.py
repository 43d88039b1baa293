"""Labels and metadata change without the model, the history says who did it, and every change can be taken back."""

import getpass
import sqlite3
import zipfile
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Change, Record, create_gallery, open_gallery

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
RECORDS = [Record(f'{n}.jpg', label='wren' if n < 3 else 'robin', metadata={'year': 2000 + n}) for n in range(6)]


@pytest.fixture
def gallery(tmp_path):
    with create_gallery(tmp_path / 'g', 4) as gallery:
        gallery.add(X, RECORDS)
        yield gallery


def labels(gallery):
    return [record.label for record in gallery.records(gallery.ids())]


def years(gallery):
    return [record.metadata.get('year') for record in gallery.records(gallery.ids())]


def test_labels_change_with_a_note_of_who_and_when(gallery):
    before, generation = datetime.now(timezone.utc).replace(microsecond=0), gallery.manifest.generation
    done = gallery.set_labels([0, 4], 'Wren', by='anna')
    assert labels(gallery) == ['Wren', 'wren', 'wren', 'robin', 'Wren', 'robin']
    assert gallery.ids({'label': 'Wren'}).tolist() == [0, 4]  # no filter that was cached before
    assert gallery.manifest.generation == generation + 1
    assert (done.number, done.by, done.rows, done.columns, done.undoes) == (1, 'anna', 2, {'label': 2}, None)
    assert before <= datetime.fromisoformat(done.time) <= datetime.now(timezone.utc)
    assert gallery.history() == [done]
    assert gallery.changes() == [Change(1, 0, 'label', 'wren', 'Wren'), Change(1, 4, 'label', 'robin', 'Wren')]
    np.testing.assert_array_equal(gallery.search(X, 1).ids[:, 0], range(6))
    assert gallery.set_labels([1, 2], ['a', None]).by == getpass.getuser()
    assert labels(gallery)[1:3] == ['a', None] and gallery.changes(2)[1].new is None
    assert [change.number for change in gallery.changes(ids=[0, 1])] == [1, 2]


def test_what_stays_as_it_is_leaves_no_trace(gallery):
    generation = gallery.manifest.generation
    done = gallery.set_values([0, 1], {'label': 'wren', 'year': None, 'colour': None, 'split': None})
    assert done.columns == {'year': 2}
    assert gallery.set_labels([0], 'wren').rows == 0 and gallery.set_values([0], {'year': None}).number == 0
    assert len(gallery.history()) == 1 and gallery.manifest.generation == generation + 1
    assert 'colour' not in gallery.columns()


def test_values_of_every_kind(gallery):
    gallery.set_values([0, 1], [{'Year': 2019, 'path': 'new/0.jpg', 'split': 'val'}, {'weight': 1, 'Ort': 'Köln'}])
    gallery.set_values([2], {'weight': 0.5})
    first, second, third = gallery.records([0, 1, 2])
    assert (first.path, first.split, first.label, first.metadata) == ('new/0.jpg', 'val', 'wren', {'year': 2019})
    assert second.metadata == {'year': 2001, 'weight': 1.0, 'Ort': 'Köln'} and third.metadata['weight'] == 0.5
    assert gallery.columns()['weight'] == 'REAL' and gallery.columns()['Ort'] == 'TEXT'
    found = {(change.id, change.column): (change.old, change.new) for change in gallery.changes(1)}
    assert found == {
        (0, 'year'): (2000, 2019), (0, 'path'): ('0.jpg', 'new/0.jpg'), (0, 'split'): (None, 'val'),
        (1, 'weight'): (None, 1), (1, 'Ort'): (None, 'Köln'),
    }  # fmt: skip
    assert all(type(change.new) is type(found[change.id, change.column][1]) for change in gallery.changes(1))


@pytest.mark.parametrize(
    'ids, values, words',
    [
        ([0, 99], {'label': 'a'}, 'id 99 is not in the gallery'),
        ([0, 0], {'label': 'a'}, 'id 0 occurs twice'),
        ([0, 1], [{'label': 'a'}], 'values for 1 rows were given for 2 ids'),
        ([0], 'Wren', 'values must be a dict of values by column'),
        ([0], ['Wren'], 'values must be a dict of values by column'),
        ([0], 7, 'values must be a dict of values by column'),
        ([0], {'label': 7}, 'label must be text or None, got 7'),
        ([0], {'path': None}, 'path must be text'),
        ([0], {'year': 'soon'}, "column year holds INTEGER, not 'soon'"),
        ([0], {'id': 5}, 'id cannot be set'),
        ([0], {'content_hash': 'ab'}, 'content_hash cannot be set'),
        ([0], {'Label': 'a'}, 'Label cannot be set'),
        ([0], {'year': 1, 'YEAR': 2}, "'YEAR' and another name are the same column 'year'"),
        ([0], {'a"': 1}, 'not a valid name'),
        ([0], {5: 1}, 'not a valid name'),
        ([0], {'x': [1]}, 'numbers, texts and dates'),
        ([0], {'x': float('nan')}, 'cannot hold nan'),
    ],
)
def test_values_that_do_not_fit_change_nothing(gallery, ids, values, words):
    generation = gallery.manifest.generation
    for change in (gallery.set_values, gallery.plan_values):
        with pytest.raises(RetrievalError, match=words):
            change(ids, values)
    assert gallery.history() == [] and gallery.manifest.generation == generation
    assert gallery.records(range(6)) == [Record(**{**vars(one), 'id': n}) for n, one in enumerate(RECORDS)]


@pytest.mark.parametrize('by', ['', '  ', 'a\nb', '\x1b[31m', 5, 'x' * 300])
def test_who_must_be_a_name(gallery, by):
    for change in (
        lambda: gallery.set_labels([0], 'a', by=by),
        lambda: gallery.update([0], records=[Record('a.jpg')], by=by),
    ):
        with pytest.raises(RetrievalError, match='by is the name of whoever makes a change'):
            change()
    assert gallery.history() == []


def test_labels_of_another_type_are_told(gallery):
    for wrong in (5, {'a': 1}, b'Wren'):
        with pytest.raises(RetrievalError, match='label'):
            gallery.set_labels([0], wrong)
    gallery.set_labels([0, 1], np.array(['a', 'b']))
    assert labels(gallery)[:2] == ['a', 'b']


def test_undo_and_redo(gallery):
    gallery.set_labels([0, 1], 'a')
    gallery.set_values([1, 2], {'year': None})
    last = gallery.undo(by='bert')
    assert (last.number, last.undoes, last.by, last.columns) == (3, 2, 'bert', {'year': 2})
    assert years(gallery) == list(range(2000, 2006)) and labels(gallery)[:2] == ['a', 'a']
    assert gallery.undo().undoes == 3 and years(gallery)[1:3] == [None, None]  # again as before
    assert gallery.undo(1).undoes == 1 and labels(gallery)[:2] == ['wren', 'wren']
    assert gallery.undo(1).rows == 0 and len(gallery.history()) == 5  # nothing is left to take back
    with pytest.raises(RetrievalError, match='has no change 9: look at its history'):
        gallery.undo(9)


def test_undo_names_rows_that_changed_since_or_are_gone(gallery):
    gallery.set_labels(range(5), 'a')
    gallery.set_labels([1], 'b')
    gallery.remove([2])
    gallery.update([3], X[5:6], [Record('3.jpg', content_hash='ab' * 32, label='a', metadata={'year': 2003})])
    refused = r'change 1 cannot be taken back, 1 row \(1\) was changed since, 1 row \(2\) was removed since'
    with pytest.raises(RetrievalError, match=refused + '; add --skip-changed '):
        gallery.undo(1)
    assert labels(gallery) == ['a', 'b', 'a', 'a', 'robin'] and len(gallery.history()) == 4
    assert gallery.plan_undo(1).left == {'changed since': [1], 'removed since': [2]}
    done = gallery.undo(1, skip_changed=True)
    assert done.rows == 3 and labels(gallery) == ['wren', 'b', 'robin', 'robin', 'robin']
    with pytest.raises(RetrievalError, match=r'change 4 cannot be taken back, 1 row \(3\) was encoded anew$'):
        gallery.undo(4, skip_changed=True)
    # A change of another column is not in the way.
    gallery.set_values([0], {'year': 1})
    assert gallery.undo(done.number).rows == 3


def test_a_row_that_got_the_id_of_another_is_not_changed_by_undo(gallery):
    gallery.set_labels([0, 1], 'a')
    gallery.remove([0])
    gallery.add(X[:1], [Record('other.jpg', label='a')], ids=[0])
    assert [change.reused for change in gallery.changes()] == [True, False, True]
    with pytest.raises(RetrievalError, match=r'1 row \(0\) was removed since'):
        gallery.undo(1)
    with pytest.raises(RetrievalError, match=r'1 row \(0\) was removed for good'):
        gallery.undo()
    gallery.undo(1, skip_changed=True)
    assert labels(gallery)[:2] == ['a', 'wren']


def test_updates_leave_a_trace(gallery):
    gallery.update([0, 1], records=[Record('0.jpg', label='b', metadata={'year': 2000}), Record('1.jpg')], by='anna')
    assert gallery.history()[0].by == 'anna'
    assert gallery.changes() == [
        Change(1, 0, 'label', 'wren', 'b'),
        Change(1, 1, 'label', 'wren', None),
        Change(1, 1, 'year', 2001, None),
    ]
    gallery.update([0], X[3:4])
    gallery.update([0], records=gallery.records([0]))
    assert len(gallery.history()) == 1
    gallery.undo()
    assert labels(gallery)[:2] == ['wren', 'wren'] and years(gallery)[1] == 2001


def test_history_survives_everything_else(gallery):
    gallery.set_labels([0, 1, 2], 'a')
    gallery.remove([0])
    gallery.compact()
    folder, history, changes = gallery.location, gallery.history(), gallery.changes()
    gallery.close()
    with open_gallery(folder) as reader:
        assert reader.history() == history and reader.changes() == changes and len(changes) == 4
        assert reader.plan_undo(1).left == {'removed since': [0]}
        for change in (
            lambda: reader.set_labels([1], 'a'),
            lambda: reader.set_values([1], {'label': 'a'}),
            reader.undo,
        ):
            with pytest.raises(RetrievalError, match='opened for reading'):
                change()


def test_a_change_that_fails_leaves_neither_values_nor_history(gallery, monkeypatch):
    database = type(gallery._state.database)

    def fail(*_):
        raise sqlite3.OperationalError('database or disk is full')

    monkeypatch.setattr(database, 'write_change_set', fail)
    with pytest.raises(RetrievalError, match='make room; nothing was changed'):
        gallery.set_labels([0], 'a')
    monkeypatch.undo()
    assert labels(gallery)[0] == 'wren' and gallery.history() == [] and gallery.changes() == []
    assert gallery.set_labels([0], 'a').number == 1


def test_more_rows_than_are_changed_at_once(gallery, monkeypatch):
    monkeypatch.setattr('retrieval.gallery.folder_writer._REVISED_AT_ONCE', 2)
    assert gallery.set_values(range(6), [{'label': str(n), 'weight': n} for n in range(6)]).rows == 6
    assert labels(gallery) == list('012345') and len(gallery.changes(1)) == 12
    with pytest.raises(RetrievalError, match='id 99'):
        gallery.set_labels([0, 1, 2, 99], 'x')
    assert labels(gallery) == list('012345')
    assert gallery.undo().rows == 6 and labels(gallery) == [record.label for record in RECORDS]


def test_galleries_of_before(tmp_path):
    folder = tmp_path / 'old'
    zipfile.ZipFile(Path(__file__).with_name('gallery_of_format_1.zip')).extractall(folder)
    with open_gallery(folder) as reader:
        assert reader.history() == [] and reader.changes() == [] and reader.changes(3, ids=[0]) == []
        with pytest.raises(RetrievalError, match='nothing was changed in .* so far'):
            reader.plan_undo()
    with open_gallery(folder, writable=True) as writer, open_gallery(folder) as reader:
        first = writer.ids()[:1]
        writer.set_labels(first, 'changed')
        assert reader.history() == []
        reader.refresh()
        assert len(reader.history()) == 1 and reader.records(first)[0].label == 'changed'
