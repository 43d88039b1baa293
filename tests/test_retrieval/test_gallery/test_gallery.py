"""What a gallery keeps and finds."""

import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.whitening import Whitening

RNG = np.random.default_rng(3)
A = RNG.normal(size=(300, 12)).astype(np.float32)
B = RNG.normal(size=(300, 6)).astype(np.float32)
QUERIES = {'a': RNG.normal(size=(7, 12)).astype(np.float32), 'b': RNG.normal(size=(7, 6)).astype(np.float32)}


def unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def test_records_come_back(tmp_path):
    record = Record(
        'dir/ä.jpg', 'Wren', 'train', (1.5, 2, 30, 40), (640, 480), 'ab' * 32,
        np.arange(12, dtype=np.uint8).reshape(3, 4), (0, 0, 640, 480),
        {'year': 2020, 'weight': 0.5, 'note': "it's; --"},
        patch_boxes=((0, 0, 160, 160), (160.5, 0, 320, 160)), map_range=(-0.25, 0.5),
    )  # fmt: skip
    with create_gallery(tmp_path / 'g', 12, origin={'root': 'photos'}) as gallery:
        ids = gallery.add(A[:2], [record, Record()], ids=[2**60, 5])
        assert gallery.columns()['weight'] == 'REAL'
    with open_gallery(tmp_path / 'g') as gallery:
        empty, found = gallery.records([5, ids[0]])
        assert found.id == 2**60 and empty == Record(id=5)
        np.testing.assert_array_equal(found.similarity_map, record.similarity_map)
        for name in (
            'path',
            'label',
            'split',
            'box',
            'image_size',
            'content_hash',
            'map_area',
            'patch_boxes',
            'map_range',
            'metadata',
        ):
            assert getattr(found, name) == getattr(record, name), name
        assert gallery.find_hashes(['ab' * 32, 'cd' * 32]) == {'ab' * 32: 2**60}
        assert gallery.manifest.origin == {'root': 'photos'}
        with pytest.raises(RetrievalError, match='id 6 is not in the gallery'):
            gallery.records([5, 6])


@pytest.mark.parametrize(
    'where, expected',
    [
        ({'label': 'x'}, lambda n: n % 3 == 0),
        ({'label': ['x', 'y'], 'year': ('>=', 100)}, lambda n: n % 3 != 2 and n >= 100),
        ({'label': None}, lambda n: n % 3 == 2),
        ({'label': ('!=', None)}, lambda n: n % 3 != 2),
        ({'label': ('!=', 'x')}, lambda n: n % 3 == 1),
        ({'label': ('not in', ['x'])}, lambda n: n % 3 == 1),
        ({'label': []}, lambda n: False),
        ({'year': ('<', 10.5)}, lambda n: n < 10.5),
        ({'year': '17'}, lambda n: n == 17),
        ({'id': [4, 9, 1000]}, lambda n: n in (4, 9)),
        ({'label': "x' OR '1'='1"}, lambda n: False),
        ([('year', '>', 5), ('year', '<=', 8)], lambda n: 5 < n <= 8),
    ],
)
@pytest.mark.parametrize('preset', ['flat', 'hnsw', 'ivf-flat'])
def test_filters_are_inside_the_search(tmp_path, where, expected, preset):
    with create_gallery(tmp_path / 'g', 12) as gallery:
        labels = ['x', 'y', None]
        gallery.add(A, [Record(label=labels[n % 3], metadata={'year': n}) for n in range(300)])
        gallery.compact(preset)
        allowed = [n for n in range(300) if expected(n)]
        assert gallery.ids(where).tolist() == allowed
        hits = gallery.search(QUERIES['a'], 5, where=where)
        scores = unit(QUERIES['a']) @ unit(A[allowed]).T if allowed else np.empty((7, 0))
        best = np.sort(scores, axis=1)[:, ::-1][:, :5]
        np.testing.assert_allclose(hits.scores[:, : best.shape[1]], best, atol=1e-5)
        assert ((hits.ids >= 0).sum(axis=1) == min(5, len(allowed))).all()


