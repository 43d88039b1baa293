"""Kinds of index: what they are made of, that they find and filter, and what choosing parameters refuses."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import create_gallery, open_gallery
from retrieval.index import Preset, VectorIndex, make_part
from retrieval.index.faiss_calls import innermost, rows_of, run_search, search_parameters
from retrieval.index.part import write_index, write_vectors
from retrieval.index.presets import (
    GPU_CODE_BYTES,
    GPU_SUBVECTOR,
    PRESETS,
    available_memory,
    candidates,
    choose_preset,
    code_bytes,
    default_nprobe,
    index_bytes,
    inverted_lists,
    preset_of,
    rabitq_bytes,
    readable,
)
from retrieval.index.training import build_faiss_index, training_rows
from retrieval.vectors import faiss_metric

ROWS = (10**5, 10**6, 10**7, 10**8, 10**9)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(1500, 32)).astype(np.float32)
X /= np.linalg.norm(X, axis=1, keepdims=True)
SELECTOR_BYTES = np.zeros(len(X) // 8 + 1, np.uint8)
SELECTOR_BYTES[10:60] = 255


@pytest.fixture(scope='module', autouse=True)
def _one_thread() -> Iterator[None]:
    """Training on so few rows waits for the second thread 20 times as long as it computes, on a busy machine."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


@pytest.fixture(scope='module', params=[*PRESETS, 'PCA16,Flat', 'IVF8,SQ8', 'HNSW16,SQ8'])
def index(request):
    return build_faiss_index(request.param, X, 'cosine')


def test_filters_are_applied_inside_every_kind(index):
    parameters = search_parameters(index, faiss.IDSelectorBitmap(SELECTOR_BYTES))
    rows = run_search(index, X[:20], 30, parameters)[1]
    found = rows[rows >= 0]
    assert len(found) >= 20 and found.min() >= 80 and found.max() < 480


def test_rows_are_numbered_as_they_came(index):
    found = run_search(index, X[::50], 50)[1]
    assert np.mean([row in one for row, one in zip(range(0, len(X), 50), found)]) > 0.9


def test_parameters_of_the_file_are_those_of_the_index(index):
    again = faiss.deserialize_index(faiss.serialize_index(index))
    kinds = innermost(index), innermost(again)
    for name in ('nprobe', 'do_polysemous_training'):
        if hasattr(kinds[0], name):
            assert getattr(kinds[0], name) == getattr(kinds[1], name)
    if hasattr(kinds[0], 'hnsw'):
        assert kinds[1].hnsw.efSearch == 64
    np.testing.assert_array_equal(run_search(index, X[:9], 5)[1], run_search(again, X[:9], 5)[1])


def test_training_writes_nothing_and_takes_no_annealing(capfd):
    for preset in ('ivf-pq', 'opq', 'IVF8,PQ4'):
        index = build_faiss_index(preset, X[:600])
        assert not innermost(index).do_polysemous_training  # it would take 30 s a kind
    assert capfd.readouterr() == ('', '')


def test_same_rows_same_index():
    first, second, other = (build_faiss_index('ivf-pq', rows) for rows in (X, X, X[:-1]))
    other.add(X[-1:])
    assert (faiss.serialize_index(first) == faiss.serialize_index(second)).all()
    assert (faiss.serialize_index(first) != faiss.serialize_index(other)).any()


@pytest.mark.parametrize('rows', [0, 1, 2, 20, 255, 256])
@pytest.mark.parametrize('preset', list(PRESETS))
def test_any_number_of_rows(preset, rows):
    index = build_faiss_index(preset, X[:rows], 'l2')
    assert index.is_trained and index.ntotal == rows and index.metric_type == faiss.METRIC_L2


def test_rows_of_an_index_are_no_copy():
    flat = faiss.IndexFlatL2(32)
    assert rows_of(flat).shape == (0, 32)
    flat.add(X)
    rows = rows_of(flat)
    np.testing.assert_array_equal(rows, X)
    assert rows.ctypes.data == int(flat.get_xb())


def test_training_takes_a_sample_of_many_rows():
    index = faiss.index_factory(2, 'IVF4,Flat')
    many = np.arange(140_000, dtype=np.float32).reshape(70_000, 2)
    sample = training_rows(many, index)
    assert sample.shape == (65_536, 2) and (np.diff(sample[:, 0]) > 0).all()
    assert training_rows(many[:99], index).shape == (99, 2)


