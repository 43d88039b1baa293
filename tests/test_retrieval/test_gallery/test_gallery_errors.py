"""What goes wrong with galleries ends in one sentence that names the file and the remedy, and loses nothing."""

import os
import resource
import sqlite3
import sys

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, Record, create_gallery, open_gallery

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 8)).astype(np.float32)
MODEL = Fingerprint('w1', 'c1', 'p1', 'a model')


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / 'gallery'
    with create_gallery(path, {'a': 8}, preset='hnsw', fingerprint=MODEL) as gallery:
        records = [Record(f'{n}.jpg', label='x', metadata={'year': n}) for n in range(40)]
        gallery.add(X, records)
        gallery.compact()
        gallery.add(X[:3] + 1)
    return path


def _verify(folder):
    with open_gallery(folder) as gallery:
        gallery.verify()


def test_wrong_places(tmp_path, folder):
    with pytest.raises(RetrievalError, match='there is no gallery at .*build it first'):
        open_gallery(tmp_path / 'nowhere')
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'a.jpg').touch()
    with pytest.raises(RetrievalError, match='is not a gallery'):
        open_gallery(tmp_path / 'photos')
    for wrong in (open_gallery, lambda place: create_gallery(place, 8)):
        with pytest.raises(
            RetrievalError, match=r'no gallery can be kept at milvs://host/birds: .* or milvus://\.\.\.'
        ):
            wrong('milvs://host/birds')  # not a folder of that name
    for place, words in ((5, 'not at 5'), (None, 'not at None'), ('', "not at ''"), (b'g', "not at b'g'")):
        with pytest.raises(RetrievalError, match=words):
            open_gallery(place)
    with pytest.raises(RetrievalError, match='is not valid text, which UTF-8 can write: rename it'):
        create_gallery(tmp_path / os.fsdecode(b'\xff'), 8)  # FAISS opens no files there
    for place in (folder, tmp_path / 'photos'):
        with pytest.raises(RetrievalError, match='exists already'):
            create_gallery(place, 8)


@pytest.mark.parametrize(
    'other, words',
    [
        (Fingerprint('w2', 'c1', 'p1'), 'its weights differs'),
        (Fingerprint('w1', 'c2', 'p2'), 'its config and pipeline differ'),
    ],
)
def test_another_model_is_refused(folder, other, words):
    with pytest.raises(RetrievalError, match=words) as error:
        open_gallery(folder, expect=other)
    assert 'a model' in str(error.value)
    open_gallery(folder, expect=Fingerprint('w1', 'c1', 'p1', 'called otherwise')).close()


def test_another_dimension_and_format_are_refused(folder):
    with pytest.raises(RetrievalError, match='dimension 8, not 16'):
        open_gallery(folder, dimension=16)
    with sqlite3.connect(folder / 'gallery.sqlite') as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'format_version'")
    connection.close()
    with pytest.raises(RetrievalError, match='format 99.*update glsim-mm'):
        open_gallery(folder)


