"""A gallery in a local Milvus file."""

import fcntl
import sys

import faiss
import filter_cases
import numpy as np
import pytest
from pymilvus import MilvusClient

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, Record, create_gallery, open_gallery
from retrieval.hits import Hits
from retrieval.milvus.milvus_gallery import exact_hits, search_range
from retrieval.milvus.stored_rows import build_indexes, choose_preset, search_parameters
from retrieval.recognition import Recognizer, read_settings, store_settings, tune
from retrieval.whitening import Whitening

SPACES = {'aggregated': 16, 'global': 8}
MODEL = Fingerprint('a' * 64, 'b' * 64, 'c' * 64, 'model A')


def make_embeddings(count, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(count, size)).astype(np.float32) for name, size in SPACES.items()}


def flat_search(embeddings, queries, k, metric, rows=None):
    """What FAISS' flat index finds among some rows."""
    rows = np.arange(len(embeddings)) if rows is None else rows
    if metric == 'cosine':
        embeddings, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (embeddings, queries))
    index = (faiss.IndexFlatL2 if metric == 'l2' else faiss.IndexFlatIP)(embeddings.shape[1])
    index.add(np.ascontiguousarray(embeddings[rows]))
    scores, found = index.search(np.ascontiguousarray(queries), k)
    return scores, np.where(found < 0, -1, rows[found])


def test_an_old_server_has_no_rabitq():
    assert choose_preset('ivf-rabitq', 10, False, (2, 6))[0] == 'ivf-rabitq'
    with pytest.raises(RetrievalError, match='Milvus 2.5, and ivf-rabitq needs 2.6: update it, or take ivf-pq'):
        choose_preset('ivf-rabitq', 10, False, (2, 5))
    with pytest.raises(RetrievalError, match='milvus-lite has no index'):
        choose_preset('ivf-rabitq', 10, True)
    client = MilvusClient.__new__(MilvusClient)  # of which only the class's own method is used
    (built,) = build_indexes(client, {'a': 8}, 'cosine', 'ivf-rabitq')
    assert built.index_type == 'IVF_RABITQ' and built.get_index_configs()['nlist'] == 1024


@pytest.mark.parametrize(
    'preset, name, expected',
    [
        ('flat', 'nprobe', 'it compares every row; leave nprobe out'),
        ('FLAT', 'efSearch', 'it compares every row; leave efSearch out'),
        ('hnsw', 'nprobe', 'it has: efSearch'),
        ('IVF_FLAT', 'efSearch', 'it has: nprobe'),
        ('IVF_FLAT', 'nprobe', dict(nprobe=200)),
        ('hnsw', 'efSearch', dict(ef=200)),
        ('DISKANN', 'nprobe', dict(nprobe=200)),  # the server knows what it takes
    ],
)
def test_an_index_refuses_parameters_of_another(preset, name, expected):
    if isinstance(expected, dict):
        assert search_parameters(preset, 5, {name: 200}) == expected
        return
    with pytest.raises(RetrievalError, match=f"the index has no parameter '{name}': {expected}|; {expected}"):
        search_parameters(preset, 5, {name: 200})


@pytest.fixture(scope='module')
def filled(milvus_file):
    """A gallery with one record per case of filter_cases; tests only read it."""
    records = filter_cases.make_records()
    with create_gallery(f'{milvus_file}/filled', SPACES, metric='l2', fingerprint=MODEL) as gallery:
        gallery.add(make_embeddings(len(records)), records, np.arange(len(records)))
        yield gallery


