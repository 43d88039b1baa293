"""Best rows of groups, and rows left out of single queries, in a local Milvus file: what a folder gives."""

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery
from retrieval.milvus import milvus_gallery

SPACES = {'a': 6, 'b': 4}
BOTH, FEW = {'a': 0.7, 'b': 0.3}, {'label': ['c0', 'c1', 'c2']}


@pytest.fixture(scope='module', params=['cosine', 'l2'])
def pair(request, milvus_file, tmp_path_factory):
    """The same rows in a folder and in Milvus; one product has most of them, and some have none."""
    rng = np.random.default_rng(0)
    numbers = np.where(rng.random(120) < 0.6, 0, rng.integers(0, 9, 120))
    centres = {space: rng.normal(size=(9, size)) for space, size in SPACES.items()}
    vectors = {
        space: (centres[space][numbers] + 0.1 * rng.normal(size=(120, size))).astype(np.float32)
        for space, size in SPACES.items()
    }
    records = [
        Record(
            f'{row}.jpg',
            label=None if row % 7 == 0 else f'c{number}',
            content_hash=f'h{row % 50}',
            metadata={'product': None if row % 5 == 0 else int(number)},
        )
        for row, number in enumerate(numbers)
    ]
    with (
        create_gallery(tmp_path_factory.mktemp('g') / 'g', SPACES, metric=request.param) as folder,
        create_gallery(f'{milvus_file}/grouping_{request.param}', SPACES, metric=request.param) as remote,
    ):
        for gallery in (folder, remote):
            gallery.add(vectors, records, np.arange(120) + 500)
        yield folder, remote


@pytest.mark.parametrize(
    'column, depth, space, where',  # every two of them with each other
    [
        ('product', 2, 'b', None),
        ('product', 1024, BOTH, FEW),
        ('label', 2, BOTH, None),
        ('label', 1024, 'b', FEW),
        ('content_hash', 2, 'b', FEW),
        ('content_hash', 1024, BOTH, None),
        ('id', 2, BOTH, FEW),
        ('id', 1024, 'b', None),
    ],
)
def test_groups_are_those_of_a_folder(pair, monkeypatch, depth, space, column, where):
    monkeypatch.setattr(milvus_gallery, 'MAX_DEPTH', depth)
    folder, remote = pair
    queries = {name: folder.vectors([501, 510, 600], name) for name in SPACES}
    exclude = folder.same_content([record.content_hash for record in folder.records([501, 510])]) + [[]]
    options = dict(space=space, where=where, group_by=column, exclude=exclude, transformed=True)
    for k in (1, 20):
        expected, found = (gallery.search(queries, k, **options) for gallery in (folder, remote))
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found.ids, expected.ids)


def test_rows_left_out_and_same_content(pair):
    folder, remote = pair
    hashes = ['h3', None, 'gone', 'h3']
    found = remote.same_content(hashes)
    assert [sorted(ids) for ids in found] == [sorted(ids) for ids in folder.same_content(hashes)]
    assert sorted(found[0]) == [503, 553, 603]
    hits = remote.search(remote.vectors([503, 503], 'a'), 5, exclude=[found[0], []], transformed=True)
    assert not set(hits.ids[0]) & {503, 553, 603} and 503 in hits.ids[1]


def test_an_unknown_column_is_told(pair):
    with pytest.raises(RetrievalError, match="there is no column 'colour'"):
        pair[1].search(np.ones((1, 6), np.float32), 2, group_by='colour')