def test_a_filter_sees_later_changes(tmp_path):
    with create_gallery(tmp_path / 'g', 12) as gallery:
        gallery.add(A[:4], [Record(label='x')] * 4)
        assert (gallery.search(A[:1], 4, where={'label': 'y'}).ids == -1).all()
        gallery.add(A[4:6], [Record(label='y')] * 2)
        assert gallery.search(A[5:6], 1, where={'label': 'y'}).ids.tolist() == [[5]]
        gallery.update([5], records=[Record(label='x')])
        assert gallery.search(A[5:6], 4, where={'label': 'y'}).ids.tolist() == [[4, -1, -1, -1]]
        with pytest.raises(RetrievalError, match="no column 'colour'; the columns are id, path, label"):
            gallery.search(A[:1], where={'colour': 'red'})


@pytest.mark.parametrize('metric', ['cosine', 'ip', 'l2'])
@pytest.mark.parametrize('weights', [{'a': 1, 'b': 1}, {'a': 0.1, 'b': 3.0}, {'b': 2.0}])
def test_fused_spaces_are_exact(tmp_path, metric, weights):
    with create_gallery(tmp_path / 'g', {'a': 12, 'b': 6}, metric=metric) as gallery:
        gallery.add({'a': A, 'b': B})
        gallery.remove(range(50))
        hits = gallery.search(QUERIES, 9, space=weights)
        total = 0
        for name, stored in (('a', A[50:]), ('b', B[50:])):
            query = QUERIES[name]
            if metric == 'cosine':
                stored, query = unit(stored), unit(query)
            one = ((query[:, None] - stored) ** 2).sum(2) if metric == 'l2' else query @ stored.T
            total = total + weights.get(name, 0) * one
        order = np.argsort(total if metric == 'l2' else -total, axis=1)[:, :9]
        np.testing.assert_array_equal(hits.ids, order + 50)
        np.testing.assert_allclose(hits.scores, np.take_along_axis(total, order, 1), rtol=1e-4, atol=1e-5)
        assert (gallery.search(QUERIES, 400, space=weights).ids >= 0).sum() == 7 * 250
        with pytest.raises(RetrievalError, match='above 0'):
            gallery.search(QUERIES, space={'a': 0.0})


def test_whitened_spaces(tmp_path):
    for dimension in (4, 12):
        whitening = Whitening.fit(A, dimension)
        folder = tmp_path / f'g{dimension}'
        create_gallery(folder, {'a': dimension}, transforms={'a': whitening}).close()
        with open_gallery(folder, writable=True, dimension=12) as gallery:
            gallery.add(A)
            stored = unit(whitening.apply(A))
            np.testing.assert_allclose(gallery.vectors(range(300)), stored, atol=1e-5)
            hits = gallery.search(QUERIES['a'], 3)
            expected = np.argsort(-unit(whitening.apply(QUERIES['a'])) @ stored.T, axis=1)[:, :3]
            np.testing.assert_array_equal(hits.ids, expected)
            again = gallery.search(gallery.vectors([8]), 1, transformed=True)
            assert again.ids.tolist() == [[8]]


def test_patches_are_kept_through_every_change(tmp_path):
    patches = RNG.normal(size=(30, 2, 4)).astype(np.float16)
    with create_gallery(tmp_path / 'g', 12, preset='flat') as gallery:
        gallery.add(A[:10], patches=patches[:10])
        gallery.add(A[10:20], patches=patches[10:20])
        gallery.update([3], A[25:26])
        gallery.update([4], patches=patches[25:26])
        gallery.remove([0])
        gallery.compact()
        expected = patches[:20].copy()
        expected[4] = patches[25]
        np.testing.assert_array_equal(gallery.patches(range(1, 20)), expected[1:])
        for wrong, words in ((None, 'give patches'), (patches[:1, :1], 'keeps patches of'), (patches[:2], 'must be')):
            with pytest.raises(RetrievalError, match=words):
                gallery.add(A[:1], patches=wrong)
    with create_gallery(tmp_path / 'none', 12) as gallery:
        gallery.add(A[:2])
        assert gallery.patches([0]) is None
        with pytest.raises(RetrievalError, match='have no patches'):
            gallery.add(A[:1], patches=patches[:1])


