"""Metrics learned from labels: when they are kept, and galleries that have one."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from retrieval.answers import describe_gallery, format_description
from retrieval.class_metric import describe_metrics, fit_metric, learn_metric, remove_metric
from retrieval.errors import RetrievalError
from retrieval.evaluation.gallery_evaluation import evaluate_gallery
from retrieval.gallery import Fingerprint, Record, back_up_gallery, create_gallery, open_gallery
from retrieval.held_out import LEVEL, Labeled, sign_flip
from retrieval.migration import migrate
from retrieval.whitening import Whitening

DIMENSION = 12
MODEL = Fingerprint('a' * 64, 'b' * 64, 'c' * 64, 'model A')


def photos(classes=8, each=12, noise=4.0, seed=0, first=0):
    """Classes that differ in all directions, whose photos vary ``noise`` times as much in a third of them."""
    rng = np.random.default_rng(seed)
    centers = np.repeat(rng.standard_normal((classes, DIMENSION)), each, axis=0)
    spread = np.where(np.arange(DIMENSION) < DIMENSION // 3, noise, 0.7)
    rows = centers + rng.standard_normal(centers.shape) * spread
    return Labeled(rows.astype(np.float32), [f'class {first + number // each}' for number in range(len(rows))])


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_gallery(place, labeled, **options):
    gallery = create_gallery(place, {'global': DIMENSION, 'crop': 3}, fingerprint=MODEL, **options)
    crops = np.random.default_rng(9).standard_normal((len(labeled.rows), 3)).astype(np.float32)
    gallery.add({'global': labeled.rows, 'crop': crops}, [Record(label=one) for one in labeled.labels])
    return gallery


@pytest.mark.parametrize('metric,seed', product(['cosine', 'l2'], range(3)))
def test_noise_that_is_not_the_same_in_every_direction_is_learned(metric, seed):
    labeled = photos(seed=seed)
    found = learn_metric(labeled, ['global'], metric=metric)
    assert found.gains and found.trial.classes == 8
    assert found.trial.after['MAP@R'] > found.trial.before['MAP@R'] + 0.1
    assert (found.space, found.transform.source, found.rows, found.classes) == ('global-metric', 'global', 96, 8)
    noisy = np.abs(found.transform.matrix).sum(axis=0)[: DIMENSION // 3]
    assert noisy.max() < np.abs(found.transform.matrix).sum(axis=0)[DIMENSION // 3 :].min()


def test_labels_at_random_are_refused_as_often_as_the_level_says():
    """Of 12 sets whose labels mean nothing, 5 % may pass by chance."""
    kept = 0
    for seed in range(12):
        rows = photos(6, 4, seed=seed).rows
        labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(6).astype(str), 4)).tolist()
        kept += learn_metric(Labeled(rows, labels), ['global']).gains
    assert kept <= 1


def test_a_metric_of_another_domain_is_tested_on_all_classes_of_the_gallery():
    birds, fruit = photos(), photos(seed=1, first=100)
    same_noise = learn_metric(fruit, ['global'], learn_from=birds)
    assert same_noise.gains and same_noise.trial.classes == 8 and not same_noise.foreign
    turned = Labeled(fruit.rows[:, ::-1].copy(), fruit.labels)  # noise where birds have none
    harmful = learn_metric(turned, ['global'], learn_from=birds)
    assert not harmful.gains and harmful.trial.after['MAP@R'] < harmful.trial.before['MAP@R']
    assert 'It is not kept, because held-out classes do not gain for certain' in harmful.describe()
    bare = learn_metric(Labeled(turned.rows, [None] * len(turned.rows)), ['global'], learn_from=birds)
    assert bare.foreign and bare.gains and 'this one has too few labels for a test' in bare.describe()


def test_classes_that_were_learned_from_are_not_tested_on():
    """Where classes of both are the same, halves are held out: a metric that knows its classes by heart is refused."""
    rng = np.random.default_rng(0)
    labels = [f'class {number // 3}' for number in range(30)]
    rows = rng.standard_normal((30, 40)).astype(np.float32)
    known = learn_metric(Labeled(rows, labels), ['global'], learn_from=Labeled(rows, labels))
    report = Whitening.fit_classes(rows, labels, 0.1).apply(rows)
    similarity = unit(report) @ unit(report).T - 2 * np.eye(30)
    assert np.mean([labels[one] == labels[other] for one, other in enumerate(similarity.argmax(1))]) > 0.9
    assert known.trial.classes == 10 and not known.gains


@pytest.mark.parametrize('classes,testable', [(2, False), (4, False), (5, True)])
def test_few_classes_cannot_be_tested(tmp_path, classes, testable):
    with make_gallery(tmp_path / 'gallery', photos(classes, 20, noise=8)) as gallery:
        found = fit_metric(gallery)
        assert (found.trial is not None) == testable == found.kept
        if not testable:
            assert 'testing it takes 5 classes or more' in found.describe()
            assert 'global-metric' not in gallery.manifest.spaces
            assert fit_metric(gallery, force=True).kept and 'you insist' not in found.describe()
        assert list(gallery.manifest.spaces) == ['global-metric', 'global', 'crop']


def test_what_is_left_out_is_counted():
    labeled = photos(6, 5)
    labels = [*labeled.labels, None, None, 'alone']
    rows = np.concatenate([labeled.rows, photos(3, 1, seed=5).rows])
    found = learn_metric(Labeled(rows, labels), ['global'])
    assert (found.rows, found.classes, found.unlabeled, found.lone) == (30, 6, 2, 1)
    assert '2 rows without a label and 1 classes of one row left out' in found.describe()


def test_sign_flips_are_those_of_scipy():
    assert sign_flip(np.ones(3)) == 1 / 8 and sign_flip(-np.ones(3)) == 1
    for count in (5, 9, 30):
        differences = np.random.default_rng(count).standard_normal(count) + 0.3
        expected = stats.permutation_test(
            (differences,), np.mean, permutation_type='samples', alternative='greater', n_resamples=9_999, rng=1
        ).pvalue
        assert sign_flip(differences) == pytest.approx(expected, abs=1e-9 if count < 13 else 0.02)
    assert sign_flip(np.ones(4)) > LEVEL > sign_flip(np.ones(5))


@pytest.mark.parametrize('metric', ['cosine', 'l2', 'ip'])
def test_a_gallery_with_a_metric(tmp_path, metric):
    labeled, queries = photos(), photos(seed=3).rows[:7]
    with (
        make_gallery(tmp_path / 'gallery', labeled, metric=metric) as gallery,
        open_gallery(tmp_path / 'gallery') as reader,
    ):
        ids = gallery.ids()
        gallery.remove([5])
        transform = fit_metric(gallery, force=True).transform
        assert gallery.manifest.input_dimensions == {'global': DIMENSION, 'global-metric': DIMENSION, 'crop': 3}
        new = photos(1, 2, seed=7, first=50).rows
        more = gallery.add({'global': new, 'crop': np.ones((2, 3), np.float32)}, [Record(label='new')] * 2)
        gallery.update([8], {'global': new[:1]})
        with pytest.raises(
            RetrievalError, match='global-metric is computed from global: give embeddings of that alone'
        ):
            gallery.update([8], {'global-metric': new[:1]})
        with pytest.raises(RetrievalError, match='embeddings of crop are missing'):
            gallery.add({'global': new})
        assert 'global-metric' not in reader.manifest.spaces
        reader.refresh()
        rows = np.concatenate([labeled.rows, new])
        rows[8] = new[0]
        kept = np.setdiff1d([*ids, *more], [5])
        given = unit(rows) if metric == 'cosine' else rows
        stored = given @ transform.matrix.T + transform.bias
        wanted = (unit(queries) if metric == 'cosine' else queries) @ transform.matrix.T + transform.bias
        if metric == 'cosine':
            stored, wanted = unit(stored), unit(wanted)
        scores = wanted @ stored[kept].T
        if metric == 'l2':
            scores = -((wanted[:, None] - stored[kept]) ** 2).sum(axis=2)
        expected = kept[np.argsort(-scores, axis=1)[:, :4]]
        for one in (gallery, reader):
            np.testing.assert_allclose(one.vectors(kept, 'global-metric'), stored[kept], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(one.vectors(kept, 'global'), given[kept], rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(one.search(queries, 4).ids, expected)
            np.testing.assert_array_equal(one.search({'global': queries}, 4).ids, expected)
            np.testing.assert_array_equal(one.search(one.transform(queries), 4, transformed=True).ids, expected)
            assert (one.search(queries, 4, space='global').ids != expected).any()
            both = one.search({'global': queries}, 4, space={'global': 1.0, 'global-metric': 1.0})
            assert both.ids.shape == (7, 4)
        assert one.range_search(queries[:1], 1e9 if metric == 'l2' else -1e9).ids.shape == (len(kept),)


def test_a_metric_is_replaced_and_removed(tmp_path):
    place = tmp_path / 'gallery'
    with make_gallery(place, photos(), preset='flat') as gallery:
        first = fit_metric(gallery)
        gallery.set_labels(range(12), None)
        second = fit_metric(gallery, 'global-metric')
        assert first.transform.fingerprint != second.transform.fingerprint and second.unlabeled == 12
        assert gallery.transforms['global-metric'].fingerprint == second.transform.fingerprint
        assert list(gallery.manifest.spaces) == ['global-metric', 'global', 'crop']
        assert second.describe().splitlines()[0] in describe_metrics(gallery)
        assert second.transform.fingerprint[:12] in describe_metrics(gallery)
        gallery.verify()
    described = format_description(describe_gallery(place))
    assert 'global-metric (12, learned from labels, of global), global (12), crop (3)' in described
    back_up_gallery(place, tmp_path / 'backup')
    with open_gallery(place, writable=True) as gallery:
        with pytest.raises(RetrievalError, match='has no such metric: name the space of one of global-metric'):
            remove_metric(gallery, 'crop')
        with pytest.raises(RetrievalError, match='global holds what the model gives and stays'):
            gallery.remove_space('global')
        assert remove_metric(gallery, 'global') == 'global-metric'
        assert gallery.transforms == {} and gallery.manifest.spaces == {'global': DIMENSION, 'crop': 3}
        assert 'has no learned metric' in describe_metrics(gallery)
        with pytest.raises(RetrievalError, match='has no learned metric'):
            remove_metric(gallery)
        gallery.verify()
    with open_gallery(place) as gallery, open_gallery(tmp_path / 'backup') as backup:
        assert gallery.search({'global': photos().rows[:3]}, 1).ids[:, 0].tolist() == [0, 1, 2]
        assert backup.transforms['global-metric'].fingerprint == second.transform.fingerprint


def test_a_space_that_is_whitened_already(tmp_path):
    labeled = photos()
    whitening = Whitening.fit(labeled.rows, 6)
    with create_gallery(tmp_path / 'gallery', {'global': 6}, transforms={'global': whitening}) as gallery:
        gallery.add(labeled.rows, [Record(label=one) for one in labeled.labels])
        metric = fit_metric(gallery, force=True).transform
        assert gallery.manifest.input_dimensions == {'global': 12, 'global-metric': 12}
        gallery.add(labeled.rows[:2])
        expected = unit(metric.apply(unit(whitening.apply(labeled.rows))))
        np.testing.assert_allclose(gallery.vectors(range(96)), expected, atol=1e-5)
        np.testing.assert_allclose(gallery.vectors([96, 97]), expected[:2], atol=1e-5)
        assert gallery.search(labeled.rows[8:9], 1).ids.tolist() == [[8]]


def test_queries_of_another_gallery_are_mapped_or_refused(tmp_path):
    labeled, others = photos(), photos(seed=1)
    make_gallery(tmp_path / 'queries', others).close()
    with make_gallery(tmp_path / 'gallery', labeled) as gallery:
        metric = fit_metric(gallery).transform
        with open_gallery(tmp_path / 'queries', writable=True) as queries:
            mapped = evaluate_gallery(gallery, queries).metrics
            assert evaluate_gallery(gallery, queries, query_space='global').metrics == mapped
            assert fit_metric(queries).transform.fingerprint != metric.fingerprint
            assert evaluate_gallery(gallery, queries).metrics == mapped  # by the metric of what is searched
            queries.put_space('global-metric', metric)
            assert evaluate_gallery(gallery, queries).metrics == mapped
    whitened = {'global': Whitening.fit(labeled.rows, DIMENSION)}
    with create_gallery(tmp_path / 'white', {'global': DIMENSION}, transforms=whitened) as white:
        white.add(labeled.rows, [Record(label=one) for one in labeled.labels])
        with open_gallery(tmp_path / 'queries') as queries:
            with pytest.raises(RetrievalError, match='does not keep global in the form of the gallery'):
                evaluate_gallery(white, queries)


def test_labels_of_another_gallery(tmp_path):
    birds, fruit = photos(), photos(seed=1, first=100)
    make_gallery(tmp_path / 'birds', birds).close()
    with make_gallery(tmp_path / 'fruit', fruit) as gallery, open_gallery(tmp_path / 'birds') as other:
        found = fit_metric(gallery, labels_from=other)
        assert found.kept and f'8 classes of {tmp_path / "birds"}' in found.describe()
        assert gallery.transforms['global-metric'].notes['learned_from'] == str(tmp_path / 'birds')
        np.testing.assert_allclose(found.transform.apply(fruit.rows).mean(axis=0), 0, atol=1e-5)
    stranger = Fingerprint('f' * 64, 'b' * 64, 'c' * 64)
    with create_gallery(tmp_path / 'stranger', {'global': DIMENSION}, fingerprint=stranger) as gallery:
        gallery.add(fruit.rows)
        with open_gallery(tmp_path / 'birds') as other:
            with pytest.raises(RetrievalError, match='made by different models'):
                fit_metric(gallery, labels_from=other)
        with pytest.raises(RetrievalError, match='two classes of two photos or more, there are 0'):
            fit_metric(gallery)
    with create_gallery(tmp_path / 'l2', {'global': DIMENSION}, metric='l2') as gallery:
        with pytest.raises(RetrievalError, match='is empty: add photos with labels'):
            fit_metric(gallery)
        gallery.add(fruit.rows)
        with open_gallery(tmp_path / 'birds') as other:
            with pytest.raises(RetrievalError, match='keeps global in another form'):
                fit_metric(gallery, labels_from=other)


def test_spaces_that_cannot_be(tmp_path):
    metric = Whitening.fit_classes(*photos())
    for source, spaces, message in [
        ('no', {'a-metric': 12, 'a': 12}, "has no space 'no'"),
        ('a-metric', {'a-metric': 12, 'a': 12}, "has no space 'a-metric'"),
        ('a', {'a-metric': 12, 'a': 9}, 'takes embeddings of dimension 12, a has 9'),
    ]:
        metric.source = source
        with pytest.raises(RetrievalError, match=message):
            create_gallery(tmp_path / 'gallery', spaces, transforms={'a-metric': metric})


def test_shards_with_other_metrics_do_not_belong_together(tmp_path):
    with make_gallery(tmp_path / 'one', photos()) as one, make_gallery(tmp_path / 'other', photos()) as other:
        fit_metric(one)
        migrate(tmp_path / 'one', tmp_path / 'copy')
        other.set_labels([0, 1], None)
        fit_metric(other)
        with pytest.raises(RetrievalError, match='its whitening or learned metric differs'):
            migrate(tmp_path / 'other', tmp_path / 'copy')


@pytest.mark.parametrize('metric', ['cosine', 'ip'])
def test_a_space_of_several_views(tmp_path, metric):
    """The sum of unit vectors, and a metric of it: what is added, updated and searched follows."""
    labeled, rng = photos(), np.random.default_rng(4)
    crops = labeled.rows[:, ::-1] * 3 + rng.standard_normal(labeled.rows.shape).astype(np.float32)
    given = {'global': labeled.rows, 'crop': crops}
    with create_gallery(tmp_path / 'gallery', dict.fromkeys(given, DIMENSION), metric=metric) as gallery:
        gallery.add(given, [Record(label=one) for one in labeled.labels])
        assert fit_metric(gallery, 'global+crop', kind='sum').kept
        learned = fit_metric(gallery, 'fused', force=True)
        assert (learned.space, learned.transform.source) == ('fused-metric', 'global+crop')
        assert list(gallery.manifest.spaces) == ['fused-metric', 'fused', 'global', 'crop']
        assert fit_metric(gallery, force=True).transform.source == 'global+crop'  # that of what searches compare
        new = {name: array[:3] for name, array in given.items()}
        gallery.add(new)
        gallery.update([7], {name: array[5:6] for name, array in given.items()})
        fused = unit(labeled.rows) + unit(crops)
        fused[7] = fused[5]
        fused = np.concatenate([fused, fused[:3]])
        whole = learned.transform.apply(fused)
        if metric == 'cosine':
            fused, whole = unit(fused), unit(whole)
        np.testing.assert_allclose(gallery.vectors(range(99), 'fused'), fused, atol=1e-5)
        np.testing.assert_allclose(gallery.vectors(range(99)), whole, atol=1e-4)
        hits = gallery.search(new, 2)
        np.testing.assert_allclose(hits.scores, gallery.search(whole[:3], 2, transformed=True).scores, atol=1e-4)
        with pytest.raises(RetrievalError, match='fused-metric is the sum of global, crop: give embeddings of each'):
            gallery.search(labeled.rows[:1])
        with pytest.raises(RetrievalError, match="no queries for the space 'crop', only for global"):
            gallery.search({'global': labeled.rows[:1]})
        with pytest.raises(RetrievalError, match='is computed from global and crop: give embeddings of all of them'):
            gallery.update([7], {'global': labeled.rows[:1]})
        own = evaluate_gallery(gallery).metrics
        with create_gallery(tmp_path / 'bare', dict.fromkeys(given, DIMENSION), metric=metric) as bare:
            bare.add(given, [Record(label=one) for one in labeled.labels])
            assert evaluate_gallery(gallery, bare).num_queries == 96 and own
        gallery.prefer_space('crop')
        assert next(iter(gallery.manifest.spaces)) == 'crop' and remove_metric(gallery, 'fused') == 'fused'
        gallery.verify()


@pytest.mark.parametrize(
    'space,kind,message',
    [
        ('global+global', 'sum', 'adds up an embedding twice'),
        ('global', 'sum', 'global alone is no sum'),
        ('global+crop', 'sum', 'only embeddings of one dimension can be added up, these have global 12, crop 3'),
        ('global+no', 'sum', "has no space 'no'"),
        ('global', 'clases', "no kind of metric 'clases'; did you mean classes?"),
    ],
)
def test_sums_that_cannot_be(tmp_path, space, kind, message):
    with make_gallery(tmp_path / 'gallery', photos()) as gallery:
        with pytest.raises(RetrievalError, match=message):
            fit_metric(gallery, space, kind=kind)
        assert list(gallery.manifest.spaces) == ['global', 'crop']


def test_pca_is_kept_without_a_test_that_it_passes(tmp_path):
    with make_gallery(tmp_path / 'gallery', photos()) as gallery:
        found = fit_metric(gallery, kind='pca')
        assert found.kept and found.space == 'global-pca' and 'you insist' not in found.describe()
        assert 'PCA whitening to 64 dimensions; 96 rows.' in describe_metrics(gallery)
