"""Files of parts: FAISS's own format, written block by block."""

import faiss
import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.index import VectorIndex, make_part
from retrieval.index.part import read_faiss, read_part, write_ids, write_index, write_vectors
from retrieval.vectors import unit_length

X = unit_length(np.random.default_rng(0).normal(size=(700, 32)).astype(np.float32))


@pytest.mark.parametrize('metric', ['cosine', 'ip', 'l2'])
@pytest.mark.parametrize('blocks', [[X], [X[:1], X[1:500], X[500:]], []])
def test_vectors_are_the_file_that_faiss_writes(tmp_path, metric, blocks):
    kind = faiss.IndexFlatL2 if metric == 'l2' else faiss.IndexFlatIP
    index = kind(32)
    for block in blocks:
        index.add(block)
    faiss.write_index(index, str(tmp_path / 'own.faiss'))
    name = write_vectors(tmp_path, 'a', blocks, 32, metric)
    assert (tmp_path / name).read_bytes() == (tmp_path / 'own.faiss').read_bytes()


@pytest.mark.parametrize('mmap', [True, False])
@pytest.mark.parametrize('preset', ['flat', 'fp16', 'hnsw', 'ivf-flat', 'ivf-pq', 'opq'])
def test_opened_parts_search_like_the_written_ones(tmp_path, preset, mmap):
    part = make_part(X, np.arange(100, 800), 'cosine', preset)
    write_ids(tmp_path, part.ids)
    write_vectors(tmp_path, 'a', [part.rows], 32, 'cosine')
    if preset != 'flat':
        write_index(tmp_path, 'a', part.approximate)
    opened = read_part(tmp_path, 'a', preset, mmap)
    np.testing.assert_array_equal(opened.rows, X)
    expected = VectorIndex(32, parts=[part])
    found = VectorIndex(32, parts=[opened])
    for allowed in (None, range(100, 800, 3)):
        hits = [
            index.search(X[:9], 5, allowed=None if allowed is None else index.select(allowed))
            for index in (expected, found)
        ]
        np.testing.assert_array_equal(hits[0].ids, hits[1].ids)
    without = VectorIndex(32, parts=[opened.with_alive(opened.ids > 100)])
    assert 100 in found.search(X[:1], 3).ids and 100 not in without.search(X[:1], 3).ids


def test_damaged_files_are_named(tmp_path):
    part = make_part(X, np.arange(700), 'cosine', 'ivf-flat')
    write_ids(tmp_path, part.ids)
    write_vectors(tmp_path, 'a', [X], 32, 'cosine')
    write_index(tmp_path, 'a', part.approximate)
    for name in ('ids.npy', 'a.vectors.faiss', 'a.index.faiss'):
        content = (tmp_path / name).read_bytes()
        for damaged in (content[:50], content[:-8], b'', b'x' * 100):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(RetrievalError, match=f'{name} is .*damaged'):
                read_part(tmp_path, 'a', 'ivf-flat')
        (tmp_path / name).unlink()
        with pytest.raises(RetrievalError, match=f'{name} is missing'):
            read_part(tmp_path, 'a', 'ivf-flat')
        (tmp_path / name).write_bytes(content)
    write_ids(tmp_path, np.arange(5))
    with pytest.raises(RetrievalError, match=r'a\.vectors\.faiss is .*damaged'):
        read_part(tmp_path, 'a', 'flat')


def test_opening_does_not_read_everything(tmp_path):
    rows = np.random.default_rng(1).normal(size=(50_000, 64)).astype(np.float32)
    write_vectors(tmp_path, 'a', [rows], 64, 'ip')
    before = _bytes_read()
    index = read_faiss(tmp_path / 'a.vectors.faiss')
    assert index.ntotal == 50_000
    if before is not None:
        assert _bytes_read() - before < rows.nbytes / 100


def _bytes_read():
    try:
        with open('/proc/self/io') as file:
            return int(file.readline().split()[1])
    except OSError:
        return None
