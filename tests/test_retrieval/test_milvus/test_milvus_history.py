"""The history of a gallery in Milvus says what that of one in a folder says, also of changes that broke off."""

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Change, Record, create_gallery, open_gallery
from retrieval.milvus.collection import Collection, parse_location

X = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
RECORDS = [Record(f'{n}.jpg', label='wren', metadata={'year': 2000 + n}) for n in range(4)]


@pytest.fixture
def gallery(location):
    with create_gallery(location, 4) as gallery:
        gallery.add(X, RECORDS, ids=range(4))
        yield gallery


def labels(gallery):
    return [record.label for record in gallery.records(gallery.ids())]


def test_history_and_undo(gallery, location):
    assert gallery.history() == [] and gallery.changes() == []
    with pytest.raises(RetrievalError, match='nothing was changed in .* so far: there is nothing'):
        gallery.undo()
    first = gallery.set_labels([0, 1], ['a "quoted"\n\\ label', None], by='anna')
    second = gallery.set_values([1, 2], {'year': 1.5, 'note': 'x'})
    assert gallery.history() == [first, second] and first.whole and first.by == 'anna' and first.columns == {'label': 2}
    assert gallery.changes(first.number) == [
        Change(first.number, 0, 'label', 'wren', 'a "quoted"\n\\ label'),
        Change(first.number, 1, 'label', 'wren', None),
    ]
    assert [(change.column, change.old, change.new) for change in gallery.changes(ids=[1])] == [
        ('label', 'wren', None), ('note', None, 'x'), ('year', 2001, 1.5),
    ]  # fmt: skip
    assert gallery.set_labels([3], 'wren').rows == 0 and len(gallery.history()) == 2
    with open_gallery(location) as reader:
        assert reader.history() == [first, second]
        with pytest.raises(RetrievalError, match='opened for reading'):
            reader.undo()
    undone = gallery.undo()
    assert undone.undoes == second.number and gallery.records([1])[0].metadata == {'year': 2001.0}
    assert gallery.undo().undoes == undone.number and gallery.records([1])[0].metadata['note'] == 'x'
    assert gallery.undo(first.number).rows == 2 and labels(gallery) == ['wren'] * 4
    np.testing.assert_allclose(gallery.vectors(range(4)), X / np.linalg.norm(X, axis=1, keepdims=True), rtol=1e-6)


def test_undo_names_rows_that_are_in_the_way(gallery):
    first = gallery.set_labels(range(4), 'a')
    gallery.update([1], records=[Record('1.jpg', label='b', metadata={'year': 2001})], by='bert')
    assert [(one.by, one.columns) for one in gallery.history()[1:]] == [('bert', {'label': 1})]
    gallery.remove([2, 3])
    gallery.add(X[3:], [Record('other.jpg', label='a')], ids=[3])
    assert [change.id for change in gallery.changes() if change.reused] == [3]
    with pytest.raises(RetrievalError, match=r'1 row \(1\) was changed since, 2 rows \(2, 3\) were removed since'):
        gallery.undo(first.number)
    gallery.undo(first.number, skip_changed=True)
    assert labels(gallery) == ['wren', 'b', 'a']


def test_a_change_that_breaks_off_is_listed_as_not_whole(gallery, monkeypatch):
    monkeypatch.setattr('retrieval.milvus.writes.MAX_IDS', 2)
    upsert, calls = Collection.upsert, []

    def fail(self, rows):
        calls.append(rows)
        if len(calls) == 2:
            raise RetrievalError('Milvus could not write rows')
        upsert(self, rows)

    monkeypatch.setattr(Collection, 'upsert', fail)
    with pytest.raises(RetrievalError, match='some rows may be updated and others not: run the update again'):
        gallery.set_labels(range(4), 'a')
    monkeypatch.undo()
    assert labels(gallery) == ['a', 'a', 'wren', 'wren']
    (broken,) = gallery.history()
    assert not broken.whole and broken.rows == 4 and len(gallery.changes()) == 4
    again = gallery.set_labels(range(4), 'a')
    assert again.whole and again.rows == 2 and labels(gallery) == ['a'] * 4
    gallery.undo()
    gallery.undo(broken.number)
    assert labels(gallery) == ['wren'] * 4
    assert [one.whole for one in gallery.history()] == [False, True, True, True]


def test_the_history_of_another_gallery_is_not_taken_over(gallery, location):
    gallery.set_labels([0], 'a')
    collection = Collection(parse_location(location))
    collection.drop()
    collection.close()
    with create_gallery(location, 4) as new:
        assert new.history() == []
        new.add(X, RECORDS, ids=range(4))
        assert new.history() == [] and not any(change.reused for change in new.changes())
    with create_gallery(f'{location}_history', 4):  # no history, but a gallery
        with pytest.raises(RetrievalError, match='should be the history of .* and is something else'):
            with open_gallery(location, writable=True) as again:
                again.set_labels([0], 'a')


def test_closed_galleries_say_so(gallery):
    gallery.set_labels([0], 'a')
    gallery.close()
    for call in (gallery.history, gallery.changes, gallery.undo, lambda: gallery.set_labels([0], 'a')):
        with pytest.raises(RetrievalError, match='was closed'):
            call()