@pytest.mark.parametrize(
    'preset, rows, words',
    [
        ('nonsense', X, 'neither one of flat'),
        ('PQ5', X, 'for dimension 32: PQ5 does not divide it, PQ2 and PQ4 do'),
        ('IVF64,Flat', X[:20], '20 rows are too few to train IVF64,Flat: add rows, or use IVF1,Flat or flat'),
        ('PQ8', X[:20], '20 rows are too few to train PQ8, which takes 256: add rows, or use flat'),
        ('IVF4,PQ8', X[:20], 'IVF4,PQ8, which takes 256: add rows, or use flat'),
        # FAISS takes these, and ends the process or fails without a reason that tells what to do.
        ('HNSW1', X, "HNSW1 in 'HNSW1' is too small: HNSW takes a number of at least 2"),
        ('IVF0,Flat', X, 'IVF takes a number of at least 1'),
        ('RR0,Flat', X, 'RR takes a number of at least 1'),
        ('PCA64,Flat', X, "PCA64 in 'PCA64,Flat' exceeds the dimension: take PCA32 or less"),
        ('NSG32,Flat', X[:50], r'FAISS cannot fill .*smaller than 100\): take another preset'),
    ],
)
def test_kinds_that_cannot_be_built(preset, rows, words):
    with pytest.raises(RetrievalError, match=words):
        build_faiss_index(preset, rows)


def test_a_faiss_too_old_for_a_preset_says_what_to_install(monkeypatch):
    def old(dimension, factory, metric):
        raise RuntimeError(f'could not parse {factory}')

    monkeypatch.setattr(faiss, 'index_factory', old)
    with pytest.raises(RetrievalError, match='does not know RR32,RaBitQ2: pip install --upgrade "faiss-cpu>=1.15.1"'):
        build_faiss_index('rabitq2', X)


@pytest.mark.parametrize('bits', [1, 2])
@pytest.mark.parametrize('dimension', [13, 96, 384, 1000])
def test_bytes_of_a_rabitq_code(dimension, bits):
    index = faiss.index_factory(dimension, preset_of(f'rabitq{bits if bits > 1 else ""}').factory(99, dimension))
    assert innermost(index).code_size == rabitq_bytes(dimension, bits)


def test_a_rotation_keeps_the_codes_of_rows_whose_numbers_differ_in_spread():
    rows = X * np.r_[np.full(4, 20), np.ones(28)].astype(np.float32)  # 4 of 32 numbers say nearly all
    truth = faiss.knn(rows[:99], rows, 10)[1]
    shares = {}
    for kind in ('rabitq', 'RaBitQ'):
        found = run_search(build_faiss_index(kind, rows, 'l2'), rows[:99], 40)[1]
        shares[kind] = np.mean([np.isin(one, other).mean() for one, other in zip(truth, found)])
    assert shares['rabitq'] > shares['RaBitQ'] + 0.1


@pytest.mark.parametrize('preset', ['hnsw-pca', 'RR32,HNSW32,RaBitQ4'])
def test_graphs_over_distances_have_cosine_scores_and_no_inner_product(preset):
    index = VectorIndex.build(X, preset=preset)
    exact, coarse = (index.search(X[:20], 3, rescore=rescore) for rescore in (64, 0))
    assert (exact.ids[:, 0] == np.arange(20)).all()
    np.testing.assert_allclose(coarse.scores[:, 0], 1, atol=0.1)
    assert (np.diff(coarse.scores) <= 0).all() and (coarse.scores < 1.15).all()
    with pytest.raises(RetrievalError, match=f'has no metric ip: build {preset} with cosine or l2, or take hnsw-sq8'):
        VectorIndex.build(X, preset=preset, metric='ip')


