"""Best rows of groups, and rows left out of single queries, compared with NumPy over all rows."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, grouping, open_gallery

SPACES = {'a': 6, 'b': 4}


def fill(gallery, rng, count, groups, spread=1.0):
    """Rows near the centre of their group; group 0 holds most of them, and some belong to none."""
    numbers = np.where(rng.random(count) < 0.5, 0, rng.integers(0, groups, count))
    products = [None if rng.random() < 0.15 else f'p{number}' for number in numbers]
    vectors = {}
    for space, dimension in SPACES.items():
        centres = np.random.default_rng(7).normal(size=(groups, dimension))
        vectors[space] = (centres[numbers] + spread * rng.normal(size=(count, dimension))).astype(np.float32)
    records = [
        Record(f'{row}.jpg', label=f'c{row % 3}', content_hash=f'h{row % 5}', metadata={'product': product})
        for row, product in enumerate(products)
    ]
    return gallery.add(vectors, records)


def brute_force(gallery, queries, weights, k, where, column, exclude):
    """For each query, scores of the best k groups, the best first, and every row's score and group by id."""
    ids = gallery.ids(where)
    records = gallery.records(ids)
    values = {one.id: one.metadata.get(column) if column == 'product' else getattr(one, column) for one in records}
    groups = {number: ('own', number) if value is None else value for number, value in values.items()}
    sign = -1 if gallery.manifest.metric == 'l2' else 1
    answers = []
    for query in range(len(exclude)):
        total = np.zeros(len(ids))
        for space, weight in weights.items():
            rows, one = gallery.vectors(ids, space).astype(np.float64), queries[space][query].astype(np.float64)
            if gallery.manifest.metric == 'cosine':
                one = one / np.linalg.norm(one)
            total += weight * (np.square(rows - one).sum(axis=1) if sign < 0 else rows @ one)
        scores = {number: score for number, score in zip(ids.tolist(), total) if number not in exclude[query]}
        best = {}
        for number, score in scores.items():
            group = groups[number]
            if group not in best or sign * score > sign * best[group]:
                best[group] = score
        answers.append((sorted(best.values(), key=lambda score: -sign * score)[:k], scores, groups, best))
    return answers


def check_hits(hits, answers, k):
    assert hits.ids.shape == hits.scores.shape == (len(answers), k)
    for ids, scores, (expected, own, groups, best) in zip(hits.ids.tolist(), hits.scores, answers):
        there = [number for number in ids if number >= 0]
        assert ids == there + [-1] * (k - len(there)) and len(there) == len(expected)
        np.testing.assert_allclose(scores[: len(there)], expected, rtol=1e-4, atol=1e-4)
        assert len({groups[number] for number in there}) == len(there)
        for number, score in zip(there, scores):
            assert own[number] == pytest.approx(score, rel=1e-4, abs=1e-4)
            assert own[number] == pytest.approx(best[groups[number]], rel=1e-4, abs=1e-4)


@settings(
    deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    metric=st.sampled_from(['cosine', 'ip', 'l2']),
    preset=st.sampled_from(['flat', 'hnsw']),
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    groups=st.integers(1, 8),
    spread=st.sampled_from([0.05, 1.0]),
    space=st.sampled_from([None, 'b', {'a': 0.7, 'b': 0.3}]),
    where=st.sampled_from([None, {'label': ['c0', 'c1']}, {'label': 'c9'}]),
    column=st.sampled_from(['product', 'label', 'content_hash']),
    rescore=st.sampled_from([None, 0, 500]),
    k=st.integers(1, 12),
    left_out=st.sampled_from([(0, 1, 7), (0, 3, 0, 1, 0)]),  # few queries are compared otherwise than many
    limits=st.sampled_from([(1024, 16384), (3, 16384), (3, 0)]),
    seed=st.integers(0, 2**16),
)
def test_equals_comparison_with_all_rows(
    tmp_path_factory, metric, preset, counts, groups, spread, space, where, column, rescore, k, left_out, limits, seed
):
    rng = np.random.default_rng(seed)
    weights = space if isinstance(space, dict) else {space or 'a': 1.0}
    with (
        pytest.MonkeyPatch.context() as patch,
        create_gallery(tmp_path_factory.mktemp('g') / 'g', SPACES, metric=metric, preset=preset) as gallery,
    ):
        patch.setattr('os.fsync', lambda descriptor: None)
        patch.setattr(grouping, 'MAX_DEPTH', limits[0])
        patch.setattr(grouping, 'GATHER_ROWS', limits[1])
        fill(gallery, rng, counts[0], groups, spread)
        if preset != 'flat':
            gallery.compact()  # a graph that so small a search looks through as a whole
        for count in counts[1:]:
            fill(gallery, rng, count, groups, spread)
        gone = rng.choice(gallery.ids(), rng.integers(0, len(gallery)), replace=False)
        gallery.remove(gone)
        queries = {name: rng.normal(size=(len(left_out), size)).astype(np.float32) for name, size in SPACES.items()}
        exclude = [rng.choice(gallery.ids(), min(size, len(gallery)), replace=False) for size in left_out]
        options = dict(space=space, where=where, rescore=rescore, exclude=exclude)
        hits = gallery.search(queries, k, group_by=column, **options)
        check_hits(hits, brute_force(gallery, queries, weights, k, where, column, exclude), k)
        # Each row is a group of its own, so this is the search without groups.
        alone = gallery.search(queries, k, **options)
        check_hits(alone, brute_force(gallery, queries, weights, k, where, 'id', exclude), k)


