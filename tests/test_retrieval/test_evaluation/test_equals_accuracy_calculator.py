"""The numbers of pytorch-metric-learning's AccuracyCalculator, on random and on real data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from retrieval.evaluation import evaluate_embeddings

NAMES = {
    'Recall@1': 'precision_at_1',
    'R-Precision': 'r_precision',
    'MAP@R': 'mean_average_precision_at_r',
    'mAP': 'mean_average_precision',
}


def assert_equal_to_theirs(report, *data):
    for averages, by_class in ((report.metrics, False), (report.class_metrics, True)):
        calculator = AccuracyCalculator(include=tuple(NAMES.values()), avg_of_avgs=by_class, device=torch.device('cpu'))
        theirs = calculator.get_accuracy(*data)
        for ours, name in NAMES.items():
            assert averages[ours] == pytest.approx(theirs[name], abs=1e-6), ours


def unit(array):
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def random_data(seed, count, classes, dimension=8):
    """Embeddings around a centre for each class, some classes of one image, at least one of two.

    The same seed gives the same data; of several draws the first without ties counts, for equal distances may be
    ranked either way.
    """
    for draw in range(100):
        rng = np.random.default_rng((seed, draw))
        labels = rng.integers(0, classes, count)
        labels[0] = labels[-1]
        centres = rng.standard_normal((classes, dimension))
        embeddings = unit(centres[labels] + rng.standard_normal((count, dimension))).astype(np.float32)
        if has_no_ties(embeddings, embeddings):
            return embeddings, labels
    raise AssertionError('every draw has ties')


def has_no_ties(queries, gallery):
    distances = np.sort(((queries[:, None].astype(float) - gallery[None]) ** 2).sum(axis=2), axis=1)
    return np.diff(distances, axis=1).min() > 1e-5


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.integers(1, 8))
def test_each_image_among_all_others(seed, count, classes):
    embeddings, labels = random_data(seed, count, classes)
    assert_equal_to_theirs(evaluate_embeddings(embeddings, labels), embeddings, labels)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.integers(1, 20), st.integers(1, 8))
def test_queries_apart_from_the_gallery(seed, count, num_queries, classes):
    embeddings, labels = random_data(seed, count + num_queries, classes)
    queries, gallery = slice(num_queries), slice(num_queries, None)
    data = embeddings[queries], labels[queries], embeddings[gallery], labels[gallery]
    assert_equal_to_theirs(evaluate_embeddings(data[2], data[3], data[0], data[1]), *data)


def test_a_gallery_that_includes_the_queries():
    embeddings, labels = random_data(seed=3, count=60, classes=6)
    report = evaluate_embeddings(embeddings, labels, embeddings[:20], labels[:20], own_rows=np.arange(20))
    assert_equal_to_theirs(report, embeddings[:20], labels[:20], embeddings, labels, True)


def test_euclidean_distance():
    embeddings, labels = random_data(seed=4, count=60, classes=6)
    embeddings *= np.random.default_rng(4).uniform(0.5, 2, (60, 1)).astype(np.float32)
    by_distance = evaluate_embeddings(embeddings, labels, metric='l2')
    assert_equal_to_theirs(by_distance, embeddings, labels)
    assert by_distance.metrics != evaluate_embeddings(embeddings, labels).metrics


def colours(path):
    """Histogram of a photo's colours, 4 x 4 x 4 bins of a 16 x 16 copy with its position: cheap and no two alike."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert('RGB').resize((16, 16)), np.float32)
    bins = (pixels // 64).astype(int) @ [16, 4, 1]
    histogram = np.bincount(bins.ravel(), minlength=64) / bins.size
    return np.concatenate([histogram, pixels.mean(axis=(0, 1)) / 2550, pixels.std(axis=(0, 1)) / 2550])


@pytest.fixture(scope='module')
def photos(shared_root):
    root = shared_root / 'data' / 'cub50'
    paths = [line.split()[1] for line in (root / 'images.txt').read_text().splitlines()]
    labels = np.array([int(path.split('.')[0]) for path in paths])
    kept = np.flatnonzero(labels > 40)
    return np.stack([colours(root / 'images' / paths[row]) for row in kept]).astype(np.float32), labels[kept]


def test_photos_of_birds(photos):
    embeddings, labels = photos
    assert len(embeddings) > 500
    report = evaluate_embeddings(embeddings, labels)
    assert_equal_to_theirs(report, unit(embeddings), labels)
    assert 0.1 < report.metrics['Recall@1'] < 0.9


def test_photos_of_birds_with_queries_of_their_own(photos):
    embeddings, labels = photos
    queries = np.random.default_rng(0).permutation(len(labels)) < 100
    report = evaluate_embeddings(embeddings[~queries], labels[~queries], embeddings[queries], labels[queries])
    data = unit(embeddings[queries]), labels[queries], unit(embeddings[~queries]), labels[~queries]
    assert_equal_to_theirs(report, *data)
