"""Galleries are evaluated by their own search: protocols, filters, spaces, re-ranking."""

from dataclasses import replace

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.evaluation import evaluate_embeddings, evaluate_gallery, evaluate_locations, format_report
from retrieval.gallery import Fingerprint, Record, create_gallery, open_gallery
from retrieval.whitening import Whitening

COUNT, CLASSES = 90, 6


def data(seed=0, count=COUNT, noise=1.5):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    spaces = {}
    for name, dimension in (('global', 8), ('crop', 5)):
        centres = np.random.default_rng(dimension).standard_normal((CLASSES, dimension))
        spaces[name] = (centres[labels] + noise * rng.standard_normal((count, dimension))).astype(np.float32)
    return spaces, labels


def records_of(labels):
    return [
        Record(
            path=f'{row}.jpg',
            label=f'bird {label}',
            split='query' if row % 4 == 0 else 'gallery',
            metadata=dict(family=f'family {label // 2}', year=2000 + row),
        )
        for row, label in enumerate(labels)
    ]


def build(location, seed=0, metric='cosine', **options):
    spaces, labels = data(seed)
    with create_gallery(location, {'global': 8, 'crop': 5}, metric=metric, preset='flat', **options) as gallery:
        gallery.add(spaces, records_of(labels), ids=10 + 3 * np.arange(COUNT))
    return location


@pytest.fixture(scope='module')
def location(tmp_path_factory):
    return build(tmp_path_factory.mktemp('evaluate') / 'gallery')


@pytest.fixture(scope='module')
def gallery(location):
    with open_gallery(location) as gallery:
        yield gallery


def assert_same(report, expected):
    assert report.metrics == pytest.approx(expected.metrics, abs=1e-9)
    assert report.class_metrics == pytest.approx(expected.class_metrics, abs=1e-9)
    assert (report.num_queries, report.num_gallery) == (expected.num_queries, expected.num_gallery)


def names(labels):
    return [f'bird {label}' for label in labels]


def test_each_image_among_all_others(gallery):
    spaces, labels = data()
    report = evaluate_gallery(gallery)
    assert_same(report, evaluate_embeddings(spaces['global'], names(labels)))
    assert report.classes == evaluate_embeddings(spaces['global'], names(labels)).classes
    assert report.settings['space'] == 'global'


@pytest.mark.parametrize('metric', ['ip', 'l2'])
def test_other_metrics(metric, tmp_path):
    spaces, labels = data()
    with open_gallery(build(tmp_path / 'gallery', metric=metric)) as gallery:
        report = evaluate_gallery(gallery, space='crop')
    assert_same(report, evaluate_embeddings(spaces['crop'], names(labels), metric=metric))


def test_queries_of_the_gallery_that_are_not_searched(gallery):
    spaces, labels = data()
    is_query = np.arange(COUNT) % 4 == 0
    report = evaluate_gallery(gallery, where=dict(split='gallery'), query_where=dict(split='query'))
    found = spaces['global']
    expected = evaluate_embeddings(found[~is_query], names(labels[~is_query]), found[is_query], names(labels[is_query]))
    assert_same(report, expected)
    assert report.settings['protocol'] == 'queries apart from the gallery'


def test_queries_that_are_part_of_what_is_searched(gallery):
    spaces, labels = data()
    is_query = np.arange(COUNT) % 4 == 0
    report = evaluate_gallery(gallery, query_where=dict(split='query'))
    found = spaces['global']
    own = np.flatnonzero(is_query)
    expected = evaluate_embeddings(found, names(labels), found[is_query], names(labels[is_query]), own_rows=own)
    assert_same(report, expected)


def test_queries_of_another_gallery(gallery, tmp_path):
    spaces, labels = data()
    others, other_labels = data(seed=5)
    with open_gallery(build(tmp_path / 'queries', seed=5)) as queries:
        report = evaluate_gallery(gallery, queries, query_where=dict(split='query'))
    kept = np.arange(COUNT) % 4 == 0
    expected = evaluate_embeddings(spaces['global'], names(labels), others['global'][kept], names(other_labels[kept]))
    assert_same(report, expected)


def test_a_filter_holds_for_queries_and_gallery(gallery):
    spaces, labels = data()
    kept = labels % 3 == 1
    report = evaluate_gallery(gallery, where=dict(label=['bird 1', 'bird 4']))
    assert_same(report, evaluate_embeddings(spaces['global'][kept], names(labels[kept])))


def test_another_column_has_the_classes(gallery):
    spaces, labels = data()
    report = evaluate_gallery(gallery, label='family')
    expected = evaluate_embeddings(spaces['global'], [f'family {label // 2}' for label in labels])
    assert_same(report, expected)
    assert report.settings['classes'] == 'column family'


