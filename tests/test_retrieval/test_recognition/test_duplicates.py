"""Duplicates against all pairs."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery
from retrieval.recognition import (
    audit,
    decide_duplicates,
    duplicates,
    duplicates_to_json,
    find_duplicates,
    format_duplicates,
    near_threshold,
)


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


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """So that a few rows are several blocks, of which not all are kept."""
    monkeypatch.setattr(duplicates, '_BATCH', 2)
    monkeypatch.setattr(duplicates, '_BLOCK', 4)
    monkeypatch.setattr(duplicates, '_KEPT_BYTES', 200)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@pytest.fixture
def twins(tmp_path):
    """Rows 0 to 2 are nearly the same, 3 and 4 another pair, 5 to 7 equal files that look different."""
    vectors = np.eye(8, 6, dtype=np.float32)[[0, 0, 0, 1, 1, 2, 3, 4]]
    records = [Record(f'{row}.jpg', content_hash='f' * 64 if row > 4 else None) for row in range(8)]
    with create_gallery(tmp_path / 'gallery', 6, preset='flat') as gallery:
        gallery.add(vectors, records)
        yield gallery


def _groups(gallery, **options):
    return [(one.kind, [record.id for record in one.records]) for one in find_duplicates(gallery, 0.9, **options)]


def _decide(gallery, ids, decision):
    return gallery.set_values(ids, decide_duplicates(gallery, ids, decision), by='anna').number


def test_decisions_are_remembered_undone_and_do_not_hide_new_rows(twins):
    everything = [('equal', [5, 6, 7]), ('similar', [0, 1, 2]), ('similar', [3, 4])]
    assert _groups(twins) == everything
    first = _decide(twins, [5, 6, 7], 'kept')
    second = _decide(twins, [0, 1, 2], 'distinct')
    assert _groups(twins) == everything[2:] and _groups(twins, decided=True) == everything
    assert _groups(twins, where={'id': ('<', 3)}) == []
    twins.add(np.eye(8, 6, dtype=np.float32)[[0, 5]], [Record('8.jpg'), Record('9.jpg', content_hash='f' * 64)])
    assert _groups(twins) == [('equal', [5, 6, 7, 9]), ('similar', [0, 1, 2, 8]), ('similar', [3, 4])]
    twins.remove([8, 9])
    twins.undo(second)
    assert _groups(twins) == everything[1:]
    twins.undo(first)
    assert _groups(twins) == everything


def test_a_row_may_be_part_of_several_decisions(twins):
    _decide(twins, [0, 1], 'distinct')
    assert ('similar', [0, 1, 2]) in _groups(twins)  # both are still like the third
    _decide(twins, [0, 2], 'distinct')
    _decide(twins, [1, 2], 'kept')
    _decide(twins, [1, 2], 'distinct')  # a change of mind
    assert [ids for kind, ids in _groups(twins) if kind == 'similar'] == [[3, 4]]
    words = [str(twins.records([row])[0].metadata['duplicate_decision']).split() for row in (0, 1, 2)]
    assert [len(one) for one in words] == [2, 2, 2] and not any('kept' in word for one in words for word in one)


def test_decisions_that_are_none(twins):
    for ids, decision in (([0], 'kept'), ([0, 0], 'kept'), ([0, 1], 'maybe'), ([0, 99], 'kept')):
        with pytest.raises(RetrievalError):
            decide_duplicates(twins, ids, decision)


def test_progress_is_told_and_may_stop_the_search(twins):
    told = []
    find_duplicates(twins, 0.9, progress=lambda *both: told.append(both))
    assert told == [(0, 8), (2, 8), (4, 8), (6, 8)]

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_duplicates(twins, 0.9, progress=stop)


def test_an_audit_knows_decisions_too(twins):
    twins.set_labels([*range(8)], [*'abbccddd'])
    assert [[one.id for one in found.records] for found in audit(twins, threshold=0.9).conflicts] == [[0, 1, 2]]
    _decide(twins, [0, 1, 2], 'distinct')
    assert audit(twins, threshold=0.9).conflicts == []


@pytest.mark.parametrize('metric', ['cosine', 'l2'])
@pytest.mark.parametrize('spread', [0.05, 0.3])
def test_a_threshold_tells_copies_from_photos_that_are_alike(tmp_path, metric, spread):
    """However alike the photos of a gallery are; two thirds of them are copies."""
    random = np.random.default_rng(0)
    rows = 1 + spread * random.normal(size=(60, 16))
    rows = np.vstack(
        [rows, rows + 0.1 * spread * random.normal(size=rows.shape), 1 + spread * random.normal(size=(60, 16))]
    )
    with create_gallery(tmp_path / 'g', 16, metric=metric, preset='flat') as gallery:
        gallery.add(rows.astype(np.float32), None)
        threshold = near_threshold(gallery)
        found = find_duplicates(gallery, threshold)
        if metric == 'cosine':
            assert threshold >= 0.95
        if spread == 0.3 or metric == 'l2':
            assert {tuple(record.id for record in group.records) for group in found} == {
                (row, row + 60) for row in range(60)
            }
        assert near_threshold(gallery, where={'id': [1, 2, 3]}) is None
    with create_gallery(tmp_path / 'ip', 16, metric='ip', preset='flat') as gallery:
        gallery.add(rows.astype(np.float32), None)
        assert near_threshold(gallery) is None
