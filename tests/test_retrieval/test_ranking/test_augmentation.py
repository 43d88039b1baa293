"""Database-side augmentation of a gallery."""

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.ranking import augment_database, augment_gallery, augmented_vectors


@pytest.fixture(params=['cosine', 'l2'])
def gallery(request, tmp_path):
    generator = np.random.default_rng(0)
    embeddings = {name: generator.normal(size=(30, width)).astype(np.float32) for name, width in (('a', 6), ('b', 4))}
    records = [Record(path=f'{row}.jpg', label='x', metadata={'year': 2000 + row}) for row in range(30)]
    with create_gallery(tmp_path / 'source', dict(a=6, b=4), metric=request.param, preset='flat') as gallery:
        gallery.add(embeddings, records, 100 - np.arange(30), generator.normal(size=(30, 2, 3)).astype(np.float16))
        yield gallery


@pytest.mark.parametrize('alpha', [0.0, 3.0])
def test_vectors_equal_the_function_on_arrays(gallery, alpha):
    ids = gallery.ids()
    metric = gallery.manifest.metric
    for space in ('a', 'b'):
        expected = augment_database(gallery.vectors(ids, space), 5, alpha, metric)
        np.testing.assert_allclose(augmented_vectors(gallery, ids, space, 5, alpha), expected, atol=1e-5)


def test_a_gallery_gets_one_more_space(gallery, tmp_path):
    augment_gallery(gallery, tmp_path / 'target', num_neighbors=3)
    with open_gallery(tmp_path / 'target') as target:
        ids = gallery.ids()
        assert list(target.manifest.spaces) == ['a', 'b', 'a_dba']
        np.testing.assert_array_equal(target.ids(), ids)
        assert target.records(ids) == gallery.records(ids)
        np.testing.assert_array_equal(target.patches(ids), gallery.patches(ids))
        np.testing.assert_allclose(target.vectors(ids, 'b'), gallery.vectors(ids, 'b'), atol=1e-6)
        np.testing.assert_allclose(target.vectors(ids, 'a_dba'), augmented_vectors(gallery, ids, 'a', 3), atol=1e-6)
        queries = gallery.vectors(ids[:4], 'a')
        assert (target.search({'a_dba': queries}, 2, space='a_dba').ids >= 0).all()


def test_wrong_arguments(gallery, tmp_path):
    with pytest.raises(RetrievalError, match="no space 'c'"):
        augment_gallery(gallery, tmp_path / 'target', 'c')
    with pytest.raises(RetrievalError, match="a space 'b' already"):
        augment_gallery(gallery, tmp_path / 'target', 'a', 'b')
    with pytest.raises(RetrievalError, match='num_neighbors'):
        augmented_vectors(gallery, gallery.ids(), num_neighbors=-1)
    assert not (tmp_path / 'target').exists()
