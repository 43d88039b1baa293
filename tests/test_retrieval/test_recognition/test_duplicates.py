"""Duplicates against all pairs."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery
from retrieval.recognition import duplicates_to_json, find_duplicates, format_duplicates


def _connected(ids, close):
    groups = [{number} for number in range(len(ids))]
    for left, right in zip(*np.nonzero(close)):
        first, second = groups[left], groups[right]
        if first is not second:
            first |= second
            for number in second:
                groups[number] = first
    found = {tuple(sorted(ids[number] for number in group)) for group in groups if len(group) > 1}
    return sorted(found)


@settings(deadline=None, max_examples=12)
@given(
    count=st.integers(1, 30),
    metric=st.sampled_from(['cosine', 'l2']),
    threshold=st.sampled_from([0.3, 0.8, 0.95]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_all_pairs(tmp_path_factory, count, metric, threshold, seed):
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(count, 3)).astype(np.float32)
    hashes = [f'{generator.integers(0, 8):064x}' if generator.random() < 0.8 else None for _ in range(count)]
    ids = generator.choice(10_000, count, replace=False)
    with create_gallery(tmp_path_factory.mktemp('twins') / 'gallery', 3, metric=metric, preset='flat') as gallery:
        gallery.add(vectors, [Record(content_hash=content) for content in hashes], ids)
        found = find_duplicates(gallery, threshold)
    groups = {kind: [tuple(record.id for record in group.records) for group in found if group.kind == kind]
              for kind in ('equal', 'similar')}  # fmt: skip
    same = np.array([[a is not None and a == b for b in hashes] for a in hashes])
    assert groups['equal'] == _connected(ids.tolist(), same)
    if metric == 'cosine':
        unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
        margin = unit @ unit.T - threshold
    else:
        margin = threshold - ((vectors[:, None].astype(np.float64) - vectors[None]) ** 2).sum(axis=2)
    if np.abs(margin).min() < 1e-5:
        return  # too near to the threshold for float32 to tell
    content = dict(zip(ids.tolist(), hashes))
    expected = [
        group
        for group in _connected(ids.tolist(), margin > 0)
        if any(content[number] is None for number in group) or len({content[number] for number in group}) > 1
    ]
    assert groups['similar'] == expected


@pytest.fixture
def gallery(tmp_path):
    with create_gallery(tmp_path / 'gallery', 2, preset='flat') as gallery:
        angles = np.array([0.0, 0.0, 0.1, 0.2, 1.5])
        vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        hashes = ['a' * 64, 'a' * 64, 'b' * 64, 'c' * 64, None]
        records = [
            Record(path=f'{name}.jpg', label='x' if name < 'd' else 'y', content_hash=content)
            for name, content in zip('abcde', hashes)
        ]
        gallery.add(vectors, records, [10, 20, 30, 40, 50])
        yield gallery


def _ids(groups):
    return [(group.kind, [record.id for record in group.records]) for group in groups]


def test_equal_files_only_without_a_threshold(gallery):
    assert _ids(find_duplicates(gallery)) == [('equal', [10, 20])]


def test_similar_images_are_connected_through_others(gallery):
    assert _ids(find_duplicates(gallery, np.cos(0.15))) == [('equal', [10, 20]), ('similar', [10, 20, 30, 40])]


def test_equal_files_are_not_listed_as_similar_again(gallery):
    assert _ids(find_duplicates(gallery, 0.9999)) == [('equal', [10, 20])]


def test_the_filter_leaves_rows_out(gallery):
    assert _ids(find_duplicates(gallery, np.cos(0.15), where={'label': 'y'})) == []
    assert _ids(find_duplicates(gallery, np.cos(0.15), where={'label': 'x'}))[1] == ('similar', [10, 20, 30])


def test_as_text_and_json(gallery):
    groups = find_duplicates(gallery, np.cos(0.15))
    lines = format_duplicates(groups).splitlines()
    assert lines[:3] == ['equal:', '  10  a.jpg', '  20  b.jpg']
    assert lines[-1] == '1 groups of equal files with 1 spare copies, 1 groups of similar images'
    assert json.loads(json.dumps(duplicates_to_json(groups)))[0] == dict(
        kind='equal', ids=[10, 20], paths=['a.jpg', 'b.jpg']
    )


def test_an_empty_gallery_has_none(tmp_path):
    with create_gallery(tmp_path / 'gallery', 2, preset='flat') as gallery:
        assert find_duplicates(gallery, 0.9) == []


def test_the_threshold_must_be_a_number(gallery):
    with pytest.raises(RetrievalError, match='finite'):
        find_duplicates(gallery, float('nan'))
