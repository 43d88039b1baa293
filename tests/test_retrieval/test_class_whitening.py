"""Within-class whitening: the closed form, and what it is stored as."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from retrieval.errors import RetrievalError
from retrieval.whitening import Whitening, within_class


@st.composite
def labeled_embeddings(draw):
    """Embeddings (n, d) of classes of 1 to 6 rows and of none, of which two or more have two rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = [*draw(st.lists(st.integers(2, 6), min_size=2, max_size=5)), *draw(st.lists(st.just(1), max_size=2))]
    labels = [f'class {number}' for number, size in enumerate(sizes) for _ in range(size)]
    labels += [None] * draw(st.integers(0, 3))
    dimension = draw(st.integers(2, 9))
    rows = rng.standard_normal((len(labels), dimension)) * np.geomspace(1, draw(st.floats(0.1, 1)), dimension) + 0.5
    order = rng.permutation(len(labels))
    return rows[order].astype(np.float32), [labels[row] for row in order]


def closed_form(rows, labels, shrinkage, normalize):
    """The map by its definition, one row after another, in float64."""
    rows = rows.astype(np.float64)
    if normalize:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    covariance, freedom = np.zeros((rows.shape[1],) * 2), 0
    for name in {one for one in labels if one is not None}:
        own = [row for row, label in zip(rows, labels) if label == name]
        if len(own) < 2:
            continue
        for row in own:
            difference = row - sum(own) / len(own)
            covariance += np.outer(difference, difference)
        freedom += len(own) - 1
    covariance /= freedom
    level = np.trace(covariance) / len(covariance)
    shrunk = (1 - shrinkage) * covariance / level + shrinkage * np.eye(len(covariance))
    matrix = np.linalg.inv(np.real(sqrtm(shrunk)))
    return matrix, -matrix @ rows.mean(axis=0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(labeled_embeddings(), st.floats(0.05, 1), st.booleans())
def test_it_is_the_closed_form(data, shrinkage, normalize):
    rows, labels = data
    found = Whitening.fit_classes(rows, labels, shrinkage, normalize)
    matrix, bias = closed_form(rows, labels, shrinkage, normalize)
    np.testing.assert_allclose(found.matrix, matrix, atol=2e-5)
    np.testing.assert_allclose(found.bias, bias, atol=2e-5)
    given_rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalize else rows
    np.testing.assert_allclose(found.apply(rows), given_rows @ matrix.T + bias, atol=2e-4)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(labeled_embeddings(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_the_names_of_classes_do_not_count(data, random):
    rows, labels = data
    order = random.sample(range(len(rows)), len(rows))
    renamed = [None if labels[row] is None else labels[row][::-1] for row in order]
    one, other = Whitening.fit_classes(rows, labels), Whitening.fit_classes(rows[order], renamed)
    np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-5)
    np.testing.assert_allclose(one.bias, other.bias, atol=1e-5)


def test_classes_vary_alike_in_every_direction():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20).astype(str), 50)
    rows = rng.standard_normal((1000, 6)) * (5, 4, 3, 2, 1, 0.5) + np.repeat(rng.standard_normal((20, 6)), 50, axis=0)
    whitened = Whitening.fit_classes(rows, labels, 1e-6, normalize=False).apply(rows)
    variances = within_class(whitened, labels).variances
    np.testing.assert_allclose(variances, 1, atol=1e-3)
    nothing = Whitening.fit_classes(rows, labels, 1, normalize=False)
    np.testing.assert_allclose(nothing.matrix, np.eye(6), atol=1e-6)


def test_it_survives_as_bytes_and_files_of_before_are_read():
    rng = np.random.default_rng(0)
    rows, labels = rng.standard_normal((12, 4)), list('aaabbbcccddd')
    one = Whitening.fit_classes(rows, labels)
    one.source, one.notes = 'global', {'rows': 12, 'learned_from': 'Vögel'}
    copy = Whitening.from_bytes(one.to_bytes())
    assert (copy.source, copy.notes, copy.fingerprint) == ('global', one.notes, one.fingerprint)
    np.testing.assert_array_equal(copy.apply(rows), one.apply(rows))
    assert one.to_bytes() == copy.to_bytes()
    buffer = io.BytesIO()
    np.savez(buffer, matrix=one.matrix, bias=one.bias, normalize=np.array(True))
    old = Whitening.from_bytes(buffer.getvalue())
    assert (old.source, old.notes) == ('', {}) and old.fingerprint != one.fingerprint


@pytest.mark.parametrize(
    'labels,message',
    [
        (list('abcdef'), 'two classes of two photos or more, there are 0'),
        (list('aabcde'), 'there are 1: give more photos their labels'),
        ([None] * 6, 'there are 0'),
        (list('aabb'), '6 embeddings but 4 labels'),
    ],
)
def test_too_few_labels(labels, message):
    with pytest.raises(RetrievalError, match=message):
        Whitening.fit_classes(np.random.default_rng(0).standard_normal((6, 3)), labels)


def test_embeddings_that_teach_nothing():
    rows, labels = np.random.default_rng(0).standard_normal((6, 3)), list('aabbcc')
    with pytest.raises(RetrievalError, match='row 2 has NaN'):
        Whitening.fit_classes(np.where(np.arange(6)[:, None] == 2, np.nan, rows), labels)
    with pytest.raises(RetrievalError, match='all have the same embedding'):
        Whitening.fit_classes(np.repeat(rows[:3], 2, axis=0), labels)
    with pytest.raises(RetrievalError, match='above 0 and at most 1, got 0'):
        Whitening.fit_classes(rows, labels, 0)
