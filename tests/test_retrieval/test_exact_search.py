"""Exact search against brute force in numpy."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import exact_search


def _all_scores(gallery, queries, metric):
    gallery, queries = gallery.astype(np.float64), queries.astype(np.float64)
    if metric == 'cosine':
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        return queries @ gallery.T
    return ((queries[:, None] - gallery[None]) ** 2).sum(axis=2)


@settings(deadline=None, max_examples=50)
@given(
    num_gallery=st.integers(1, 40),
    num_queries=st.integers(1, 9),
    width=st.integers(1, 16),
    k=st.integers(1, 50),
    batch_size=st.integers(1, 10),
    metric=st.sampled_from(['cosine', 'l2']),
    seed=st.integers(0, 2**32 - 1),
)
def test_search_equals_brute_force(num_gallery, num_queries, width, k, batch_size, metric, seed):
    generator = np.random.default_rng(seed)
    gallery = generator.normal(size=(num_gallery, width)).astype(np.float32)
    queries = generator.normal(size=(num_queries, width)).astype(np.float32)
    scores, rows = exact_search(gallery, queries, k, metric, batch_size)
    expected = _all_scores(gallery, queries, metric)
    assert scores.shape == rows.shape == (num_queries, min(k, num_gallery))
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    assert all(len(set(row)) == len(row) for row in rows.tolist())
    # Ties and rounding may swap rows, so compare the scores of the rows that were returned.
    np.testing.assert_allclose(np.take_along_axis(expected, rows, axis=1), scores, atol=1e-4)
    best = np.sort(expected, axis=1)
    best = best[:, ::-1] if metric == 'cosine' else best
    np.testing.assert_allclose(scores, best[:, : scores.shape[1]], atol=1e-4)


def test_arguments_are_left_unchanged():
    gallery = np.full((3, 2), 5.0, np.float32)
    exact_search(gallery, gallery, 1, 'cosine')
    assert (gallery == 5.0).all()


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(metric='dot'), 'metric must be'),
        (dict(k=0), 'at least 1'),
        (dict(batch_size=0), 'at least 1'),
        (dict(queries=np.ones((1, 5), np.float32)), 'one model for both'),
        (dict(gallery=np.ones(4, np.float32)), r'gallery must be \(n, d\)'),
        (dict(gallery=np.ones((0, 4), np.float32)), 'at least one row'),
        (dict(queries=np.array([[1, 2, np.nan, 4]], np.float32)), 'NaN'),
        (dict(queries=np.zeros((1, 4), np.float32)), 'all zeros'),
    ],
)
def test_invalid_arguments_are_clear_errors(change, message):
    arguments = dict(gallery=np.ones((2, 4), np.float32), queries=np.ones((1, 4), np.float32), k=1)
    with pytest.raises(ValueError, match=message):
        exact_search(**{**arguments, **change})


def test_missing_faiss_is_a_one_line_hint(root):
    code = (
        'import sys; sys.modules["faiss"] = None\n'
        'import numpy as np, retrieval\n'
        'try:\n    retrieval.exact_search(np.ones((1, 2)), np.ones((1, 2)), 1)\n'
        'except ImportError as error:\n    print(error)'
    )
    result = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == 'Image search needs FAISS: pip install faiss-cpu (or faiss-gpu on Linux x86_64).'


@pytest.mark.parametrize('length', [1e-36, 1e-22, 1e-10, 1, 1e25])
def test_directions_of_any_length_are_compared(length):
    rows = (np.eye(3, dtype=np.float32) + 0.25) * np.float32(length)
    scores, found = exact_search(rows, rows, 1)
    assert found.ravel().tolist() == [0, 1, 2]
    np.testing.assert_allclose(scores, 1, rtol=1e-6)


def test_what_numpy_cannot_read_is_told():
    torch = pytest.importorskip('torch')
    for tensor in (torch.ones(2, 4, dtype=torch.bfloat16), torch.ones(2, 4, requires_grad=True), [[1.0], [2.0, 3.0]]):
        with pytest.raises(ValueError, match=r'queries cannot be read as an array .* x.detach\(\).float\(\)'):
            exact_search(np.ones((2, 4), np.float32), tensor, 1)
