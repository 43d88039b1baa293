"""Labels, and reports as text."""

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.evaluation import evaluate_embeddings, format_report, unseen_classes
from retrieval.evaluation.labels import encode_labels


@pytest.fixture
def report():
    rng = np.random.default_rng(0)
    labels = [
        f'{number:03}.Very_long_name_of_a_bird_that_does_not_fit_into_a_line_of_eighty_{number}' for number in range(6)
    ]
    labels = labels * 4 + ['alone', 'single', 'one', 'solitary', None]
    return evaluate_embeddings(rng.standard_normal((len(labels), 4)).astype(np.float32), labels)


def test_a_report_fits_into_80_columns_and_says_what_does_not_count(report):
    text = format_report(report, num_classes=3)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert 'queries:   24 of 6 classes' in lines and 'gallery:   29' in lines
    place = lines.index('not counted: 4 with no other image of their class in the gallery:')
    assert lines[place + 1] == '  alone, one, single and 1 more'
    assert 'not counted: 1 queries without a label' in lines
    assert (
        f'MAP@R         {100 * report.metrics["MAP@R"]:>12.2f}  {100 * report.class_metrics["MAP@R"]:>12.2f}' in lines
    )


def test_the_worst_classes_are_listed_first(report):
    table = format_report(report, num_classes=4).split('\n\n')[-1].splitlines()
    assert len(table) == 5 and table[0].split() == ['class', 'queries', 'Recall@1', 'R-Precision', 'MAP@R', 'mAP']
    for line, scores in zip(table[1:], report.classes):
        name, size, *numbers = line.split()
        assert name.startswith(scores.name[:4]) and name.endswith(scores.name[-2:]) and size == '4'
        assert numbers[2] == f'{100 * scores.metrics["MAP@R"]:.2f}'
    assert len(format_report(report, num_classes=99).split('\n\n')[-1].splitlines()) == 7
    assert 'class  ' not in format_report(report)


def test_wide_characters_and_control_characters():
    rng = np.random.default_rng(0)
    labels = ['鳥' * 60, 'bird\x1b[31m\nred'] * 4
    text = format_report(evaluate_embeddings(rng.standard_normal((8, 4)).astype(np.float32), labels), num_classes=2)
    assert '\x1b' not in text
    (line,) = [line for line in text.splitlines() if '鳥' in line]
    assert len(line) + line.count('鳥') <= 80


def test_labels_of_both_kinds():
    codes = encode_labels(['b', None, 'c'], ['a', 'b', None, 'b'], own_rows=[1, 2, -1])
    assert codes.names == ['a', 'b', 'c']
    assert codes.queries.tolist() == [1, -1, 2] and codes.gallery.tolist() == [0, 1, -1, 1]
    assert codes.num_relevant().tolist() == [1, 0, 0]
    numbers = encode_labels(np.array([7, 5]), np.array([5, 5]), class_names=None)
    assert numbers.names == ['5', '7'] and numbers.num_relevant().tolist() == [0, 2]


def test_unseen_classes_are_the_second_half():
    labels = ['d', 'a', None, 'b', 'c', 'a', 'e']
    assert unseen_classes(labels) == ['c', 'd', 'e']
    assert unseen_classes(labels, 4) == ['e']
    for number in (0, 5):
        with pytest.raises(RetrievalError, match='choose another'):
            unseen_classes(labels, number)
