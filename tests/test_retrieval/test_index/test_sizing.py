"""What an index takes: arithmetic, and files that FAISS wrote."""

from pathlib import Path

import numpy as np
import pytest

from retrieval.index import PRESETS, choose_preset, make_part
from retrieval.index.files import write_index, write_vectors
from retrieval.index.sizing import available_memory, index_bytes, readable

X = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float32)
ROWS = (10**5, 10**6, 10**7, 10**8, 10**9)


@pytest.mark.parametrize('preset', list(PRESETS))
def test_files_are_as_large_as_the_arithmetic_says(tmp_path, preset):
    part = make_part(X, np.arange(5000), 'ip', preset)
    written = (tmp_path / write_vectors(tmp_path, 'a', [X], 64, 'ip')).stat().st_size + 8 * len(X)
    if preset != 'flat':
        written += (tmp_path / write_index(tmp_path, 'a', part.approximate)).stat().st_size
    assert written == pytest.approx(index_bytes(preset, 5000, 64).disk, rel=0.03)


def test_table_of_the_documentation_is_the_arithmetic(root):
    page = (Path(root) / 'docs' / 'reference' / 'index_sizes.md').read_text()
    for preset in PRESETS:
        sizes = [index_bytes(preset, rows, 384) for rows in ROWS]
        cells = [f'{readable(size.ram)} / {readable(size.disk)}' for size in sizes]
        gpu = readable(sizes[1].gpu) if sizes[1].gpu else 'CPU only'
        assert f'| `{preset}` | {" | ".join(cells)} | {gpu} |' in page


@pytest.mark.parametrize(
    'rows, dimension, limit, expected',
    [
        (0, 384, None, 'flat'),
        (1000, 384, None, 'flat'),
        (80_000, 384, 100 << 20, 'fp16'),
        (80_000, 384, 40 << 20, 'sq8'),
        (10**6, 384, 16 << 30, 'hnsw'),
        (10**6, 384, 1600 << 20, 'ivf-flat'),
        (10**6, 384, 200 << 20, 'ivf-pq'),
        (10**8, 64, 100 << 30, 'ivf-hnsw'),
        (10**9, 384, 1 << 30, 'ivf-pq'),
    ],
)
def test_auto_takes_what_fits(rows, dimension, limit, expected):
    name, reason = choose_preset(rows, dimension, limit)
    assert name == expected and reason.startswith(f'{name}: ') and reason.endswith('.')


def test_bytes_for_people():
    assert [readable(n) for n in (0, 1023, 1536, 3 << 30, 5 << 40, 5 << 50)] == [
        '0 B', '1.02e+03 B', '1.5 KiB', '3 GiB', '5 TiB', '5.12e+03 TiB',
    ]  # fmt: skip
    assert available_memory() > 1 << 28
