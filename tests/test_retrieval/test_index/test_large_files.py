"""Inverted lists that are larger than memory."""

import tracemalloc

import faiss
import numpy as np
import pytest
from full_disk import files_up_to

from retrieval.errors import RetrievalError
from retrieval.gallery import create_gallery, open_gallery
from retrieval.index import exact, large_files, resuming, training
from retrieval.index.faiss_calls import innermost, rows_of
from retrieval.index.large_files import build_index_file
from retrieval.index.part import read_faiss, read_part, write_ids, write_vectors
from retrieval.vectors import unit_length

X = unit_length(np.random.default_rng(0).normal(size=(3000, 32)).astype(np.float32))
LIMIT = 40_000  # bytes: 270 whole vectors, or 3,000 codes


def _vectors(folder, rows, metric):
    folder.mkdir()
    write_ids(folder, np.arange(len(rows)))
    write_vectors(folder, 'a', [rows], rows.shape[1], metric)
    return read_part(folder, 'a', 'flat').vectors


@pytest.mark.parametrize(
    'preset, metric',
    [('ivf-flat', 'cosine'), ('ivf-flat', 'ip'), ('ivf-flat', 'l2'), ('ivf-pq', 'l2'), ('ivf-hnsw', 'cosine')]
    + [('IVF32,SQ8', 'ip'), ('IVF900,Flat', 'l2'), ('IVF4,Flat', 'ip')],
)
def test_the_file_is_the_one_of_an_index_in_memory(tmp_path, preset, metric):
    efforts = {}
    for name, limit in (('small', LIMIT // 2), ('large', 10**9)):
        vectors = _vectors(tmp_path / name, X, metric)
        file, efforts[name] = build_index_file(tmp_path / name, 'a', preset, vectors, metric, limit)
        assert file == 'a.index.faiss'
    assert efforts['small'] == efforts['large']
    assert (tmp_path / 'small' / file).read_bytes() == (tmp_path / 'large' / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / 'small').iterdir()) == [
        'a.index.faiss',
        'a.vectors.faiss',
        'ids.npy',
    ]
    opened = read_faiss(tmp_path / 'small' / file)
    assert innermost(opened).nprobe == efforts['small'].value and opened.ntotal == 3000


@pytest.mark.parametrize('preset', ['opq', 'PCA16,IVF32,SQ8', 'ivf-rabitq', 'RR32,IVF32,RaBitQ4'])
def test_lists_behind_a_transform(tmp_path, preset):
    # The product of a matrix with another number of rows may differ in its last bit, and then a code or two.
    found, sizes = [], []
    for name, limit in (('small', LIMIT // 8), ('large', 10**9)):
        vectors = _vectors(tmp_path / name, X[:900], 'l2')
        file, effort = build_index_file(tmp_path / name, 'a', preset, vectors, 'l2', limit)
        index = read_faiss(tmp_path / name / file)
        assert faiss.extract_index_ivf(index).nprobe == effort.value
        found.append(index.search(X[:300], 10)[1])
        sizes.append((tmp_path / name / file).stat().st_size)
    assert sizes[0] == sizes[1] and (found[0] == found[1]).mean() > 0.99


def test_lists_without_rows(tmp_path):
    rows = np.concatenate([X[:40], np.repeat(X[:4], 400, axis=0)])
    for name, limit in (('small', 5000), ('large', 10**9)):
        vectors = _vectors(tmp_path / name, rows, 'l2')
        build_index_file(tmp_path / name, 'a', 'IVF32,Flat', vectors, 'l2', limit)
    small = (tmp_path / 'small' / 'a.index.faiss').read_bytes()
    assert small == (tmp_path / 'large' / 'a.index.faiss').read_bytes()


@pytest.mark.parametrize('preset', ['fp16', 'hnsw', 'IVF16,PQ8x4fs', 'IVF16,PQ8+8', 'IVF16,RaBitQfs', 'rabitq2'])
def test_other_kinds_are_built_in_memory(tmp_path, preset):
    vectors = _vectors(tmp_path / 'a', X, 'l2')
    name, _ = build_index_file(tmp_path / 'a', 'a', preset, vectors, 'l2', LIMIT)
    assert read_faiss(tmp_path / 'a' / name).ntotal == 3000


@pytest.mark.parametrize('preset, words', [('nonsense', 'neither one of flat'), ('IVF5000,Flat', 'too few to train')])
def test_presets_that_cannot_be_built(tmp_path, preset, words):
    vectors = _vectors(tmp_path / 'a', X, 'l2')
    with pytest.raises(RetrievalError, match=words):
        build_index_file(tmp_path / 'a', 'a', preset, vectors, 'l2', LIMIT)
    assert not list((tmp_path / 'a').glob('*index*'))


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path):
    vectors = _vectors(tmp_path / 'a', X, 'l2')
    with files_up_to(30_000), pytest.raises(RetrievalError, match='cannot be written'):
        build_index_file(tmp_path / 'a', 'a', 'ivf-flat', vectors, 'l2', LIMIT)
    assert not list((tmp_path / 'a').glob('*shard*'))
    # Shards fit, the whole does not.
    with files_up_to(120_000), pytest.raises(RetrievalError, match='a.index.faiss cannot be written'):
        build_index_file(tmp_path / 'a', 'a', 'ivf-flat', vectors, 'l2', LIMIT)
    assert not list((tmp_path / 'a').glob('*shard*'))


class _Killed(BaseException):
    """As the system ends a process."""


@pytest.mark.parametrize('preset, limit, kept', [('ivf-flat', LIMIT, 'shard3'), ('ivf-rabitq-fs', 10**9, 'index')])
def test_a_build_that_was_stopped_goes_on(tmp_path, monkeypatch, preset, limit, kept):
    monkeypatch.setattr(large_files, 'LEAST_ROWS', 1000)
    monkeypatch.setattr(resuming, 'SECONDS_BETWEEN', 0)
    monkeypatch.setattr(training, 'ADD_BLOCK', 500)
    vectors = _vectors(tmp_path / 'a', X, 'l2')
    whole, _ = build_index_file(tmp_path / 'a', 'whole', preset, vectors, 'l2', limit)
    stages, added, fill = tmp_path / 'unfinished', [], training.fill_index

    def dies(*arguments):
        for count in fill(*arguments):
            added.append(count)
            yield count
            if len(added) == 5:
                raise _Killed

    monkeypatch.setattr(large_files, 'fill_index', dies)
    with pytest.raises(_Killed):
        build_index_file(tmp_path / 'a', 'a', preset, vectors, 'l2', limit, unfinished=stages)
    assert (stages / f'{kept}.faiss').is_file() and not (tmp_path / 'a' / 'a.index.faiss').exists()
    trained, left = [], []
    monkeypatch.setattr(large_files, 'train_index', lambda *arguments: trained.append(1))
    monkeypatch.setattr(
        large_files, 'fill_index', lambda *arguments: (left.append(count) or count for count in fill(*arguments))
    )
    name, _ = build_index_file(tmp_path / 'a', 'a', preset, vectors, 'l2', limit, unfinished=stages)
    assert not trained and 0 < len(left) < len(added) + 3
    assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'a' / whole).read_bytes()


def test_stages_of_other_rows_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(large_files, 'LEAST_ROWS', 1000)
    other = X.copy()
    other[1234, 5] += 0.1
    for name, rows in (('a', X), ('b', other)):
        vectors = _vectors(tmp_path / name, rows, 'l2')
        file, _ = build_index_file(tmp_path / name, 'a', 'ivf-flat', vectors, 'l2', unfinished=tmp_path / 'unfinished')
        whole, _ = build_index_file(tmp_path / name, 'whole', 'ivf-flat', vectors, 'l2')
        assert (tmp_path / name / file).read_bytes() == (tmp_path / name / whole).read_bytes()


def test_a_gallery_keeps_no_stages(tmp_path, monkeypatch):
    monkeypatch.setattr(large_files, 'LEAST_ROWS', 1000)
    with create_gallery(tmp_path / 'g', 32, preset='ivf-flat') as gallery:
        gallery.add(X[:2000])
        gallery.compact()
        assert not (tmp_path / 'g' / 'unfinished').exists()


def test_a_large_file_is_let_go_again(tmp_path, monkeypatch):
    monkeypatch.setattr(exact, 'BLOCK_ROWS', 700)
    monkeypatch.setattr(exact, '_COPIED_ROWS', 16)
    monkeypatch.setattr(exact, 'MAPPED_SHARE', 0)
    monkeypatch.setattr(exact, 'TOUCHED_BYTES', 0)
    vectors = _vectors(tmp_path / 'a', X, 'l2')
    for metric, number in (('l2', faiss.METRIC_L2), ('cosine', faiss.METRIC_INNER_PRODUCT)):
        scores, rows = exact.nearest(vectors, X[:20], 5, metric)
        expected = faiss.knn(X[:20], X, 5, number)
        np.testing.assert_array_equal(rows, expected[1])
        np.testing.assert_allclose(scores, expected[0], rtol=1e-4, atol=1e-4)
        numbers = np.flatnonzero(np.arange(3000) % 3 == 0)
        few = exact.nearest_of(vectors, numbers, X[:20], 5, metric)
        np.testing.assert_array_equal(few[1], numbers[faiss.knn(X[:20], X[numbers], 5, number)[1]])
        candidates = np.concatenate([rows, np.full((20, 1), -1)], axis=1)
        rescored = exact.score_candidates(vectors, X[:20], candidates, metric)
        np.testing.assert_allclose(rescored[:, :-1], scores, rtol=1e-4, atol=1e-4)
        assert (rescored[:, -1] == (np.inf if metric == 'l2' else -np.inf)).all()
    np.testing.assert_array_equal(rows_of(vectors), X)  # what was let go is read again


def test_chosen_rows_are_copied_alone(tmp_path):
    vectors, numbers = _vectors(tmp_path / 'a', X, 'l2'), np.array([3, 5, 2900])
    tracemalloc.start()
    np.testing.assert_array_equal(exact.copy_rows(vectors, numbers), X[numbers])
    assert tracemalloc.get_traced_memory()[1] < X.nbytes / 2  # rows of a file begin at any byte: NumPy may align all
    tracemalloc.stop()


def test_a_gallery_under_a_memory_limit(tmp_path):
    found = {}
    for name, limit in (('small', LIMIT), ('large', None)):
        with create_gallery(tmp_path / name, 32, preset='ivf-flat', memory_limit=limit) as gallery:
            gallery.add(X)
            gallery.compact()
        with open_gallery(tmp_path / name) as gallery:
            found[name] = gallery.search(X[:50], 5), gallery.manifest.files
    np.testing.assert_array_equal(found['small'][0].ids, found['large'][0].ids)
    assert found['small'][1] == found['large'][1]