@pytest.mark.parametrize('metric', ['cosine', 'ip', 'l2'])
def test_results_are_those_of_faiss_flat(location, metric):
    embeddings, queries = make_embeddings(300), make_embeddings(9, seed=1)
    labels = [None if row % 3 == 0 else f'class {row % 4}' for row in range(300)]
    with create_gallery(location, SPACES, metric=metric) as gallery:
        gallery.add(embeddings, [Record(label=label) for label in labels], np.arange(300) + 1000)
        for space in SPACES:
            scores, ids = flat_search(embeddings[space], queries[space], 12, metric)
            hits = gallery.search(queries, 12, space=space)
            np.testing.assert_array_equal(hits.ids, ids + 1000)
            np.testing.assert_allclose(hits.scores, scores, rtol=1e-5, atol=1e-5)
        rows = np.array([row for row, label in enumerate(labels) if label == 'class 1'])
        scores, ids = flat_search(embeddings['global'], queries['global'], 100, metric, rows)
        hits = gallery.search(queries['global'], 100, space='global', where={'label': 'class 1'})
        np.testing.assert_array_equal(hits.ids, np.where(ids < 0, -1, ids + 1000))
        np.testing.assert_allclose(hits.scores[:, : len(rows)], scores[:, : len(rows)], rtol=1e-5, atol=1e-5)
        assert np.isinf(hits.scores[:, len(rows) :]).all() and (hits.scores[:, -1] > 0).all() == (metric == 'l2')


@pytest.mark.parametrize('metric, radius', [('cosine', 0.3), ('l2', 20.0)])
def test_range_search_lists_what_faiss_lists(location, metric, radius):
    embeddings, queries = make_embeddings(200), make_embeddings(3, seed=1)
    with create_gallery(location, SPACES, metric=metric) as gallery:
        gallery.add(embeddings, ids=np.arange(200))
        hits = gallery.range_search(queries, radius)
        scores, ids = flat_search(embeddings['aggregated'], queries['aggregated'], 200, metric)
        for row in range(3):
            inside = scores[row] < radius if metric == 'l2' else scores[row] > radius
            part = slice(hits.limits[row], hits.limits[row + 1])
            np.testing.assert_array_equal(hits.ids[part], ids[row][inside])
            np.testing.assert_allclose(hits.scores[part], scores[row][inside], rtol=1e-5, atol=1e-5)
            assert inside.any() and not inside.all()


def test_every_operator_on_every_type(filled):
    records = filter_cases.make_records()
    wrong = [
        condition
        for condition in filter_cases.make_conditions()
        if not np.array_equal(filled.ids([condition]), filter_cases.expected_ids(records, condition))
    ]
    assert wrong == []


def test_records_come_back_as_they_were(filled):
    records = filter_cases.make_records()
    for row, (one, other) in enumerate(zip(records, filled.records(np.arange(len(records))))):
        assert (other.id, other.path, other.label, other.split) == (row, one.path, one.label, one.split)
        assert {name: value for name, value in other.metadata.items() if value is not None} == one.metadata
        assert all(type(other.metadata[name]) is type(value) for name, value in one.metadata.items())


def test_everything_of_a_record_is_kept(location):
    record = Record(
        'a/b.jpg', 'wren', 'train', (0.5, 1.0, 20.25, 30.0), image_size=(640, 480), content_hash='ab' * 32,
        similarity_map=np.arange(12, dtype=np.uint8).reshape(3, 4), metadata={'year': 2019, 'text': 'ß'},
        patch_boxes=tuple((4.5 * patch, 0, 4.5 * patch + 4, 4) for patch in range(8)),
    )  # fmt: skip
    patches = np.random.default_rng(0).normal(size=(2, 8, 4)).astype(np.float16)
    with create_gallery(location, SPACES) as gallery:
        gallery.add(make_embeddings(2), [record, Record('c.jpg')], [0, 1], patches)
    with open_gallery(location) as gallery:
        first, second = gallery.records([0, 1])
        np.testing.assert_array_equal(first.similarity_map, record.similarity_map)
        assert first.similarity_map.dtype == np.uint8
        assert (first.box, first.image_size, first.content_hash) == (record.box, record.image_size, record.content_hash)
        assert first.metadata == record.metadata and first.patch_boxes == record.patch_boxes
        assert (second.label, second.box, second.similarity_map, second.patch_boxes) == (None, None, None, None)
        np.testing.assert_array_equal(gallery.patches([1, 0]), patches[::-1])
        assert gallery.find_hashes(['ab' * 32, 'cd' * 32]) == {'ab' * 32: 0}