def test_many_small_adds_leave_few_segments(tmp_path):
    with create_gallery(tmp_path / 'g', 12) as gallery:
        for row in range(40):
            gallery.add(A[row : row + 1])
        assert gallery.manifest.counts == {'rows': 40, 'removed': 0, 'segments': 2}
        np.testing.assert_array_equal(gallery.search(A[:40], 1).ids[:, 0], np.arange(40))
        gallery.compact('hnsw')
        gallery.add(A[40:41])
        assert gallery.built_presets == [{'embedding': 'hnsw'}, {'embedding': 'flat'}]
        np.testing.assert_array_equal(gallery.search(A[:41], 1).ids[:, 0], np.arange(41))


def test_searches_run_beside_changes(tmp_path):
    """Each search of a writer keeps to the state that it began with, whatever another thread writes meanwhile."""
    with create_gallery(tmp_path / 'g', 12, preset='flat') as gallery:
        gallery.add(A[:100])
        done, errors, searches = threading.Event(), [], []

        def search():
            try:
                while not done.is_set() or not searches:
                    hits = gallery.search(QUERIES['a'], 5)
                    scores = np.einsum('qd,qkd->qk', unit(QUERIES['a']), unit(A[hits.ids]))
                    np.testing.assert_allclose(hits.scores, scores, atol=1e-5)
                    assert (hits.ids >= 0).all()
                    searches.append(len(hits.ids))
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for start in range(100, 300, 20):
                gallery.add(A[start : start + 20])
                gallery.remove([start, start + 1])
            gallery.compact()
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert not errors and searches


def test_threads_search_with_more_filters_than_are_kept(tmp_path):
    with create_gallery(tmp_path / 'g', 12, preset='flat') as gallery:
        gallery.add(A[:60], [Record(metadata={'year': n}) for n in range(60)])
    with open_gallery(tmp_path / 'g') as gallery, ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda n: gallery.search(A[:1], 1, where={'year': n % 60}).ids[0, 0], range(480))
        assert list(found) == [n % 60 for n in range(480)]


def test_a_gallery_of_an_earlier_version_opens(tmp_path):
    """The file was written by commit 9c6c93a: two spaces, one whitened, patches, an index, a tail and removed rows."""
    folder = tmp_path / 'g'
    with zipfile.ZipFile(Path(__file__).with_name('gallery_of_format_1.zip')) as archive:
        archive.extractall(folder)
    embeddings = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    rows = np.delete(np.arange(60), [3, 55])
    with open_gallery(folder, writable=True, dimension=6) as gallery:
        gallery.verify()
        assert gallery.ids().tolist() == rows.tolist()
        assert gallery.built_presets == [{'a': 'IVF4,Flat', 'b': 'IVF4,Flat'}, {'a': 'flat', 'b': 'flat'}]
        hits = gallery.search({'a': embeddings, 'b': embeddings}, 1, space={'a': 1, 'b': 1})
        np.testing.assert_array_equal(hits.ids[rows, 0], rows)
        (record,) = gallery.records([7])
        assert record.metadata == {'year': 2007} and record.similarity_map.tolist() == [[7, 7], [7, 7]]
        assert gallery.patches([7]).shape == (1, 1, 2) and gallery.manifest.origin == {'root': 'photos'}
        gallery.add({'a': embeddings[:1], 'b': embeddings[:1]}, patches=np.zeros((1, 1, 2), np.float16))
        gallery.compact('flat')
        assert len(gallery) == 59 and gallery.ids()[-1] == 60
