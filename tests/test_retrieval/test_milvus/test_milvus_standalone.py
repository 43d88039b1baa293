"""The same gallery on Milvus' own server, its real engine, over loopback."""

import faiss
import filter_cases
import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, Record, create_gallery, open_gallery
from retrieval.milvus import milvus_gallery

pytestmark = pytest.mark.slow

MODEL = Fingerprint('a' * 64, 'b' * 64, 'c' * 64)


def test_a_server_answers_as_faiss_flat_does(standalone_server, monkeypatch):
    records = filter_cases.make_records()
    rng = np.random.default_rng(0)
    embeddings, queries = (rng.normal(size=(count, 16)).astype(np.float32) for count in (500, 7))
    location = f'{standalone_server}/birds'
    with pytest.raises(RetrievalError, match=r'Milvus 2\.3 .* one space'):
        create_gallery(location, {'aggregated': 16, 'global': 16})
    with create_gallery(location, 16, metric='l2', fingerprint=MODEL) as gallery:
        assert (gallery.search(queries, 3).ids == -1).all()
        records += [Record(metadata={'year': row}) for row in range(500 - len(records))]
        gallery.add(embeddings, records, np.arange(500), np.ones((500, 2, 4), np.float16))
        _check_search(gallery, embeddings, queries)
        assert len(gallery) == 500 and gallery.ids().tolist() == list(range(500))
        _check_groups(gallery, records, queries, monkeypatch)
        _check_other_writers(location, gallery, embeddings[:20])
        gallery.update([400], embeddings[:1] + 9, [Record('new.jpg', 'new')])
        assert gallery.records([400])[0].label == 'new'
        _check_history(gallery, embeddings)
        assert gallery.remove(np.arange(450, 500)).rows == 50 and gallery.remove(where={'label': 'new'}).rows == 1
        assert len(gallery.ids()) == 449
        with pytest.raises(RetrievalError, match='id 3 is there already'):
            gallery.add(embeddings[:1], ids=[3])
    # Sessions need not wait for the server's clock, which takes 0.2 s a call.
    with open_gallery(f'{location}?consistency=Session', expect=MODEL, dimension=16) as gallery:
        _check_filters(gallery, records)
        np.testing.assert_array_equal(gallery.vectors([7, 3]), embeddings[[7, 3]])
        assert gallery.patches([7]).shape == (1, 2, 4) and gallery.manifest.fingerprint == MODEL
    monkeypatch.setenv('MILVUS_TOKEN', 'root:wrong')
    with pytest.raises(RetrievalError, match='MILVUS_TOKEN') as caught:
        open_gallery(location)
    assert 'root:' not in str(caught.value)


def _check_history(gallery, embeddings):
    """Changes are listed and taken back, and a row that got the id of another is left alone."""
    before = [record.label for record in gallery.records([1, 2, 3])]
    first = gallery.set_labels([1, 2, 3], ['a', 'b', None], by='anna')
    second = gallery.set_values([1, 2], {'year': 1.5, 'note': 'x'}, by='bert')
    assert gallery.history()[-2:] == [first, second] and second.whole and second.by == 'bert'
    assert [change.old for change in gallery.changes(first.number)] == before
    gallery.undo()
    gallery.undo(first.number)
    assert [record.label for record in gallery.records([1, 2, 3])] == before
    gallery.set_labels([440], 'c')
    gallery.remove([440])
    gallery.add(embeddings[440:441], ids=[440], patches=np.ones((1, 2, 4), np.float16))
    with pytest.raises(RetrievalError, match=r'1 row \(440\) was removed since'):
        gallery.undo()


def _check_other_writers(location, gallery, embeddings):
    """An add is hidden until it ends, and what it leaves when it fails is taken back."""
    patches = np.ones((20, 2, 4), np.float16)
    seen = []
    with open_gallery(location, writable=True) as other:
        insert, other._collection.insert = (
            other._collection.insert,
            lambda rows: seen.append((insert(rows), len(gallery))),
        )
        ids = other.add(embeddings, patches=patches)
        assert seen == [(None, 500)] and len(gallery) == 520 and gallery.remove(ids).rows == 20

        def insert_and_fail(rows):
            insert(rows)
            raise KeyboardInterrupt

        other._collection.insert = insert_and_fail
        with pytest.raises(KeyboardInterrupt):
            other.add(embeddings, patches=patches)
        assert len(gallery) == 500 and len(gallery.unfinished) == 1
        assert other.discard_unfinished() == 1 and gallery.unfinished == []


def _check_search(gallery, embeddings, queries):
    index = faiss.IndexFlatL2(16)
    index.add(embeddings)
    scores, ids = index.search(queries, 20)
    hits = gallery.search(queries, 20)
    np.testing.assert_array_equal(hits.ids, ids)
    np.testing.assert_allclose(hits.scores, scores, rtol=1e-5, atol=1e-5)
    assert (gallery.search(queries, 600).ids >= 0).sum(axis=1).tolist() == [500] * len(queries)
    within = gallery.range_search(queries, 20.0)
    limits, _, found = index.range_search(queries, 20.0)
    np.testing.assert_array_equal(within.limits, limits)
    assert sorted(within.ids.tolist()) == sorted(found.tolist())


def _check_groups(gallery, records, queries, monkeypatch):
    """A search that lists few rows finds the groups that one of all rows finds."""
    for column in ('label', 'split', 'year'):
        whole = gallery.search(queries, 30, group_by=column)
        values = [
            [getattr(records[row], column, None) or records[row].metadata.get(column) for row in ids if row >= 0]
            for ids in whole.ids.tolist()
        ]
        named = [[value for value in row if value is not None] for row in values]
        assert all(len(set(row)) == len(row) for row in named) and any(named)
        with monkeypatch.context() as patch:
            patch.setattr(milvus_gallery, 'MAX_DEPTH', 8)
            np.testing.assert_array_equal(gallery.search(queries[:2], 30, group_by=column).ids, whole.ids[:2])


def _check_filters(gallery, records):
    wrong = []
    for condition in filter_cases.make_conditions():
        expected = filter_cases.expected_ids(records[:400], condition)
        found = gallery.ids([condition])
        if not np.array_equal(found[found < 400], expected):
            wrong.append(condition)
    assert wrong == []
