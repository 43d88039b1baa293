"""Rows that were removed come back by ``undo``: their records, vectors, patches and places in every index."""

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Change, Record, create_gallery, folder_writer, open_gallery
from retrieval.gallery.database import Database, DiskFull

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 8)).astype(np.float32)
PATCHES = RNG.normal(size=(60, 2, 3)).astype(np.float16)


def records(count, start=0):
    return [
        Record(
            f'{n}.jpg',
            label='wren' if n % 2 else None,
            content_hash=f'{n:064x}',
            metadata={'year': 2000 + n, 'share': n / 7},
            box=(0, 0, n + 1, 9),
            similarity_map=np.full((2, 2), n, np.uint8),
        )
        for n in range(start, start + count)
    ]


@pytest.fixture(params=['flat', 'hnsw', 'IVF4,Flat'])
def gallery(request, tmp_path):
    with create_gallery(tmp_path / 'g', {'whole': 8, 'crop': 8}, preset=request.param) as gallery:
        gallery.add({'whole': X, 'crop': X[::-1]}, records(60), patches=PATCHES)
        gallery.compact()
        gallery.add({'whole': X[:5] + 1, 'crop': X[:5]}, records(5, 60), patches=PATCHES[:5])
        yield gallery


def view(gallery):
    """All that can be asked of a gallery."""
    ids = gallery.ids()
    facts = [(one.id, one.path, one.label, one.metadata, one.content_hash) for one in gallery.records(ids)]
    boxes = [(one.box, one.similarity_map.tolist()) for one in gallery.records(ids)]
    vectors = [gallery.vectors(ids, space).tolist() for space in ('whole', 'crop')]
    found = [gallery.search({'whole': X, 'crop': X}, 7, space=space) for space in ('whole', 'crop')]
    filtered = gallery.search(X, 5, space='whole', where={'year': ('>=', 2030)})
    hits = [(one.ids.tolist(), one.scores.tolist()) for one in (*found, filtered)]
    return facts, boxes, vectors, gallery.patches(ids).tolist(), hits, gallery.columns(), len(gallery)


def test_all_is_as_it_was(gallery):
    before = view(gallery)
    done = gallery.remove([1, 2, 3, 62], by='anna')
    assert (done.number, done.by, done.rows, done.columns) == (1, 'anna', 4, {'id': -4})
    assert gallery.changes() == [Change(1, number, 'id', number, None) for number in (1, 2, 3, 62)]
    assert not np.isin([1, 2, 3, 62], gallery.search(X, 20, space='whole').ids).any()
    back = gallery.undo(by='bert')
    assert (back.rows, back.columns, back.undoes) == (4, {'id': 4}, 1)
    assert view(gallery) == before
    gallery.verify()
    with open_gallery(gallery.location) as reader:
        assert view(reader) == before
    assert gallery.undo().undoes == 2 and len(gallery) == 61  # taking that back removes them again
    assert gallery.undo(3).undoes == 3 and view(gallery) == before
    assert gallery.plan_undo(1).changes == []


def test_what_happens_in_between_does_no_harm(gallery):
    gallery.set_labels([1], 'Wren')
    gallery.update([2], {'whole': X[2:3] + 5})
    kept = gallery.records([1, 2, 63]), gallery.vectors([1, 2, 63], 'whole'), gallery.patches([1, 2, 63])
    removed = gallery.remove([1, 2, 63])
    gallery.set_values([5], {'colour': 'red'})  # a new column
    gallery.add({'whole': X + 2, 'crop': X}, records(60, 100), patches=PATCHES)  # merges segments
    gallery.remove(gallery.ids({'year': ('>=', 2150)}))
    gallery.undo(removed.number)
    found = gallery.records([1, 2, 63]), gallery.vectors([1, 2, 63], 'whole'), gallery.patches([1, 2, 63])
    assert [(one.path, one.label, one.metadata) for one in found[0]] == [
        (one.path, one.label, one.metadata) for one in kept[0]
    ]
    np.testing.assert_array_equal(found[1], kept[1])
    np.testing.assert_array_equal(found[2], kept[2])
    np.testing.assert_array_equal(gallery.search(kept[1], 1, space='whole').ids[:, 0], [1, 2, 63])
    assert gallery.undo(1).rows == 1 and gallery.records([1])[0].label == 'wren'  # earlier changes too


def test_all_rows_can_be_removed_and_come_back(gallery):
    before = view(gallery)
    gallery.remove(where={'id': ('>=', 0)})
    assert len(gallery) == 0 and (gallery.search(X, 3, space='whole').ids == -1).all()
    gallery.undo()
    assert view(gallery) == before


def test_rows_that_are_gone_for_good(gallery):
    gallery.remove([1, 2])
    gallery.add({'whole': X[:1], 'crop': X[:1]}, records(1), ids=[2], patches=PATCHES[:1])
    assert gallery.plan_undo(1).left == {'removed for good': [2]}
    assert gallery.undo(1, skip_changed=True).rows == 1 and len(gallery.ids({'id': [1, 2]})) == 2
    gallery.remove([7, 8])
    rows = gallery.manifest.counts['removed']
    gallery.compact()
    assert rows >= 2 and gallery.manifest.counts['removed'] == 0
    with pytest.raises(RetrievalError, match=r'2 rows \(7, 8\) were removed for good'):
        gallery.undo()


def test_the_last_removals_are_kept(gallery, monkeypatch):
    monkeypatch.setattr(folder_writer, 'KEPT_REMOVALS', 2)
    for number in (1, 2, 3):
        gallery.remove([number])
    assert gallery.plan_undo(1).left == {'removed for good': [1]}
    gallery.undo(2)
    gallery.undo(3)
    assert np.isin([2, 3], gallery.ids()).all()


def test_patches_of_another_shape_in_an_emptied_gallery(tmp_path):
    with create_gallery(tmp_path / 'g', 8) as gallery:
        gallery.add(X[:3], patches=PATCHES[:3])
        gallery.remove([0, 1, 2])
        gallery.add(X[:3], patches=PATCHES[:3, :1])
        assert gallery.plan_undo(1).left == {'removed for good': [0, 1, 2]}
        assert gallery.patches([3]).shape == (1, 1, 3)


@pytest.mark.parametrize('step', ['bring_back', 'write_dead', 'write_change_set', 'write_meta'])
def test_what_breaks_off_changes_nothing(gallery, monkeypatch, step):
    before = view(gallery)
    gallery.remove([1, 62])
    without = view(gallery)

    def fail(*_):
        raise OSError('broken')

    with monkeypatch.context() as broken:
        broken.setattr(Database, step, fail)
        with pytest.raises(OSError, match='broken'):
            gallery.undo()
    assert view(gallery) == without and len(gallery.history()) == 1
    gallery.undo()
    assert view(gallery) == before


def test_a_full_disk_lets_rows_go_for_good(gallery, monkeypatch):
    def fail(*_):
        raise DiskFull('no room')

    with monkeypatch.context() as full:
        full.setattr(Database, 'keep_removed', fail)
        done = gallery.remove([1, 2])
    assert (done.number, done.rows) == (0, 2) and not np.isin([1, 2], gallery.ids()).any()
    assert gallery.history() == []