def test_fused_spaces(gallery):
    spaces, labels = data()
    unit = {name: array / np.linalg.norm(array, axis=1, keepdims=True) for name, array in spaces.items()}
    fused = np.concatenate([unit['global'] * np.float32(0.3**0.5), unit['crop'] * np.float32(0.7**0.5)], axis=1)
    report = evaluate_gallery(gallery, space={'global': 0.3, 'crop': 0.7})
    assert_same(report, evaluate_embeddings(fused, names(labels)))
    assert report.settings['space'] == '0.3 global, 0.7 crop'


@pytest.mark.parametrize('memory_limit', [1, 1 << 30])
def test_depth_and_blocks_do_not_change_the_result(gallery, memory_limit):
    expected = evaluate_gallery(gallery, whole_ranking=False).metrics
    found = evaluate_gallery(gallery, memory_limit=memory_limit).metrics
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_queries_that_are_in_the_gallery_too_are_told(gallery, tmp_path):
    spaces, labels = data()
    hashes = [f'{row:064x}' for row in range(COUNT)]
    for name, rows in (('first', slice(60)), ('second', slice(50, None))):
        records = [replace(one, content_hash=key) for one, key in zip(records_of(labels), hashes)][rows]
        with create_gallery(tmp_path / name, {'global': 8}, preset='flat') as made:
            made.add(spaces['global'][rows], records)
    with open_gallery(tmp_path / 'first') as first, open_gallery(tmp_path / 'second') as second:
        report = evaluate_gallery(first, second)
        assert report.num_shared == 10
        assert 'warning: 10 queries are in the gallery too' in format_report(report)
        assert 'exclude-same' in format_report(report)
        assert evaluate_gallery(first, second, where=dict(year=('<', 2055))).num_shared == 5
        # Without these rows: the 10 queries among the gallery's other rows, as if each were the row itself.
        own = np.where(np.arange(50, COUNT) < 60, np.arange(50, COUNT), -1)
        expected = evaluate_embeddings(
            spaces['global'][:60], names(labels[:60]), spaces['global'][50:], names(labels[50:]), own_rows=own
        )
        without = evaluate_gallery(first, second, exclude_same=True)
        assert_same(without, expected)
        assert without.num_shared == 0 and 'without copies of the query' in without.settings['protocol']
    assert evaluate_gallery(gallery).num_shared == 0


def test_copies_of_an_image_are_neither_found_nor_relevant(tmp_path):
    spaces, labels = data()
    keys = np.arange(COUNT)
    keys[30:45] = keys[:15]  # copies, of other classes too
    spaces['global'][30:45] = spaces['global'][:15]
    labels[30:40] = labels[:10]
    records = [replace(one, content_hash=f'{key:064x}') for one, key in zip(records_of(labels), keys)]
    with create_gallery(tmp_path / 'copies', {'global': 8}, preset='flat') as made:
        made.add(spaces['global'], records)
        report = evaluate_gallery(made, exclude_same=True, ks=(1,))
    unit = spaces['global'] / np.linalg.norm(spaces['global'], axis=1, keepdims=True)
    similar = (unit @ unit.T).astype(np.float64)
    similar[keys[:, None] == keys] = -np.inf
    right, precisions = [], []
    for row in range(COUNT):
        relevant = (labels == labels[row]) & (keys != keys[row])
        ranking = np.argsort(-similar[row], kind='stable')
        right.append(relevant[ranking[0]])
        precisions.append(relevant[ranking[: relevant.sum()]].mean())
    assert report.metrics['Recall@1'] == pytest.approx(np.mean(right))
    assert report.metrics['R-Precision'] == pytest.approx(np.mean(precisions))
    assert report.metrics['Recall@1'] < 1