def test_empty_gallery_and_more_neighbours_than_rows(location):
    queries = make_embeddings(2, seed=1)
    with create_gallery(location, SPACES) as gallery:
        hits = gallery.search(queries, 3)
        assert (hits.ids == -1).all() and (hits.scores == -np.inf).all() and len(gallery) == 0
        assert gallery.range_search(queries, -1.0).limits.tolist() == [0, 0, 0]
        assert len(gallery.ids()) == 0 and gallery.find_hashes(['ab' * 32]) == {}
        gallery.add(make_embeddings(2))
        assert (gallery.search(queries, 5).ids >= 0).sum(axis=1).tolist() == [2, 2]


def test_fused_spaces_rank_as_the_weighted_sum_over_all_rows(location):
    embeddings, queries = make_embeddings(400), make_embeddings(6, seed=1)
    weights = {'aggregated': 0.3, 'global': 0.7}
    with create_gallery(location, SPACES) as gallery:
        gallery.add(embeddings, ids=np.arange(400))
        hits = gallery.search(queries, 10, space=weights)
        total = np.zeros((6, 400), np.float32)
        for name, weight in weights.items():
            one, other = (x[name] / np.linalg.norm(x[name], axis=1, keepdims=True) for x in (queries, embeddings))
            total += weight * one @ other.T
        np.testing.assert_array_equal(hits.ids, np.argsort(-total, axis=1)[:, :10])
        np.testing.assert_allclose(hits.scores, -np.sort(-total, axis=1)[:, :10], atol=1e-5)


def test_ids_are_never_given_twice(location):
    with create_gallery(location, SPACES) as gallery, open_gallery(location, writable=True) as other:
        first, second = gallery.add(make_embeddings(3)), gallery.add(make_embeddings(2))
        assert [*first, *second] == list(range(first[0], first[0] + 5))  # in the order of adding
        assert not np.isin(other.add(make_embeddings(3)), [*first, *second]).any()
        assert gallery.add(make_embeddings(1), ids=[7]).tolist() == [7]
        with pytest.raises(RetrievalError, match=r'id 7 .* update'):
            gallery.add(make_embeddings(2), ids=[20, 7])
        with pytest.raises(RetrievalError, match='id 9 occurs twice'):
            gallery.add(make_embeddings(2), ids=[9, 9])
        with pytest.raises(RetrievalError, match='1 ids were given for 2 embeddings'):
            gallery.add(make_embeddings(2), ids=[9])
        assert gallery.remove([7]).rows == 1 and len(gallery) == 8
        assert gallery.add(make_embeddings(1), ids=[7]).tolist() == [7]


def test_update_and_remove(location):
    embeddings, new = make_embeddings(5), make_embeddings(2, seed=5)
    with create_gallery(location, SPACES, metric='ip') as gallery:
        gallery.add(embeddings, [Record(f'{row}.jpg', 'old', metadata={'year': row}) for row in range(5)], np.arange(5))
        gallery.update([3, 1], {'global': new['global']})
        np.testing.assert_array_equal(gallery.vectors([1, 3], 'global'), new['global'][::-1])
        np.testing.assert_array_equal(gallery.vectors([1, 3]), embeddings['aggregated'][[1, 3]])
        gallery.update([2], records=[Record('new.jpg', 'new', metadata={'place': 'Rome'})])
        assert (gallery.records([2])[0].path, gallery.records([3])[0].label) == ('new.jpg', 'old')
        assert gallery.ids({'place': 'Rome'}).tolist() == [2] and gallery.ids({'year': 2}).tolist() == []
        with pytest.raises(RetrievalError, match='id 77 is not in'):
            gallery.update([0, 77], records=[Record('x'), Record('x')])
        assert gallery.records([0])[0].path == '0.jpg'
        with pytest.raises(RetrievalError, match='id 77 is not in'):
            gallery.remove([0, 77])
        assert gallery.remove(where={'year': ('>=', 3)}).rows == 2 and gallery.remove([0]).rows == 1
        assert gallery.ids().tolist() == [1, 2]


