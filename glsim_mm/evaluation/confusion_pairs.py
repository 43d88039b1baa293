"""Which classes a classifier takes for which others."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from ..errors import GLSimError
from .class_metrics import equally_long, read_prediction


class ConfusedPair(NamedTuple):
    """How many images of a class were taken for another, and their share of the true class's images, percent.

    Example::

        confusion_pairs([1, 1, 0], [0, 0, 0])[0]  # ConfusedPair(label=0, prediction=1, images=2, share=66.7)
    """

    label: int
    prediction: int
    images: int
    share: float


class ImageResult(NamedTuple):
    """Predicted and true class of an image, the probability of the former, and where in the data set the image is.

    The position is -1 where the pipeline does not keep it.

    Example::

        evaluator.metrics[1].images[0].score  # of ConfusionPairs, after a test
    """

    prediction: int
    label: int
    score: float
    position: int


def confusion_pairs(predictions: Sequence[int], labels: Sequence[int], top: int | None = 10) -> list[ConfusedPair]:
    """The most frequent mistakes, as pairs of true and predicted class.

    Predictions and labels are classes of equally many images, values >= 0. Pairs are ordered by count, then by share of
    the true class, largest first, then by class; ``top=None`` gives all.
    """
    predicted, true = equally_long(predictions, labels)
    wrong = predicted != true
    mistakes, counts = np.unique(np.stack([true[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
    totals = np.bincount(true) if true.size else np.zeros(0, np.int64)
    pairs = [
        ConfusedPair(int(label), int(prediction), int(count), float(100.0 * count / totals[label]))
        for (label, prediction), count in zip(mistakes, counts)
    ]
    return sorted(pairs, key=lambda pair: (-pair.images, -pair.share, pair.label, pair.prediction))[:top]


def format_pairs(pairs: Sequence[ConfusedPair], classes: Sequence[str] | None = None, width: int = 80) -> str:
    """Pairs as a table with aligned columns, for people.

    ``width`` is that of a terminal; of long class names the middle is left out, as those of one group often differ at
    their end.
    """
    numbers = [(str(pair.images), f'{pair.share:.1f}') for pair in pairs]
    tail = max([len('images'), *(len(count) for count, _ in numbers)]), len('% of class')
    room = (width - sum(tail) - 6) // 2
    rows = [('true class', 'taken for', 'images', '% of class')]
    for pair, (count, share) in zip(pairs, numbers):
        rows.append((_name(pair.label, classes, room), _name(pair.prediction, classes, room), count, share))
    first, second = (max(_columns(row[column]) for row in rows) for column in (0, 1))
    return '\n'.join(
        f'{_pad(a, first)}  {_pad(b, second)}  {count.rjust(tail[0])}  {share.rjust(tail[1])}'
        for a, b, count, share in rows
    )


def _name(label: int, classes: Sequence[str] | None, room: int) -> str:
    name = str(classes[label]) if classes is not None and label < len(classes) else f'class {label}'
    name = ''.join(character if character.isprintable() else ' ' for character in name)
    start, end = name[: len(name) // 2], name[len(name) // 2 :]
    while _columns(name) > room:
        start, end = (start[:-1], end) if len(start) > len(end) else (start, end[1:])
        name = f'{start}…{end}'
    return name


def _columns(text: str) -> int:
    """Columns of a terminal: East Asian characters take two, marks above and below others none."""
    wide = sum(unicodedata.east_asian_width(character) in 'WF' for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def _pad(text: str, columns: int) -> str:
    return text + ' ' * (columns - _columns(text))


@METRICS.register_module()
class ConfusionPairs(BaseMetric):
    """The most confused pairs of classes; see :func:`confusion_pairs`.

    ``glsim test`` adds it to every test of single-label classification and prints its table. As a number for logs it
    reports ``confusion/top_pairs_share``: the share of all mistakes that these pairs make up, in percent; a large one
    means that few pairs of classes are the problem.

    Args:
        top: Number of pairs.
        **kwargs: ``collect_device`` and ``prefix`` of mmengine's :class:`BaseMetric`.

    Example::

        test_evaluator = [dict(type='Accuracy'), dict(type='ConfusionPairs', top=20)]
    """

    default_prefix = 'confusion'

    def __init__(self, top: int = 10, **kwargs) -> None:
        super().__init__(**kwargs)
        if top < 1:
            raise GLSimError(f'ConfusionPairs: top must be positive, got {top}; correct the config')
        self.top = top
        # Of the last evaluation, on the first process.
        self.pairs: list[ConfusedPair] = []
        self.images: list[ImageResult] = []

    def process(self, data_batch: Sequence[dict] | None, data_samples: Sequence[dict]) -> None:
        """Keep prediction, label, score and position of each image; see :func:`.class_metrics.read_prediction`."""
        for sample in data_samples:
            prediction, label = read_prediction(sample, type(self).__name__)
            score = float(sample['pred_score'].max()) if 'pred_score' in sample else float('nan')
            self.results.append(ImageResult(prediction, label, score, int(sample.get('sample_idx', -1))))

    def compute_metrics(self, results: list[ImageResult]) -> dict[str, float]:
        """Find the pairs; ``top_pairs_share`` is their share of the mistakes, percent, 0 if there is no mistake."""
        self.images = [ImageResult(*result) for result in results]
        predictions, labels = ([getattr(image, name) for image in self.images] for name in ('prediction', 'label'))
        self.pairs = confusion_pairs(predictions, labels, self.top)
        mistakes = sum(image.prediction != image.label for image in self.images)
        return {'top_pairs_share': 100.0 * sum(pair.images for pair in self.pairs) / max(mistakes, 1)}
