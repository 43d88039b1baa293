"""PCA-whitening of embeddings."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from retrieval.errors import RetrievalError
from retrieval.whitening import Whitening


@pytest.fixture
def embeddings() -> np.ndarray:
    """200 embeddings of 12 dimensions with very different variances."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((12, 12)) * np.geomspace(5, 0.1, 12)
    return (rng.standard_normal((200, 12)) @ mixing.T + 3).astype(np.float32)


@pytest.mark.parametrize('normalize', [True, False])
def test_whitened_embeddings_are_uncorrelated(embeddings, normalize):
    whitening = Whitening.fit(embeddings, 5, normalize)
    result = whitening.apply(embeddings)
    assert result.shape == (200, 5) and result.dtype == np.float32
    assert (whitening.input_dimension, whitening.output_dimension) == (12, 5)
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(result.T, bias=True), np.eye(5), atol=0.02)


def test_equals_scikit_learn(embeddings):
    expected = PCA(4, whiten=True).fit_transform(embeddings)
    found = Whitening.fit(embeddings, 4, normalize=False).apply(embeddings)
    signs = np.sign((expected * found).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=0.02)


def test_length_of_normalized_input_does_not_count(embeddings):
    whitening = Whitening.fit(embeddings, 5)
    np.testing.assert_allclose(whitening.apply(embeddings * 7), whitening.apply(embeddings), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('normalize', [True, False])
def test_survives_as_bytes(embeddings, normalize):
    whitening = Whitening.fit(embeddings, 3, normalize)
    copy = Whitening.from_bytes(whitening.to_bytes())
    np.testing.assert_array_equal(copy.apply(embeddings), whitening.apply(embeddings))
    assert copy.normalize is normalize


def test_damaged_bytes_are_refused(embeddings):
    content = Whitening.fit(embeddings, 3).to_bytes()
    for damaged in (b'', content[: len(content) // 2], b'PK' + content[5:], np.arange(3).tobytes()):
        with pytest.raises(RetrievalError, match='damaged'):
            Whitening.from_bytes(damaged)


def test_pickles_are_not_read():
    import pickle

    with pytest.raises(RetrievalError, match='damaged'):
        Whitening.from_bytes(pickle.dumps({'matrix': 1}))


def test_too_few_embeddings(embeddings):
    with pytest.raises(RetrievalError, match='more than 5 embeddings, got 5'):
        Whitening.fit(embeddings[:5], 5)
    assert Whitening.fit(embeddings[:6], 5).output_dimension == 5
    with pytest.raises(RetrievalError, match='1 to 12 dimensions'):
        Whitening.fit(embeddings, 13)


def test_embeddings_in_a_plane(embeddings):
    flat = embeddings[:, :2] @ np.random.default_rng(1).standard_normal((2, 12)).astype(np.float32)
    with pytest.raises(RetrievalError, match='keep 2 or fewer'):
        Whitening.fit(flat, 6, normalize=False)


def test_other_width(embeddings):
    with pytest.raises(RetrievalError, match='11 columns'):
        Whitening.fit(embeddings, 3).apply(embeddings[:, :11])
