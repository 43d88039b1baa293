"""Moving galleries between a directory and Milvus."""

import numpy as np
import pytest
from tiny_run import call_tool

from retrieval.class_metric import describe_metrics, fit_metric, remove_metric
from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, Record, create_gallery, open_gallery
from retrieval.migration import migrate
from retrieval.milvus.milvus_gallery import MilvusWriter
from retrieval.whitening import Whitening

SPACES = {'aggregated': 8, 'global': 4}
MODEL = Fingerprint('a' * 64, 'b' * 64, 'c' * 64, 'model A')


def make_source(place, count=40):
    rng = np.random.default_rng(0)
    embeddings = {name: rng.normal(size=(count, size)).astype(np.float32) for name, size in SPACES.items()}
    records = [
        Record(
            f'{row}.jpg',
            label=None if row % 4 == 0 else f'class {row % 3}',
            box=(1.0, 2.0, 30.5, 40.0) if row % 2 else None,
            image_size=(64, 48),
            content_hash=f'{row:064x}',
            similarity_map=np.full((4, 4), row, np.uint8),
            metadata={'year': 2000 + row, 'place': None if row % 5 else 'Rome'},
        )
        for row in range(count)
    ]
    with create_gallery(place, SPACES, fingerprint=MODEL) as gallery:
        patches = rng.normal(size=(count, 2, 8)).astype(np.float16)
        gallery.add(embeddings, records, np.arange(count) * 3 + 7, patches)
        gallery.set_labels([7, 10], 'changed', by='anna')
        gallery.set_values([13], {'year': None, 'weight': 0.5}, by='bert')
        gallery.undo(1, by='anna')
        gallery.remove([7], by='bert')
    return {name: rng.normal(size=(5, size)).astype(np.float32) for name, size in SPACES.items()}


def assert_same(one, other, queries):
    """Two galleries with the same content, which give the same answers."""
    with open_gallery(one) as first, open_gallery(other, expect=MODEL) as second:
        ids = first.ids()
        np.testing.assert_array_equal(second.ids(), ids)
        np.testing.assert_array_equal(second.patches(ids), first.patches(ids))
        for space in SPACES:
            np.testing.assert_allclose(second.vectors(ids, space), first.vectors(ids, space), atol=1e-6)
        for where in (None, {'label': 'class 1'}, {'label': ('!=', 'class 1')}, {'year': ('<', 2020), 'place': 'Rome'}):
            np.testing.assert_array_equal(second.ids(where), first.ids(where))
            for space in (*SPACES, {'aggregated': 0.5, 'global': 0.5}):
                hits, expected = (one.search(queries, 9, space=space, where=where) for one in (second, first))
                np.testing.assert_array_equal(hits.ids, expected.ids)
                np.testing.assert_allclose(hits.scores, expected.scores, atol=1e-5)
        for copy, record in zip(second.records(ids), first.records(ids)):
            np.testing.assert_array_equal(copy.similarity_map, record.similarity_map)
            assert (copy.id, copy.path, copy.label, copy.box) == (record.id, record.path, record.label, record.box)
            assert copy.metadata == record.metadata and copy.image_size == record.image_size
        assert second.history() == first.history() and [one.undoes for one in first.history()] == [None, None, 1, None]
        assert second.changes() == first.changes()


def test_there_and_back(tmp_path, location, capsys):
    queries = make_source(tmp_path / 'first')
    assert migrate(tmp_path / 'first', location, batch_size=7) == (39, 39, 39)
    assert_same(tmp_path / 'first', location, queries)
    call_tool('retrieval/migrate', location, tmp_path / 'second', '--preset', 'flat')
    assert '39 rows copied, 0 were there' in capsys.readouterr().out
    assert_same(location, tmp_path / 'second', queries)