def test_finds_k_groups_where_one_holds_nearly_all_rows(tmp_path):
    rng = np.random.default_rng(0)
    centre = rng.normal(size=8)
    near = (centre + 0.01 * rng.normal(size=(3000, 8))).astype(np.float32)
    far = rng.normal(size=(9, 8)).astype(np.float32)
    for preset in ('flat', 'hnsw', 'ivf-flat'):
        with create_gallery(tmp_path / preset, 8, preset=preset) as gallery:
            records = [Record(label='near') for _ in near] + [Record(label=f'far {row}') for row in range(9)]
            gallery.add(np.concatenate([near, far]), records)
            gallery.compact()
            hits = gallery.search(centre[None].astype(np.float32), 10, group_by='label')
            assert sorted(hits.ids[0].tolist())[1:] == list(range(3000, 3009)) and hits.ids[0, 0] < 3000
            assert (gallery.search(near[:2], 12, group_by='label').ids[:, 10:] == -1).all()


def test_groups_are_those_of_the_newest_state(tmp_path):
    with create_gallery(tmp_path / 'g', 4) as gallery:
        rows = np.eye(4, dtype=np.float32)
        gallery.add(rows, [Record(label='x') for _ in rows])
        assert gallery.search(rows[:1], 4, group_by='label').ids[0].tolist() == [0, -1, -1, -1]
        gallery.update([1], records=[Record(label='y')])
        assert sorted(gallery.search(rows[:1], 4, group_by='label').ids[0].tolist()) == [-1, -1, 0, 1]
        with open_gallery(tmp_path / 'g') as reader:
            assert sorted(reader.search(rows[:1], 4, group_by='label').ids[0].tolist()) == [-1, -1, 0, 1]


def test_same_content_names_all_rows_of_a_hash(tmp_path):
    with create_gallery(tmp_path / 'g', 4) as gallery:
        rows = np.eye(4, dtype=np.float32)
        gallery.add(rows, [Record(f'{row}.jpg', content_hash='ab'[row % 2]) for row in range(4)])
        found = gallery.same_content(['a', None, 'c', 'b'])
        assert [ids.tolist() for ids in found] == [[0, 2], [], [], [1, 3]]
        hits = gallery.search(rows, 2, exclude=gallery.same_content(['a', 'b', 'a', 'b']))
        assert [set(ids) for ids in hits.ids.tolist()] == [{1, 3}, {0, 2}, {1, 3}, {0, 2}]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(group_by='colour'), "there is no column 'colour'; the columns are id, path, label"),
        (dict(group_by=['label']), r"there is no column \['label'\]"),
        (dict(exclude=[[0]]), 'exclude has rows for 1 queries, but there are 2'),
        (dict(exclude='01'), "exclude is a list with the ids of rows for each query, not '01'"),
        (dict(exclude=[[0.5], []]), 'ids must be a list of whole numbers'),
    ],
)
def test_mistakes_are_told(tmp_path, options, message):
    with create_gallery(tmp_path / 'g', 4) as gallery:
        gallery.add(np.eye(4, dtype=np.float32))
        with pytest.raises(RetrievalError, match=message):
            gallery.search(np.eye(4, dtype=np.float32)[:2], 2, **options)


def test_an_empty_gallery_has_no_groups(tmp_path):
    with create_gallery(tmp_path / 'g', 4) as gallery:
        hits = gallery.search(np.ones((2, 4), np.float32), 3, group_by='label', exclude=[[5], []])
        assert (hits.ids == -1).all() and hits.ids.shape == (2, 3)
