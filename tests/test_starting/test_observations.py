"""Photos that belong together stay together, and every class has its share in every split."""

from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import pytest

from glsim_mm.errors import GLSimError
from glsim_mm.images.image_files import FileFacts
from glsim_mm.images.photos import ImageItem
from glsim_mm.starting.observations import MAX_NEAR, find_observations, hold_out, join_by_keys


def facts_of(number, looks=None):
    return [FileFacts((9, 9), (9, 9), bytes([row]), None if looks is None else looks[row]) for row in range(number)]


def items_of(*columns, label='a', name='when'):
    return [ImageItem(path=f'{row}.jpg', label=label, metadata={name: value}) for row, value in enumerate(columns)]


def test_groups_are_joined_through_each_other():
    assert join_by_keys([['a'], ['b'], ['a', 'c'], ['c'], [], ['b', 'd'], ['d']]) == [0, 1, 0, 0, 2, 1, 1]


@pytest.mark.parametrize('seed', range(5))
def test_each_class_has_its_share_and_no_group_is_cut(seed):
    rng = np.random.default_rng(seed)
    labels, groups = [], []
    for label, number in (('many', 200), ('some', 40), ('few', 6), ('two', 2)):
        sizes = rng.integers(1, 4, number) if number > 6 else np.ones(number, int)
        for size in sizes:
            group = len(set(groups))
            labels += [label] * int(size)
            groups += [group] * int(size)
    held = hold_out(labels, groups, 0.2, seed)
    inside, all_of = Counter(labels[row] for row in held), Counter(labels)
    assert not {groups[row] for row in held} & {groups[row] for row in set(range(len(groups))) - held}
    for label in ('many', 'some'):
        assert abs(inside[label] - 0.2 * all_of[label]) <= 2
    assert inside['few'] == inside['two'] == 1
    assert held == hold_out(labels, groups, 0.2, seed) != hold_out(labels, groups, 0.2, seed + 9)


def test_what_cannot_be_shared_stays_outside():
    one, large = ['one'] * 5, ['large'] * 10
    groups = [0] * 5 + [1] * 6 + [2] * 4
    assert {groups[row] for row in hold_out(one + large, groups, 0.1)} == {2}  # the smaller, though it is too large
    # A group of two classes that would leave nothing of one of them.
    assert hold_out(['a', 'b', 'a', 'a'], [0, 0, 1, 2], 0.5) == {2, 3}
    assert hold_out(['a', 'b'], [0, 1], 0.0) == set()


def test_columns_tell_observations_apart():
    items = items_of(7, 7, None, 8, None, name='Observation_ID')
    found = find_observations(items, facts_of(5))
    assert found.groups == [0, 0, 1, 2, 3] and found.sources == ['column Observation_ID: 2']
    assert find_observations(items_of('x', 'x', name='place'), facts_of(2)).groups == [0, 1]
    assert find_observations(items_of('x', 'x', name='place'), facts_of(2), 'place').groups == [0, 0]
    assert find_observations(items, facts_of(5), 'none').groups == [0, 1, 2, 3, 4]
    with pytest.raises(GLSimError, match="no column 'plaec' of observations; there are place"):
        find_observations(items_of('x', name='place'), facts_of(1), 'plaec')


def test_folders_below_a_class_tell_observations_apart_if_there_are_several():
    paths = ['a/1/x.jpg', 'a/1/y.jpg', 'a/2/z.jpg', 'b/only/x.jpg', 'b/only/y.jpg', 'a/z.jpg']
    items = [ImageItem(path=path, label=path[0]) for path in paths]
    found = find_observations(items, facts_of(6))
    assert found.groups == [0, 0, 1, 2, 3, 4] and found.sources == ['folders below those of the classes: 2']
    assert find_observations(items, facts_of(6), folders=False).sources == []


def test_a_series_of_one_camera_is_an_observation():
    start = datetime(2024, 5, 1, 12)
    seconds = [0, 50, 100, 300, 310, 10]
    items = [
        ImageItem(path=f'{row}.jpg', label='a', metadata=dict(taken=start + timedelta(seconds=value), camera='one'))
        for row, value in enumerate(seconds)
    ]
    items[-1].metadata['camera'] = 'another'
    items.append(ImageItem(path='x', label='b', metadata=dict(taken='2024-05-01 12:00:01+02:00', camera='one')))
    items.append(ImageItem(path='y', label='b', metadata=dict(taken='in May', camera='one')))
    found = find_observations(items, facts_of(8))
    assert found.groups == [0, 0, 0, 1, 1, 2, 3, 4]
    assert found.sources == ['photos of one camera within 60 s: 2 series']


def test_copies_and_near_copies_belong_together_unless_all_look_alike():
    looks = np.random.default_rng(0).integers(0, 1 << 16, (3, 16), dtype=np.uint16)
    near = looks[0] ^ np.uint16(1)
    items = items_of(*'abcde', name='x')
    facts = facts_of(4, [*looks, near])
    facts.append(facts[1]._replace(look=None))
    assert find_observations(items, facts).groups == [0, 1, 2, 0, 1]
    many = items_of(*range(MAX_NEAR + 1), name='x')
    assert len(set(find_observations(many, facts_of(MAX_NEAR + 1, [looks[0]] * (MAX_NEAR + 1))).groups)) == len(many)