def test_a_broken_migration_goes_on(tmp_path, location, monkeypatch):
    queries = make_source(tmp_path / 'first')
    add, calls = MilvusWriter.add, []

    def add_twice(self, *args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return add(self, *args, **options)

    monkeypatch.setattr(MilvusWriter, 'add', add_twice)
    with pytest.raises(KeyboardInterrupt):
        migrate(tmp_path / 'first', location, batch_size=10)
    assert migrate(tmp_path / 'first', location, batch_size=10) == (39, 19, 39)
    assert_same(tmp_path / 'first', location, queries)
    assert migrate(tmp_path / 'first', location).copied == 0


def test_shards_are_loaded_into_one_collection(tmp_path, location, capsys):
    for number in range(3):
        with create_gallery(tmp_path / f'shard_{number}', 4) as shard:
            shard.add(np.eye(4, dtype=np.float32) + number, ids=np.arange(4) * 3 + number)
            shard.set_labels([number], 'a', by=f'user {number}')
            shard.undo()
    call_tool('retrieval/migrate', *(tmp_path / f'shard_{number}' for number in range(3)), location)
    assert '12 rows copied' in capsys.readouterr().out
    with open_gallery(location) as gallery:
        assert gallery.ids().tolist() == list(range(12))
        history = gallery.history()
        assert [one.number for one in history] == [1, 2, 3, 4, 5, 6]
        assert [one.undoes for one in history] == [None, 1, None, 3, None, 5]
        for number, one in enumerate(history[::2]):
            assert one.by == f'user {number}'
            assert [change.id for change in gallery.changes(one.number)] == [number]
    with pytest.raises(SystemExit) as caught:
        call_tool('retrieval/migrate', tmp_path / 'nowhere', location)
    assert caught.value.code == 2 and capsys.readouterr().err.count('\n') == 1
    with pytest.raises(RetrievalError, match='id 0 is in several sources'):
        migrate([tmp_path / 'shard_0', tmp_path / 'shard_0'], location)


def test_another_gallery_is_not_overwritten(tmp_path, location):
    make_source(tmp_path / 'first')
    with create_gallery(location, SPACES, fingerprint=MODEL) as target:
        target.add({name: np.ones((1, size), np.float32) for name, size in SPACES.items()}, ids=[1])
    with pytest.raises(RetrievalError, match='id 1: migrate to a new place'):
        migrate(tmp_path / 'first', location)
    with create_gallery(tmp_path / 'other', SPACES, metric='l2'):
        pass
    with pytest.raises(RetrievalError, match='metric differs'):
        migrate(tmp_path / 'other', location)


def test_a_change_set_that_differs_is_noticed(tmp_path, location):
    make_source(tmp_path / 'first')
    migrate(tmp_path / 'first', location)
    with open_gallery(location, writable=True) as gallery, open_gallery(tmp_path / 'first', writable=True) as source:
        for one, by in ((source, 'anna'), (gallery, 'bert')):
            one.set_labels([10], 'x', by=by)
        last = gallery.history()[-1]
        assert last.number > 4  # not the number that the source gives
    assert migrate(tmp_path / 'first', location).copied == 0
    with open_gallery(location) as gallery:
        assert [one.by for one in gallery.history()] == ['anna', 'bert', 'anna', 'bert', 'bert', 'anna']
    with open_gallery(tmp_path / 'first', writable=True) as source:
        source._state.database.connection.execute("UPDATE change_sets SET by = 'x' WHERE number = 1")
    with pytest.raises(RetrievalError, match='change 1 differs between source and copy: migrate to a new place'):
        migrate(tmp_path / 'first', location)


def test_a_row_that_differs_is_noticed(tmp_path, location):
    make_source(tmp_path / 'first')
    migrate(tmp_path / 'first', location)
    with open_gallery(location, writable=True) as gallery:
        gallery.update([10], records=[Record('changed.jpg')])
    with pytest.raises(RetrievalError, match='row 10 differs'):
        migrate(tmp_path / 'first', location)


def test_whitenings_move_too(tmp_path, location):
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(60, 8)).astype(np.float32)
    for name, dimension in (('smaller', 5), ('same', 8)):
        with create_gallery(
            tmp_path / name, {'global': dimension}, transforms={'global': Whitening.fit(embeddings, dimension)}
        ) as gallery:
            gallery.add(embeddings, ids=np.arange(60))
            expected = gallery.search(embeddings[:6], 5)
        target = f'{location}_{name}'
        migrate(tmp_path / name, target)
        with open_gallery(target) as gallery:
            hits = gallery.search(embeddings[:6], 5)
        migrate(target, tmp_path / f'{name}_back')
        with open_gallery(tmp_path / f'{name}_back') as gallery:
            back = gallery.search(embeddings[:6], 5)
        for one in (hits, back):
            np.testing.assert_array_equal(one.ids, expected.ids)
            np.testing.assert_allclose(one.scores, expected.scores, atol=1e-5)


def test_learned_metrics_move_too(tmp_path, location):
    rng = np.random.default_rng(0)
    centers = np.repeat(rng.normal(size=(6, 8)), 10, axis=0)
    rows = (centers + rng.normal(size=(60, 8)) * (5, 5, 1, 1, 1, 1, 1, 1)).astype(np.float32)
    queries, new = rng.normal(size=(2, 5, 8)).astype(np.float32)
    with create_gallery(tmp_path / 'first', {'global': 8}) as gallery:
        gallery.add(rows, [Record(label=f'class {row // 10}') for row in range(60)], np.arange(60))
        metric = fit_metric(gallery, force=True).transform
    migrate(tmp_path / 'first', location)
    with open_gallery(location, writable=True) as gallery:
        with pytest.raises(RetrievalError, match='Milvus 2 takes no vectors of a new kind.*migrate'):
            fit_metric(gallery, force=True)
        with pytest.raises(RetrievalError, match='takes no vectors of a new kind'):
            remove_metric(gallery)
        assert metric.fingerprint[:12] in describe_metrics(gallery)
        gallery.add(new, ids=np.arange(60, 65))
        gallery.update([3], new[:1])
        with open_gallery(tmp_path / 'first', writable=True) as first:
            first.add(new, ids=np.arange(60, 65))
            first.update([3], new[:1])
            expected = first.search(queries, 7)
        hits = gallery.search(queries, 7)
        np.testing.assert_allclose(gallery.vectors([3, 60], 'global'), new[[0, 0]] / np.linalg.norm(new[0]), atol=1e-6)
    migrate(location, tmp_path / 'back')
    with open_gallery(tmp_path / 'back', writable=True) as gallery:
        back = gallery.search(queries, 7)
        assert gallery.transforms['global-metric'].notes == metric.notes
        assert remove_metric(gallery) == 'global-metric'
    for one in (hits, back):
        np.testing.assert_array_equal(one.ids, expected.ids)
        np.testing.assert_allclose(one.scores, expected.scores, atol=1e-5)
