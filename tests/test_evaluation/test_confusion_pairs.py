import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmpretrain.evaluation import ConfusionMatrix
from mmpretrain.registry import METRICS

from glsim_mm.errors import GLSimError
from glsim_mm.evaluation import ConfusedPair, confusion_pairs, format_pairs


def test_most_frequent_first():
    #                  two of three 0s are 1, one 2 is 0, all of 3 is 0
    pairs = confusion_pairs([1, 1, 0, 0, 2, 0], [0, 0, 0, 2, 2, 3])
    assert pairs == [
        ConfusedPair(0, 1, 2, pytest.approx(200 / 3)),
        ConfusedPair(3, 0, 1, 100),
        ConfusedPair(2, 0, 1, 50),
    ]
    assert confusion_pairs([1, 1, 0, 0, 2, 0], [0, 0, 0, 2, 2, 3], top=1) == pairs[:1]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4))))
def test_all_pairs_are_the_confusion_matrix(images):
    predictions, labels = [a for a, _ in images], [b for _, b in images]
    found = np.zeros((5, 5), int)
    for pair in confusion_pairs(predictions, labels, top=None):
        found[pair.label, pair.prediction] = pair.images
    if not images:
        assert not found.any()
        return
    expected = ConfusionMatrix.calculate(torch.tensor(predictions), torch.tensor(labels), num_classes=5).numpy()
    np.fill_diagonal(expected, 0)
    assert (found == expected).all()


def test_vectors_of_different_length():
    with pytest.raises(ValueError):
        confusion_pairs([1], [1, 2])


def test_table_fits_80_columns():
    classes = ['Wren', 'Great ' * 20 + 'crested grebe', 'シジュウカラ']
    table = format_pairs([ConfusedPair(0, 1, 12345, 99.96), ConfusedPair(1, 2, 7, 0.5)], classes)
    lines = table.splitlines()
    widths = {sum(2 if unicodedata.east_asian_width(character) == 'W' else 1 for character in line) for line in lines}
    assert len(widths) == 1 and max(widths) <= 80
    assert lines[0].split() == ['true', 'class', 'taken', 'for', 'images', '%', 'of', 'class']
    assert lines[1].split()[-2:] == ['12345', '100.0'] and '…' in lines[1]
    assert 'class 4' in format_pairs([ConfusedPair(4, 0, 1, 50)])


def test_long_names_stay_distinct():
    classes = [f'Chevrolet Silverado 1500 {kind} Cab 2012' for kind in ('Extended', 'Regular')]
    row = format_pairs([ConfusedPair(0, 1, 3, 50)], classes).splitlines()[1]
    assert row.count('Chevrolet') == 2 and 'ended Cab 2012' in row and 'gular Cab 2012' in row


def test_names_cannot_break_lines():
    assert len(format_pairs([ConfusedPair(0, 1, 3, 50)], ['two\nlines', 'a\x1b[31mred']).splitlines()) == 2
    assert '\x1b' not in format_pairs([ConfusedPair(0, 1, 3, 50)], ['two\nlines', 'a\x1b[31mred'])


def test_number_of_pairs_must_be_positive():
    with pytest.raises(GLSimError, match='top must be positive'):
        METRICS.build(dict(type='mmpretrain.ConfusionPairs', top=0))


def test_metric_keeps_pairs_and_images():
    metric = METRICS.build(dict(type='mmpretrain.ConfusionPairs', top=1))
    for index, (scores, label) in enumerate([([0.9, 0.1], 1), ([0.8, 0.2], 1), ([0.3, 0.7], 0), ([0.6, 0.4], 0)]):
        sample = dict(pred_score=torch.tensor(scores), gt_label=torch.tensor([label]), sample_idx=index)
        metric.process(None, [sample])
    assert metric.evaluate(4)['confusion/top_pairs_share'] == pytest.approx(200 / 3)
    assert metric.pairs == [ConfusedPair(1, 0, 2, 100)]
    assert [(image.prediction, image.label, image.position) for image in metric.images][:2] == [(0, 1, 0), (0, 1, 1)]
    assert metric.images[2].score == pytest.approx(0.7)


def test_no_mistake():
    metric = METRICS.build(dict(type='mmpretrain.ConfusionPairs'))
    metric.process(None, [dict(pred_label=torch.tensor([1]), gt_label=torch.tensor([1]))])
    assert metric.evaluate(1) == {'confusion/top_pairs_share': 0}
    assert metric.pairs == []
