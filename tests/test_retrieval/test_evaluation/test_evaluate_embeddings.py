"""Protocols, what does not count, memory, and mistakes of evaluating embeddings and rankings."""

import json
import subprocess
import sys

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.evaluation import evaluate_embeddings, evaluate_ranking
from retrieval.vectors import exact_search


def data(count=40, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return (rng.standard_normal((classes, 8))[labels] + rng.standard_normal((count, 8))).astype(np.float32), labels


def ranking_of(embeddings):
    return exact_search(embeddings, embeddings, len(embeddings))[1]


def test_by_hand():
    # on a line, cosine would not tell them apart: 0 and 1 of class a at 0 and 3, of class b at 1 and 7
    gallery = np.array([[0], [3], [1], [7]], np.float32)
    report = evaluate_embeddings(gallery, ['a', 'a', 'b', 'b'], metric='l2', ks=(1, 2))
    # ranks of the one relevant image: a(0): 2nd, a(3): 2nd, b(1): 3rd, b(7): 2nd
    assert report.metrics == pytest.approx(
        {'Recall@1': 0, 'Recall@2': 3 / 4, 'R-Precision': 0, 'MAP@R': 0, 'mAP': (3 / 2 + 1 / 3) / 4}
    )
    assert [(scores.name, scores.num_queries) for scores in report.classes] == [('a', 2), ('b', 2)]
    assert report.classes[1].metrics['mAP'] == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_classes_of_one_image_do_not_count_and_are_told():
    embeddings, labels = data()
    labels = labels.astype(object)
    labels[0], labels[1], labels[2], labels[3] = 'x', 'y', None, None
    labels = [label if label is None else str(label) for label in labels]
    report = evaluate_embeddings(embeddings, labels)
    assert (report.num_queries, report.num_gallery) == (36, 40)
    assert (report.num_lone, report.lone_classes) == (2, ['x', 'y'])
    assert (report.num_unlabeled, report.num_unlabeled_gallery) == (2, 2)
    # images without a class are still in the way of others
    assert report.metrics['mAP'] < evaluate_embeddings(embeddings[4:], labels[4:]).metrics['mAP']


def test_classes_come_worst_first_and_weigh_the_same_in_their_means():
    embeddings, labels = data(60)
    labels = np.minimum(labels, 3)
    report = evaluate_embeddings(embeddings, labels, class_names=('a', 'b', 'c', 'd'))
    worst = [scores.metrics['MAP@R'] for scores in report.classes]
    assert worst == sorted(worst) and {scores.name for scores in report.classes} == set('abcd')
    for name, mean in report.class_metrics.items():
        assert mean == pytest.approx(np.mean([scores.metrics[name] for scores in report.classes]))
    sizes = [scores.num_queries for scores in report.classes]
    assert report.metrics['mAP'] == pytest.approx(
        np.average([scores.metrics['mAP'] for scores in report.classes], weights=sizes)
    )


@pytest.mark.parametrize('memory_limit', [1, 10_000, 1 << 30])
def test_blocks_do_not_change_the_result(memory_limit):
    embeddings, labels = data(50)
    labels[:25] = 0  # blocks are of queries with an equally large class
    expected = evaluate_embeddings(embeddings, labels)
    assert evaluate_embeddings(embeddings, labels, memory_limit=memory_limit) == expected


def test_without_the_whole_ranking_only_map_is_left_out():
    embeddings, labels = data()
    expected = evaluate_embeddings(embeddings, labels).metrics
    found = evaluate_embeddings(embeddings, labels, whole_ranking=False).metrics
    assert {**found, 'mAP': expected['mAP']} == expected and 'mAP' not in found


def test_k_beyond_the_gallery_is_the_whole_gallery():
    embeddings, labels = data(10, 2)
    assert evaluate_embeddings(embeddings, labels, ks=(99,), whole_ranking=False).metrics['Recall@99'] == 1


def test_equal_images_are_not_taken_for_the_query():
    # three copies: each finds the other two, whatever the order in which FAISS returns equal ones
    embeddings = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    report = evaluate_embeddings(embeddings, np.repeat(np.arange(4), 3))
    assert set(report.metrics.values()) == {1.0}


def test_queries_of_which_only_some_are_in_the_gallery():
    embeddings, labels = data(30, 3)
    own = np.where(np.arange(30) < 10, np.arange(30), -1)
    gallery = slice(20)
    report = evaluate_embeddings(embeddings[gallery], labels[gallery], embeddings, labels, own_rows=own)
    first = evaluate_embeddings(
        embeddings[gallery], labels[gallery], embeddings[:10], labels[:10], own_rows=np.arange(10)
    )
    rest = evaluate_embeddings(embeddings[gallery], labels[gallery], embeddings[10:], labels[10:])
    for name, value in report.metrics.items():
        assert value == pytest.approx((10 * first.metrics[name] + 20 * rest.metrics[name]) / 30), name


def test_reports_are_json():
    embeddings, labels = data()
    report = evaluate_embeddings(embeddings, labels)
    read = json.loads(json.dumps(report.to_json()))
    assert read['metrics'] == report.metrics and read['classes'][0]['name'] == report.classes[0].name


# --- rankings


def test_a_ranking_gives_what_its_embeddings_give():
    embeddings, labels = data()
    own = np.arange(len(labels))
    expected = evaluate_embeddings(embeddings, labels)
    ranking = ranking_of(embeddings)
    assert evaluate_ranking(ranking, labels, labels, own_rows=own) == expected
    without_themselves = np.array([row[row != query] for query, row in enumerate(ranking)])
    assert evaluate_ranking(without_themselves, labels, labels, own_rows=own) == expected


def test_a_short_ranking_has_no_map():
    embeddings, labels = data()
    report = evaluate_ranking(ranking_of(embeddings)[:, :9], labels, labels, own_rows=np.arange(40))
    expected = evaluate_embeddings(embeddings, labels, whole_ranking=False)
    assert report == expected


def test_neighbours_that_are_missing_count_as_not_found():
    report = evaluate_ranking(np.array([[1, -1]]), ['a'], ['a', 'a'], ks=(1,), whole_ranking=True)
    assert report.metrics == {'Recall@1': 1, 'R-Precision': 0.5, 'MAP@R': 0.5, 'mAP': 0.5}


@pytest.mark.parametrize(
    'neighbors, message',
    [
        (np.zeros((4, 7), int), 'have 7 neighbors besides the query, but 8 are needed'),
        (np.zeros((3, 40), int), r'must be \(m, r\) for 4 queries'),
        (np.zeros((4, 40)), 'must be rows'),
        (np.full((4, 40), -2), 'must be rows'),
        (np.full((4, 40), 40), 'row 40, but the gallery ends at 39'),
    ],
)
def test_rankings_that_do_not_fit(neighbors, message):
    with pytest.raises(RetrievalError, match=message):
        evaluate_ranking(neighbors, np.arange(4), np.arange(40) % 5, ks=(1, 2))


# --- mistakes


def test_mistakes():
    embeddings, labels = data()
    broken = embeddings.copy()
    broken[7, 0] = np.inf
    for arguments, options, message in [
        ((broken, labels), {}, 'row 7 has NaN or infinity'),
        ((embeddings, labels[1:]), {}, 'there are 40 embeddings but 39 labels'),
        ((embeddings, labels, embeddings), {}, 'belong together'),
        ((embeddings, labels), dict(own_rows=labels), 'belong together'),
        ((embeddings, labels, embeddings[:2], labels[:2]), dict(own_rows=[0, 40]), 'own_rows must be rows'),
        ((embeddings, labels, embeddings[:2, :3], labels[:2]), {}, '8 columns and queries 3'),
        ((embeddings, labels), dict(metric='cos'), 'metric must be one of'),
        ((embeddings, labels), dict(ks=(0,)), 'must be at least 1'),
        ((embeddings, labels), dict(ks=()), 'must be at least 1'),
        ((embeddings, labels), dict(memory_limit=0), 'must be at least 1'),
        ((embeddings, labels.astype(float)), {}, 'must be integers or strings'),
        ((embeddings, labels[:, None]), {}, 'must be a vector'),
        ((embeddings, [1, 'a', None, 2] * 10), {}, 'strings, others numbers'),
        ((embeddings, ['a', 1, '1', 'a'] * 10), {}, 'strings, others numbers'),
        ((embeddings, [1.5, 'a', None, 2] * 10), {}, 'integers or strings, got 1.5'),
        ((embeddings, [True, False] * 20), {}, 'integers or strings, got True'),
        ((embeddings, labels), dict(class_names=('a', 'b')), 'names of 2 classes, but none of label 2'),
        ((embeddings, np.arange(40)), {}, 'no query has another image of its class'),
        ((embeddings, [None] * 40), {}, 'no query has another image of its class'),
        ((embeddings, labels, embeddings[:2], np.array([8, 9])), {}, 'no query has another image of its class'),
    ]:
        with pytest.raises(RetrievalError, match=message):
            evaluate_embeddings(*arguments, **options)


# --- memory

MEASURE = """
import resource, numpy as np
from retrieval.evaluation import evaluate_embeddings
gallery = np.random.default_rng(0).standard_normal(({rows}, 8)).astype(np.float32)
labels = np.arange({rows}) % 50
evaluate_embeddings(gallery[:1000], labels[:1000], gallery[:50], labels[:50])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
evaluate_embeddings(gallery, labels, gallery[:{queries}], labels[:{queries}], memory_limit={limit})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_bounded(root, tmp_path):
    rows, queries, limit = 30_000, 200, 16 << 20
    result = subprocess.run(
        [sys.executable, '-c', MEASURE.format(rows=rows, queries=queries, limit=limit)],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    grown = int(result.stdout) << 10
    embeddings = rows * 8 * 4 * 4  # unit length, in the index, and FAISS's own
    # All queries at once would need 12 bytes a neighbour for FAISS's result alone, 69 MiB, and several times that for
    # what is computed from it.
    assert grown < limit * 1.5 + embeddings < rows * queries * 12
