"""Connected groups against networkx-free breadth-first search."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.recognition.duplicates import Groups


def _search(count, edges):
    neighbors = {number: set() for number in range(count)}
    for left, right in edges:
        neighbors[left].add(right)
        neighbors[right].add(left)
    seen, groups = set(), []
    for start in range(count):
        if start in seen:
            continue
        group, waiting = set(), [start]
        while waiting:
            number = waiting.pop()
            if number not in group:
                group.add(number)
                waiting += neighbors[number]
        seen |= group
        if len(group) > 1:
            groups.append(sorted(group))
    return groups


@settings(deadline=None, max_examples=100)
@given(count=st.integers(0, 25), data=st.data())
def test_equals_breadth_first_search(count, data):
    numbers = st.integers(0, max(count - 1, 0))
    edges = data.draw(st.lists(st.tuples(numbers, numbers), max_size=40)) if count else []
    cut = data.draw(st.integers(0, len(edges)))
    groups = Groups(count)
    for batch in (edges[:cut], edges[cut:]):
        pairs = np.array(batch, np.int64).reshape(-1, 2)
        groups.join(pairs[:, 0], pairs[:, 1])
    assert [group.tolist() for group in groups.members()] == _search(count, edges)


def test_a_long_chain_in_bad_order():
    count = 20_000
    order = np.random.default_rng(0).permutation(count)
    groups = Groups(count)
    groups.join(order[:-1], order[1:])
    (group,) = groups.members()
    assert len(group) == count