def test_galleries_of_a_retired_kind_open_and_get_its_successor(tmp_path):
    with create_gallery(tmp_path / 'g', 32, preset='RR32,IVF32,RaBitQ4') as gallery:
        gallery.add(X)
        gallery.compact()
    with sqlite3.connect(tmp_path / 'g' / 'gallery.sqlite') as database:  # as an earlier version named the kind
        for table, column in (('meta', 'value'), ('segments', 'presets')):
            database.execute(f"update {table} set {column} = replace({column}, 'RR32,IVF32,RaBitQ4', 'ivf-rabitq4')")
    with open_gallery(tmp_path / 'g', writable=True) as gallery:
        assert gallery.manifest.preset == 'ivf-rabitq4'
        assert (gallery.search(X[:50], 1).ids[:, 0] == np.arange(50)).all()
        gallery.compact()
        assert gallery.manifest.preset == 'ivf-rabitq'
        with pytest.raises(RetrievalError, match='ivf-rabitq4 was retired: ivf-rabitq finds as much'):
            gallery.compact('ivf-rabitq4')
    with pytest.raises(RetrievalError, match='rabitq4 was retired: rabitq2 finds'):
        create_gallery(tmp_path / 'h', 32, preset='rabitq4')


@pytest.mark.parametrize(
    'preset, overrides, words',
    [
        ('flat', {'nprobe': 3}, "no parameter 'nprobe'; it has: none"),
        ('hnsw', {'nprobe': 3}, 'it has: efSearch'),
        ('ivf-flat', {'efSearch': 3}, 'it has: nprobe, max_codes'),
        ('ivf-flat', {'nprobe': 0}, 'at least 1'),
        ('ivf-flat', {'nprobe': 2.5}, 'whole number'),
        ('PQ8', {'nprobe': 1}, 'IndexPQ takes neither filters nor parameters'),
    ],
)
def test_parameters_that_a_kind_does_not_have(preset, overrides, words):
    with pytest.raises(RetrievalError, match=words):
        search_parameters(build_faiss_index(preset, X[:300]), None, overrides)


def test_a_kind_that_cannot_filter_says_so():
    with pytest.raises(RetrievalError, match='IndexPQ takes neither filters'):
        search_parameters(build_faiss_index('PQ8', X[:300]), faiss.IDSelectorAll())


def test_parameters_reach_the_search():
    index = build_faiss_index('ivf-flat', X)
    lists = innermost(index).nlist
    few, all_lists = (run_search(index, X, 10, search_parameters(index, None, {'nprobe': n}))[1] for n in (1, lists))
    exact = run_search(build_faiss_index('flat', X), X, 10)[1]
    np.testing.assert_array_equal(all_lists, exact)
    assert (few == exact).mean() < 0.9
    # A filter alone keeps the index's own nprobe: the class of the parameters would take 1.
    everything = search_parameters(index, faiss.IDSelectorAll())
    np.testing.assert_array_equal(run_search(index, X, 10, everything)[1], run_search(index, X, 10)[1])
    assert search_parameters(index) is None


@pytest.mark.parametrize('dimension', [32, 64, 192, 384, 512, 768, 1024, 1536])
def test_codes_have_a_kernel_on_gpus(dimension):
    code = code_bytes(dimension)
    assert dimension % code == 0 and code in GPU_CODE_BYTES and dimension // code in GPU_SUBVECTOR


@pytest.mark.parametrize(
    'rows, lists, nprobe', [(0, 1, 1), (39, 1, 1), (1000, 32, 8), (10**6, 4096, 64), (10**9, 131072, 128)]
)
def test_number_of_lists(rows, lists, nprobe):
    assert inverted_lists(rows) == lists and default_nprobe(lists) == nprobe
    assert code_bytes(7) in (1, 7) and code_bytes(100) == 10


def test_candidates_for_rescoring():
    flat, codes = preset_of('flat'), preset_of('ivf-pq')
    assert candidates(flat, 10) == 10 and candidates(codes, 10) == 256 and candidates(codes, 300) == 600
    assert candidates(codes, 10, 0) == 10 and candidates(codes, 10, 4) == 10 and candidates(flat, 10, 20) == 20
    assert preset_of('IVF64,PQ8').rescore == 256 and not preset_of('IVF64,PQ8').gpu


def test_unknown_metric():
    with pytest.raises(RetrievalError, match='metric must be one of'):
        faiss_metric('hamming')


@pytest.mark.parametrize('preset', list(PRESETS))
def test_files_are_as_large_as_the_arithmetic_says(tmp_path, preset):
    part = make_part(X, np.arange(1500), 'cosine', preset)
    written = (tmp_path / write_vectors(tmp_path, 'a', [X], 32, 'cosine')).stat().st_size + 8 * len(X)
    if preset != 'flat':
        written += (tmp_path / write_index(tmp_path, 'a', part.approximate)).stat().st_size
    assert written == pytest.approx(index_bytes(preset, 1500, 32).disk, rel=0.03)