def test_missing_and_truncated_files_are_named(folder):
    with open_gallery(folder) as gallery:
        names = sorted(gallery.manifest.files)
    assert len(names) == 5
    for name in names:
        path = folder / name
        content = path.read_bytes()
        for damaged in (content[:-1], content[: len(content) // 2], b''):
            path.write_bytes(damaged)
            with pytest.raises(RetrievalError, match=f'{path.name} is damaged: restore'):
                open_gallery(folder)
        path.unlink()
        with pytest.raises(RetrievalError, match=f'{path.name} is missing: restore'):
            open_gallery(folder)
        path.write_bytes(content)
    _verify(folder)


def test_flipped_bits_are_found(folder):
    with open_gallery(folder) as gallery:
        names = sorted(gallery.manifest.files)
    for name in names:
        path = folder / name
        content = bytearray(path.read_bytes())
        content[-5] ^= 4
        path.write_bytes(content)
        with pytest.raises(RetrievalError, match=path.name):
            _verify(folder)
        content[-5] ^= 4
        path.write_bytes(content)
    _verify(folder)


def test_damaged_database(folder):
    path = folder / 'gallery.sqlite'
    content = bytearray(path.read_bytes())
    content[:100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(RetrievalError, match='gallery.sqlite is damaged'):
        open_gallery(folder)


def test_one_writer_at_a_time(folder):
    with open_gallery(folder, writable=True), open_gallery(folder) as reader:
        assert len(reader) == 43
        with pytest.raises(RetrievalError, match=f'being written by process {os.getpid()} on '):
            open_gallery(folder, writable=True)
    open_gallery(folder, writable=True).close()


def test_a_reader_keeps_its_state_until_it_is_refreshed(folder):
    with open_gallery(folder) as reader, open_gallery(folder, writable=True) as writer:
        before = reader.search(X, 3)
        writer.remove(where={'year': ('<', 20)})
        writer.update([30], X[:1], [Record('new.jpg')])
        writer.compact('flat')
        np.testing.assert_array_equal(reader.search(X, 3).ids, before.ids)
        assert len(reader) == 43 and len(reader.records(np.unique(before.ids))) > 20
        assert len(reader.ids({'year': ('<', 20)})) == 20
        np.testing.assert_allclose(reader.vectors([5]), X[5:6] / np.linalg.norm(X[5]), rtol=1e-6)
        reader.refresh()
        assert len(reader) == len(writer) == 23
        assert reader.records([30])[0].path == 'new.jpg'


def test_readers_are_not_writers(folder):
    with open_gallery(folder) as reader:
        for change in (lambda: reader.add(X), lambda: reader.remove([1]), reader.compact, lambda: reader.update([1])):
            with pytest.raises(RetrievalError, match='opened for reading'):
                change()


@pytest.mark.parametrize(
    'embeddings, words',
    [
        (X[:, :5], 'have 5 columns'),
        (X.astype(int), 'floating point'),
        (np.full((2, 8), np.nan, np.float32), 'NaN'),
        (np.zeros((1, 8), np.float32), 'all zeros'),
        (X[:0], 'at least one row'),
        (X[0], 'must be'),
        ({'b': X}, "no space 'b'"),
        ({}, 'missing'),
    ],
)
def test_embeddings_that_do_not_fit(folder, embeddings, words):
    with open_gallery(folder, writable=True) as gallery:
        with pytest.raises(RetrievalError, match=words):
            gallery.add(embeddings)
        assert len(gallery) == 43


@pytest.mark.parametrize(
    'ids, words',
    [
        ([1, 1], 'twice'),
        ([-1, 3], 'from 0'),
        ([0.5, 1], 'whole numbers'),
        ([100], '1 ids were given for 2'),
        ([7, 500], 'already'),
    ],
)
def test_ids_that_do_not_fit(folder, ids, words):
    with open_gallery(folder, writable=True) as gallery:
        with pytest.raises(RetrievalError, match=words):
            gallery.add(X[:2], ids=ids)
        assert len(gallery) == 43


@pytest.mark.parametrize(
    'record, words',
    [
        (Record(metadata={'year': 'soon'}), 'column year holds INTEGER'),
        (Record(metadata={'a"; DROP TABLE records; --': 1}), 'not a valid name for a column'),
        (Record(metadata={'Label': 'x'}), 'not a valid name for a column'),
        (Record(metadata={'tags': ['a']}), 'numbers, texts and dates'),
        (Record(similarity_map=np.zeros((2, 2))), 'uint8'),
    ],
)
def test_records_that_do_not_fit(folder, record, words):
    with open_gallery(folder, writable=True) as gallery:
        with pytest.raises(RetrievalError, match=words):
            gallery.add(X[:1], [record])
        assert len(gallery) == 43 and len(list((folder / 'segments').glob('*'))) == 2


def test_queries_that_do_not_fit(folder):
    with open_gallery(folder) as gallery:
        for arguments, words in [
            ((X[:, :3], 5), 'have 3 columns'),
            ((X, 0), 'k must be at least 1'),
            (({'b': X}, 5), 'no queries for the space'),
        ]:
            with pytest.raises(RetrievalError, match=words):
                gallery.search(*arguments)
        with pytest.raises(RetrievalError, match="no space 'b'"):
            gallery.search(X, space='b')
        with pytest.raises(RetrievalError, match="has no parameter 'nprobe'"):
            gallery.search(X, parameters={'nprobe': 3})
        hits = gallery.search(X[:2], 100)
        assert (hits.ids >= 0).sum() == 86 and np.isinf(hits.scores[:, 43:]).all()


def test_an_empty_gallery_finds_nothing(tmp_path):
    with create_gallery(tmp_path / 'g', 8) as gallery:
        assert (gallery.search(X, 4).ids == -1).all()
        assert gallery.range_search(X, 0.1).limits.tolist() == [0] * 41
        gallery.compact()
        assert gallery.ids().tolist() == [] and gallery.remove([]).rows == 0


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_full_disk_loses_nothing(folder):
    """A limit on the size of files stands for the full disk; the system then fails the write in the same way."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with open_gallery(folder, writable=True) as gallery:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
                import signal

                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                try:
                    gallery.add(np.random.default_rng(1).normal(size=(5000, 8)).astype(np.float32))
                except RetrievalError as error:
                    code = 0 if 'make room; nothing was changed' in str(error) and len(gallery) == 43 else 2
                    sys.stderr.write(str(error))
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    _verify(folder)
    with open_gallery(folder, writable=True) as gallery:
        assert len(gallery) == 43 and len(list((folder / 'segments').glob('*'))) == 2
