"""Any sequence of writes leaves a gallery in Milvus as it leaves a dictionary."""

from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, open_gallery

LABELS = ('a', 'b', None)
_numbers = count()

steps = st.lists(
    st.one_of(
        st.tuples(st.just('add'), st.integers(1, 5), st.sampled_from(LABELS)),
        st.tuples(st.just('add ids'), st.sets(st.integers(0, 60), min_size=1, max_size=4), st.sampled_from(LABELS)),
        st.tuples(st.just('update'), st.integers(0, 9), st.sampled_from(LABELS)),
        st.tuples(st.just('label'), st.integers(0, 3), st.sampled_from(LABELS)),
        st.tuples(st.just('undo'), st.integers(0, 2), st.just(None)),
        st.tuples(st.just('remove'), st.integers(0, 9), st.just(None)),
        st.tuples(st.just('remove label'), st.sampled_from(LABELS[:2]), st.just(None)),
        st.tuples(st.just('reopen'), st.just(0), st.just(None)),
        st.tuples(st.just('search'), st.integers(1, 12), st.sampled_from(LABELS)),
    ),
    min_size=3,
    max_size=16,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, seed=st.integers(0, 2**16))
def test_sequences_of_writes(milvus_file, steps, seed):
    rng = np.random.default_rng(seed)
    location = f'{milvus_file}/model_{next(_numbers)}'
    vectors, labels, changes = {}, {}, []  # of each change set: id -> label before and after, None if the id is reused
    gallery = create_gallery(location, 4, metric='l2')
    try:
        for action, number, label in steps:
            if action == 'reopen':
                gallery.close()
                gallery = open_gallery(location, writable=True)
            elif action == 'search':
                _check_search(gallery, vectors, labels, rng.normal(size=(2, 4)).astype(np.float32), number, label)
            elif action in ('add', 'add ids'):
                ids = None if action == 'add' else sorted(number - vectors.keys())
                rows = rng.normal(size=(number if ids is None else len(ids), 4)).astype(np.float32)
                if len(rows):
                    new = gallery.add(rows, [Record(label=label)] * len(rows), ids).tolist()
                    assert not vectors.keys() & set(new) and len(set(new)) == len(rows)
                    vectors.update(zip(new, rows))
                    labels.update(dict.fromkeys(new, label))
                    for change in changes if ids is not None else ():
                        change.update(dict.fromkeys(change.keys() & set(new)))
            elif action == 'undo':
                _undo(gallery, labels, changes, number)
            else:
                before = dict(labels)
                _change(gallery, vectors, labels, action, number, label, rng)
                _note(changes, before, labels)
            assert gallery.ids().tolist() == sorted(vectors) and len(gallery) == len(vectors)
        assert [one.rows for one in gallery.history()] == [len(change) for change in changes]
        ids = sorted(vectors)
        assert [record.label for record in gallery.records(ids)] == [labels[one] for one in ids]
        for one in ids:
            np.testing.assert_array_equal(gallery.vectors([one])[0], vectors[one])
    finally:
        gallery.close()


def _note(changes, before, labels):
    changed = {one: (before[one], label) for one, label in labels.items() if before[one] != label}
    if changed:
        changes.append(changed)


def _undo(gallery, labels, changes, back):
    if back >= len(changes):
        return
    history, change = gallery.history()[-1 - back], changes[-1 - back]
    gone = {one for one in change if one not in labels or change[one] is None}
    todo = {one: change[one] for one in change.keys() - gone if labels[one] != change[one][0]}
    if gone or any(labels[one] != new for one, (_, new) in todo.items()):
        with pytest.raises(RetrievalError, match='cannot be taken back'):
            gallery.undo(history.number)
    else:
        before = dict(labels)
        labels.update((one, old) for one, (old, _) in todo.items())
        assert gallery.undo(history.number).rows == len(todo)
        _note(changes, before, labels)


def _change(gallery, vectors, labels, action, number, label, rng):
    if action == 'remove label':
        gone = [one for one, value in labels.items() if value == number]
        assert gallery.remove(where={'label': number}).rows == len(gone)
    else:
        gone = sorted(vectors)[number : number + 2]
        if gone and action == 'label':
            gallery.set_labels(gone, label)
            labels.update(dict.fromkeys(gone, label))
        elif gone and action == 'update':
            rows = rng.normal(size=(len(gone), 4)).astype(np.float32)
            gallery.update(gone, rows, [Record(label=label)] * len(gone))
            vectors.update(zip(gone, rows))
            labels.update(dict.fromkeys(gone, label))
        elif gone:
            assert gallery.remove(gone).rows == len(gone)
    if action not in ('update', 'label'):
        for one in gone:
            del vectors[one], labels[one]


def _check_search(gallery, vectors, labels, queries, k, label):
    rows = [one for one in sorted(vectors) if label is None or labels[one] == label]
    hits = gallery.search(queries, k, where=None if label is None else {'label': label})
    assert ((hits.ids >= 0).sum(axis=1) == min(k, len(rows))).all()
    for query, scores, ids in zip(queries, *hits):
        distances = {one: float(((query - vectors[one]) ** 2).sum()) for one in rows}
        best = sorted(distances.values())[:k]
        assert scores[: len(best)].tolist() == pytest.approx(best, rel=1e-5, abs=1e-5)
        assert [distances[one] for one in ids[: len(best)]] == pytest.approx(best, rel=1e-5, abs=1e-5)