def test_table_of_the_documentation_is_the_arithmetic(root):
    page = (Path(root) / 'docs' / 'reference' / 'index_sizes.md').read_text()
    for preset in PRESETS:
        sizes = [index_bytes(preset, rows, 384) for rows in ROWS]
        cells = [f'{readable(size.ram)} / {readable(size.disk)}' for size in sizes]
        gpu = readable(sizes[1].gpu) if sizes[1].gpu else 'CPU only'
        assert f'| `{preset}` | {" | ".join(cells)} | {gpu} |' in page


def test_sizing_table_of_the_documentation_is_the_arithmetic(root):
    page = (Path(root) / 'docs' / 'reference' / 'index_sizes.md').read_text()

    def milliseconds(what):
        return float(re.search(rf'\| {what}[^|]* \| ([\d.]+) ms', page)[1])

    work = sum(map(milliseconds, ('ViT-S, two passes', 'reading and resizing a photo of 300 px', 'all else')))
    record = 800  # bytes
    for rows in ROWS[:4]:
        name, _ = choose_preset(rows, 384, 16 << 30)
        size = index_bytes(name, rows, 384)
        disk = size.disk + record * rows
        shards = index_bytes('flat', rows, 384).disk + record * rows
        hours = f'{work * rows / 3.6e6:,.1f}' if rows < 10**6 else f'{work * rows / 3.6e6:,.0f}'
        cells = [hours, f'`{name}`', *map(readable, (size.ram, disk, disk + shards))]
        assert f' | {" | ".join(cells)} |\n' in page, cells


@pytest.mark.parametrize(
    'rows, dimension, limit, expected',
    [
        (0, 384, None, 'flat'),
        (1000, 384, None, 'flat'),
        (80_000, 384, 100 << 20, 'rabitq2'),
        (80_000, 384, 8 << 20, 'rabitq'),
        (10**6, 384, 16 << 30, 'hnsw'),
        (10**6, 384, 1600 << 20, 'hnsw-sq8'),
        (10**6, 384, 200 << 20, 'ivf-rabitq'),
        (10**6, 384, 70 << 20, 'ivf-rabitq'),
        (10**8, 64, 100 << 30, 'ivf-hnsw'),
        (10**9, 384, 1 << 30, 'ivf-rabitq'),
    ],
)
def test_auto_takes_what_fits(rows, dimension, limit, expected):
    name, reason = choose_preset(rows, dimension, limit)
    assert name == expected and reason.startswith(f'{name}: ') and reason.endswith('.')


@pytest.mark.parametrize(
    'rows, limit, expected',
    [(80_000, 100 << 20, 'fp16'), (80_000, 40 << 20, 'sq8'), (10**6, 1600 << 20, 'hnsw-sq8')]
    + [(10**6, 200 << 20, 'ivf-pq'), (10**9, 1 << 30, 'ivf-pq')],
)
def test_auto_takes_what_an_older_faiss_has(monkeypatch, rows, limit, expected):
    monkeypatch.delattr(faiss, 'IndexHNSWRaBitQ')
    assert choose_preset(rows, 384, limit)[0] == expected


def test_bytes_for_people():
    assert [readable(n) for n in (0, 1023, 1536, 3 << 30, 5 << 40, 5 << 50)] == [
        '0 B', '1.02e+03 B', '1.5 KiB', '3 GiB', '5 TiB', '5.12e+03 TiB',
    ]  # fmt: skip
    assert available_memory() > 1 << 28


def test_a_preset_in_the_table_can_be_built_and_sized(monkeypatch):
    half_bytes = Preset('sq4', lambda n, d: 'SQ4' if n else 'Flat', lambda n, d: n * d // 2 + 8 * d, 64, False, '')
    monkeypatch.setitem(PRESETS, 'sq4', half_bytes)
    index = VectorIndex.build(X, preset='sq4')
    assert (index.search(X[:50], 1).ids[:, 0] == np.arange(50)).all()
    content = faiss.serialize_index(index.parts[0].approximate)
    assert len(content) == pytest.approx(half_bytes.size(1500, 32), rel=0.05)
    assert index_bytes('sq4', 1500, 32).disk == half_bytes.size(1500, 32) + 1500 * (32 * 4 + 8)