def test_an_approximate_index_counts_with_what_it_misses(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 200  # one relevant image each: every neighbour that is missed counts
    embeddings = (rng.standard_normal((200, 8))[labels] + 0.3 * rng.standard_normal((400, 8))).astype(np.float32)
    with create_gallery(tmp_path / 'gallery', {'global': 8}, preset='IVF16,Flat') as gallery:
        gallery.add(embeddings, [Record(label=str(label)) for label in labels])
        gallery.compact()
        exact = evaluate_gallery(gallery, parameters=dict(nprobe=16))
        quick = evaluate_gallery(gallery, parameters=dict(nprobe=1))
    assert_same(exact, evaluate_embeddings(embeddings, [str(label) for label in labels]))
    for name in ('Recall@1', 'Recall@8', 'MAP@R'):
        assert quick.metrics[name] < exact.metrics[name], name


# --- re-ranking


@pytest.mark.parametrize('method', ['k-reciprocal', 'query-expansion'])
def test_re_ranking_does_not_learn_from_the_query_in_the_gallery(method, tmp_path):
    """As in a gallery without the query: each query is removed, searched for and re-ranked there."""
    spaces, labels = data()
    with create_gallery(tmp_path / 'gallery', {'global': 8}, preset='flat') as gallery:
        gallery.add(spaces['global'][:36], records_of(labels[:36]))
        together = evaluate_gallery(gallery, method=method, depth=12)
        alone = []
        for row in range(36):
            (own,) = gallery.ids(dict(path=f'{row}.jpg'))
            with create_gallery(tmp_path / f'{row}', {'global': 8}, preset='flat') as query:
                query.add(gallery.vectors([own]), gallery.records([own]))
                others = dict(year=('!=', 2000 + row))
                alone.append(evaluate_gallery(gallery, query, where=others, method=method, depth=12).metrics)
    for name, value in together.metrics.items():
        assert value == pytest.approx(np.mean([metrics[name] for metrics in alone]), abs=1e-9), name
    assert together.settings['re-rank'].startswith(f'{method} of the first 12')


def test_re_ranking_changes_the_first_hits_only(gallery):
    plain = evaluate_gallery(gallery)
    options = dict(search_again=False, num_neighbors=2)
    ranked = evaluate_gallery(gallery, method='query-expansion', depth=8, method_options=options)
    assert ranked.metrics['Recall@8'] == plain.metrics['Recall@8'] and ranked.metrics['MAP@R'] != plain.metrics['MAP@R']


def test_regions_take_the_patches_of_the_queries(tmp_path):
    spaces, labels = data()
    patches = np.random.default_rng(0).standard_normal((COUNT, 2, CLASSES)).astype(np.float16)
    patches += 4 * np.eye(CLASSES, dtype=np.float16)[labels][:, None]  # patches know more than embeddings here
    with create_gallery(tmp_path / 'gallery', {'global': 8}, preset='flat') as gallery:
        gallery.add(spaces['global'], records_of(labels), patches=patches)
        ranked = evaluate_gallery(gallery, method='region', depth=COUNT, method_options=dict(weight=1.0))
        plain = evaluate_gallery(gallery)
    assert ranked.metrics['MAP@R'] > 0.8 > plain.metrics['MAP@R']
    assert ranked.settings['re-rank'] == f'region of the first {COUNT}, weight=1.0'


# --- locations


def test_unseen_classes(location):
    spaces, labels = data()
    for number, first in ((-1, 3), (4, 4)):
        kept = labels >= first
        report = evaluate_locations(location, unseen=number)
        assert_same(report, evaluate_embeddings(spaces['global'][kept], names(labels[kept])))
    kept &= np.arange(COUNT) < 50
    report = evaluate_locations(location, unseen=4, where=dict(year=('<', 2050)))
    assert_same(report, evaluate_embeddings(spaces['global'][kept], names(labels[kept])))


def test_the_same_location_twice_is_the_gallery_itself(location):
    assert evaluate_locations(location, location).metrics == evaluate_locations(location).metrics


# --- mistakes


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(label='genus'), "no column 'genus'; the columns are .*family"),
        (dict(space='crops'), "no space 'crops'; it has global, crop"),
        (dict(space={'global': 1, 'crop': 1}, query_space='crop'), 'single space'),
        (dict(where=dict(label='dodo')), 'gallery: no image is left'),
        (dict(query_where=dict(label='dodo')), 'queries: no image is left'),
        (dict(where=dict(label='bird 1'), query_where=dict(label='bird 2')), 'no query has another image'),
        (dict(where=dict(genus='x')), 'genus'),
        (dict(method='magic'), 'method must be one of'),
        (dict(method='region'), 'patches'),
    ],
)
def test_mistakes(gallery, options, message):
    with pytest.raises(RetrievalError, match=message):
        evaluate_gallery(gallery, **options)


def test_an_empty_gallery(tmp_path):
    with create_gallery(tmp_path / 'empty', 8) as gallery, pytest.raises(RetrievalError, match='no image is left'):
        evaluate_gallery(gallery)


def test_queries_of_another_model(gallery, tmp_path):
    prints = [Fingerprint(weights=name * 64, config='c' * 64, pipeline='p' * 64) for name in 'ab']
    locations = [build(tmp_path / one.weights[:1], fingerprint=one) for one in prints]
    with open_gallery(locations[0]) as first, open_gallery(locations[1]) as second:
        with pytest.raises(RetrievalError, match='different models'):
            evaluate_gallery(first, second)
        evaluate_gallery(gallery, second)  # made by nobody knows what


def test_whitened_embeddings(tmp_path):
    spaces, labels = data()
    for dimension in (4, 8):
        transform = Whitening.fit(spaces['global'], dimension)
        folder = tmp_path / f'{dimension}'
        with create_gallery(folder, {'global': dimension}, preset='flat', transforms={'global': transform}) as gallery:
            gallery.add(spaces['global'], records_of(labels))
            report = evaluate_gallery(gallery)
        expected = evaluate_embeddings(transform.apply(spaces['global']), names(labels))
        assert report.metrics == pytest.approx(expected.metrics, abs=1e-6), dimension