def test_another_model_or_dimension_is_refused(location):
    create_gallery(location, SPACES, fingerprint=MODEL).close()
    open_gallery(location, expect=MODEL, dimension=16).close()
    with pytest.raises(RetrievalError, match='model A'):
        open_gallery(location, expect=Fingerprint('d' * 64, 'b' * 64, 'c' * 64, 'model D'))
    with pytest.raises(RetrievalError, match='16'):
        open_gallery(location, dimension=384)


def test_mistakes_are_told_in_one_sentence(filled, location, milvus_file):
    queries = make_embeddings(2)
    with create_gallery(location, SPACES) as gallery:
        huge = Record(similarity_map=np.zeros((300, 300), np.uint8))
        mistakes = {
            'no space': lambda: filled.search(queries, space='crop'),
            '16384': lambda: filled.search(queries, 20_000),
            'opened for reading': lambda: open_gallery(location).add(queries),
            'there already': lambda: create_gallery(location, 4),
            'build it first': lambda: open_gallery(f'{milvus_file}/nowhere'),
            'no index': lambda: create_gallery(f'{milvus_file}/preset', 4, preset='opq'),
            'are missing': lambda: gallery.add({'global': queries['global']}),
            'NaN': lambda: gallery.add({**queries, 'global': np.full((2, 8), np.nan, np.float32)}),
            'columns': lambda: filled.search(queries['global']),
            'similarity_map has': lambda: gallery.add(queries, [huge, huge]),
            'patches': lambda: gallery.add(queries, patches=np.zeros((2, 64, 1024), np.float16)),
            'note': lambda: filled.ids({'note" == "" or id >= 0': 1}),
        }
        for part, call in mistakes.items():
            with pytest.raises(RetrievalError, match=part) as caught:
                call()
            assert '\n' not in str(caught.value)
        assert len(gallery) == 0


def test_compact_changes_the_index(location):
    embeddings = make_embeddings(50)
    with create_gallery(location, SPACES) as gallery:
        gallery.add(embeddings, ids=np.arange(50))
        assert gallery.manifest.preset == 'flat'
        gallery.compact('hnsw')
        assert gallery.manifest.preset == 'hnsw'
        assert gallery.search(embeddings, 1).ids[:, 0].tolist() == list(range(50))
    with open_gallery(location) as gallery:
        assert gallery.search(embeddings, 1).ids[:, 0].tolist() == list(range(50))


def test_whitened_spaces(location):
    embeddings = make_embeddings(300)
    whitening = Whitening.fit(embeddings['aggregated'], 6)
    with create_gallery(location, {**SPACES, 'aggregated': 6}, transforms={'aggregated': whitening}) as gallery:
        gallery.add(embeddings, ids=np.arange(300))
    with open_gallery(location, dimension=16) as gallery:
        whitened = whitening.apply(embeddings['aggregated'])
        _, ids = flat_search(whitened, whitened[:5], 7, 'cosine')
        np.testing.assert_array_equal(gallery.search(embeddings['aggregated'][:5], 7, space='aggregated').ids, ids)
        assert gallery.manifest.input_dimensions == {'aggregated': 16, 'global': 8}
        assert gallery.vectors([0]).shape == (1, 6)
        again = gallery.search(gallery.vectors([4, 2]), 7, transformed=True)
        np.testing.assert_array_equal(again.ids, ids[[4, 2]])
        with pytest.raises(RetrievalError, match='16'):
            gallery.search(gallery.vectors([4]), 7)


def test_settings_of_recognition_are_kept(location):
    rows = np.repeat(np.eye(4, 8, dtype=np.float32), 6, axis=0) + np.linspace(0, 0.1, 24, dtype=np.float32)[:, None]
    with create_gallery(location, 8) as gallery:
        gallery.add(rows, [Record(label='abcd'[row // 6]) for row in range(24)])
        found = store_settings(gallery, tune(gallery))
    with open_gallery(location, writable=True) as gallery:
        assert read_settings(gallery) == (found, '') and found.is_tuned
        assert [one.label for one in Recognizer(gallery).recognize(rows[::6])] == list('abcd')
        gallery.set_labels(gallery.ids()[:1], 'b')
        assert 'has changed since it was tuned' in read_settings(gallery)[1]


def test_pages_of_a_range_are_joined():
    scores = np.array([5, 4, 4, 4, 3, 2, 1], np.float32)

    def search(queries, count, bounds):
        inside = (scores > bounds['radius']) & (scores <= bounds.get('range_filter', np.inf))
        found = np.flatnonzero(inside)[:count]
        ids = np.pad(found, (0, count - len(found)), constant_values=-1)
        return Hits(
            np.tile(np.where(ids < 0, -np.inf, scores[ids]), (len(queries), 1)), np.tile(ids, (len(queries), 1))
        )

    hits = search_range(search, np.zeros((70, 4), np.float32), 1.5, page_size=4)
    assert hits.limits.tolist() == list(range(0, 421, 6)) and hits.ids.tolist() == [0, 1, 2, 3, 4, 5] * 70
    assert hits.scores.tolist() == [5, 4, 4, 4, 3, 2] * 70
    with pytest.raises(RetrievalError, match='tighter radius'):
        search_range(search, np.zeros((1, 4), np.float32), 1.5, page_size=3)


def test_candidates_are_ranked_by_their_exact_scores():
    vectors = np.arange(5, dtype=np.float32)[:, None]
    candidates = Hits(np.zeros((2, 4), np.float32), np.array([[3, 1, 4, -1], [-1, -1, -1, -1]]))
    hits = exact_hits(np.array([[3], [3]], np.float32), candidates, 2, 'l2', lambda ids: vectors[ids])
    assert hits.ids.tolist() == [[3, 4], [-1, -1]] and hits.scores[0].tolist() == [0, 1]
    assert np.isinf(hits.scores[1]).all()


@pytest.mark.parametrize(
    'module, place, command',
    [
        ('pymilvus', 'milvus://127.0.0.1:1/birds', 'pip install pymilvus'),
        ('milvus_lite.server_manager', 'milvus://./birds.db/birds', 'pip install milvus-lite'),
    ],
)
def test_a_missing_package_is_named(monkeypatch, module, place, command):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=command):
        open_gallery(place)


def test_no_server_is_one_sentence():
    with pytest.raises(RetrievalError, match='no Milvus answers at milvus://127.0.0.1:1/birds'):
        open_gallery('milvus://127.0.0.1:1/birds')


def test_a_file_that_another_process_has_open(tmp_path):
    place = tmp_path / 'birds.db'
    place.mkdir()
    with open(place / 'LOCK', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RetrievalError, match='another process has it open'):
            open_gallery(f'milvus://{place}/birds')


@pytest.mark.parametrize('writable', [False, True])
def test_a_closed_gallery_says_so(location, writable):
    create_gallery(location, SPACES).close()
    gallery = open_gallery(location, writable=writable)
    gallery.close()
    gallery.close()
    for call in (lambda: gallery.records([1]), gallery.ids, gallery.refresh, lambda: gallery.manifest):
        with pytest.raises(RetrievalError, match='was closed: open it again'):
            call()


def test_a_fork_is_told_to_open_its_own_gallery(filled, monkeypatch):
    monkeypatch.setattr(filled._collection, '_process', -1)  # gRPC does not bear a real fork in the tests' process
    with pytest.raises(RetrievalError, match='before this process was forked: open it in each process'):
        filled.records([0])
