"""Metrics of images with one label each: calibration, evenness over classes, and accuracy in a hierarchy."""

from collections.abc import Sequence, Sized

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from retrieval.metrics import calibration_error

from ..errors import GLSimError


def read_prediction(sample: dict, metric: str) -> tuple[int, int]:
    """Predicted and true class of an image, from ``gt_label``, and ``pred_label`` or ``pred_score``.

    Scores that are NaN are an error, as their largest one would be an arbitrary class; ``metric`` is for messages.
    """
    label = _read_label(sample, metric)
    if 'pred_score' in sample and bool(sample['pred_score'].isnan().any()):
        raise GLSimError(
            f'{metric}: the model gives {_name(sample)} scores that are not a number; test an earlier checkpoint, or '
            'without mixed precision'
        )
    prediction = sample['pred_label'] if 'pred_label' in sample else sample['pred_score'].argmax()
    return int(prediction), label


def read_scores(sample: dict, metric: str) -> tuple[np.ndarray, int]:
    """Probability of each class, float32 (C,), and true class of an image, from ``pred_score`` and ``gt_label``."""
    if 'pred_score' not in sample:
        raise GLSimError(f'{metric} needs the scores of the classes, which this model does not give; take it out')
    return sample['pred_score'].detach().float().cpu().numpy(), _read_label(sample, metric)


def check_images(results: Sized, metric: str) -> None:
    """Raise :class:`GLSimError`, which names the metric, if there are no images to compute it of."""
    if not len(results):
        raise GLSimError(f'{metric}: no image was evaluated; check the files and the split of the data set')


def read_label(sample: dict, metric: str) -> int:
    """True class of an image, its only ``gt_label``, which need not be a class of the model."""
    if 'gt_label' not in sample:
        raise GLSimError(f'{metric} needs the class of {_name(sample)}, which has none; test on a set with labels')
    labels = sample['gt_label']
    if labels.numel() != 1:
        raise GLSimError(f'{metric} needs one label per image; take it out of val_evaluator and test_evaluator')
    return int(labels)


def _read_label(sample: dict, metric: str) -> int:
    label = read_label(sample, metric)
    num_classes = len(sample['pred_score']) if 'pred_score' in sample else label + 1
    if not 0 <= label < num_classes:
        raise GLSimError(f'{metric}: {_name(sample)} has the label {label}, which is no class of the model; correct it')
    return label


def _name(sample: dict) -> str:
    return str(sample.get('img_path') or 'an image')


@METRICS.register_module()
class CalibrationError(BaseMetric):
    """Calibration of the predicted probabilities; see :func:`retrieval.metrics.calibration_error`.

    Reports ``calibration/ece`` and ``calibration/mce`` in percentage points, ``calibration/nll``, the mean negative
    logarithm of the true class's probability, and ``calibration/brier``, the mean over images of the sum over classes
    of squared differences to the true distribution (Brier, 1950), 0 to 2.

    Args:
        num_bins: Bins of equal width.
        **kwargs: ``collect_device`` and ``prefix`` of mmengine's :class:`BaseMetric`.

    Example::

        test_evaluator = [dict(type='Accuracy'), dict(type='CalibrationError', num_bins=15)]
    """

    default_prefix = 'calibration'

    def __init__(self, num_bins: int = 15, **kwargs) -> None:
        super().__init__(**kwargs)
        if num_bins < 1:
            raise GLSimError(f'CalibrationError: num_bins must be positive, got {num_bins}; correct the config')
        self.num_bins = num_bins

    def process(self, data_batch: Sequence[dict] | None, data_samples: Sequence[dict]) -> None:
        """Keep confidence, correctness, negative log-likelihood and Brier score of each image."""
        for sample in data_samples:
            scores, label = read_scores(sample, type(self).__name__)
            if not (scores.min() >= -1e-4 and abs(scores.sum() - 1) < 1e-2):  # also false for NaN
                raise GLSimError(
                    'CalibrationError needs probabilities: the scores of an image do not add up to 1; take the metric '
                    'out, or let the head end in a softmax'
                )
            target = np.zeros_like(scores)
            target[label] = 1
            confidence = float(np.clip(scores.max(), 0, 1))
            true_probability = max(float(scores[label]), float(np.finfo(np.float32).tiny))
            correct = bool(np.argmax(scores) == label)
            self.results.append((confidence, correct, -np.log(true_probability), ((scores - target) ** 2).sum()))

    def compute_metrics(self, results: list[tuple[float, bool, float, float]]) -> dict[str, float]:
        """``ece`` and ``mce``, percentage points, ``nll`` and ``brier`` of all images."""
        check_images(results, type(self).__name__)
        confidences, correct, nll, brier = zip(*results)
        ece, mce = calibration_error(confidences, correct, self.num_bins)
        return {'ece': ece, 'mce': mce, 'nll': float(np.mean(nll)), 'brier': float(np.mean(brier))}


def equally_long(predictions: Sequence[int], labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true classes as vectors, int64 (n,); ``ValueError`` if they are not equally long."""
    predicted, true = np.asarray(predictions, np.int64), np.asarray(labels, np.int64)
    if predicted.shape != true.shape or true.ndim != 1:
        raise ValueError(f'predictions {predicted.shape} and labels {true.shape} must be equally long vectors')
    return predicted, true


class _PredictionMetric(BaseMetric):
    """Base of metrics of predicted and true classes."""

    def process(self, data_batch: Sequence[dict] | None, data_samples: Sequence[dict]) -> None:
        """Keep prediction and label of each image."""
        self.results.extend(read_prediction(sample, type(self).__name__) for sample in data_samples)


def class_deviation(predictions: Sequence[int], labels: Sequence[int]) -> tuple[float, float]:
    """Mean and standard deviation over classes of the per-class top-1 accuracy, in percentage points.

    Only classes that occur in ``labels`` count, each with the same weight. The deviation is that of the population
    (divided by the number of classes, not by one less), because the classes are all there are. Predictions and labels
    are classes of n images; none at all, or not equally many, are a ``ValueError``.
    """
    predicted, true = equally_long(predictions, labels)
    if true.size == 0:
        raise ValueError('class_deviation needs at least one image')
    _, class_ids = np.unique(true, return_inverse=True)
    totals = np.bincount(class_ids)
    correct = np.bincount(class_ids, weights=predicted == true)
    accuracies = 100.0 * correct / totals
    return float(accuracies.mean()), float(accuracies.std())


@METRICS.register_module()
class ClassDeviation(_PredictionMetric):
    """Mean per-class top-1 accuracy and its standard deviation over classes; see :func:`class_deviation`.

    Reports ``class/mean_accuracy`` and ``class/deviation`` in percentage points. Images are gathered from all
    processes before anything is averaged.

    Example::

        test_evaluator = [dict(type='Accuracy'), dict(type='ClassDeviation')]
    """

    default_prefix = 'class'

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """``mean_accuracy`` and ``deviation`` of all images, percentage points."""
        check_images(results, type(self).__name__)
        predictions, labels = zip(*results)
        mean, deviation = class_deviation(predictions, labels)
        return {'mean_accuracy': mean, 'deviation': deviation}


def hierarchical_accuracy(
    predictions: Sequence[int], labels: Sequence[int], ancestors: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Accuracy at each level above the classes, and severity of mistakes.

    A prediction is right at a level if predicted and true class are in the same group there and in all groups above.
    Level 1 is the coarsest. Where branches differ in depth, an image counts at the levels that its true class has.

    The severity of a mistake is the number of steps up from the true class to the first group that holds the predicted
    one too: 1 for a sibling, more for what is less alike (height of the lowest common ancestor, Bertinetto et al., CVPR
    2020, section 3).

    Args:
        predictions, labels: Predicted and true class of each image, shape (n,).
        ancestors: Groups of each class, the coarsest first, without the root that all share.

    Returns:
        ``level1_accuracy``, ``level2_accuracy``, ... in percent; ``mistake_severity``, the mean over mistakes, steps >=
        1; ``sibling_mistakes``, mistakes of severity 1 in percent of the mistakes. The last two are 0 if there is no
        mistake.
    """
    predicted, true = equally_long(predictions, labels)
    if true.size == 0:
        raise ValueError('hierarchical_accuracy needs at least one image')
    if min(predicted.min(), true.min()) < 0 or max(predicted.max(), true.max()) >= len(ancestors):
        raise ValueError(f'there are ancestors of {len(ancestors)} classes, but other classes among the images')
    depth = np.array([len(groups) for groups in ancestors])
    groups = _group_ids(ancestors)
    shared = np.cumprod(groups[predicted] == groups[true], axis=1)  # 1 as long as all groups so far are the same
    has_level = np.arange(groups.shape[1])[None] < depth[true][:, None]
    result = {
        f'level{level + 1}_accuracy': float(100.0 * shared[has_level[:, level], level].mean())
        for level in range(groups.shape[1])
        if has_level[:, level].any()
    }
    wrong = predicted != true
    steps = depth[true] - (shared * has_level).sum(axis=1) + 1
    result['mistake_severity'] = float(steps[wrong].mean()) if wrong.any() else 0.0
    result['sibling_mistakes'] = float(100.0 * (steps[wrong] == 1).mean()) if wrong.any() else 0.0
    return result


def _group_ids(ancestors: Sequence[Sequence[str]]) -> np.ndarray:
    """A number for each group of each class, (classes, levels); -1 where a class has no such level."""
    levels = max((len(groups) for groups in ancestors), default=0)
    ids = np.full((len(ancestors), levels), -1, np.int64)
    for level in range(levels):
        known: dict[str, int] = {}
        for label, groups in enumerate(ancestors):
            if level < len(groups):
                ids[label, level] = known.setdefault(groups[level], len(known))
    return ids


@METRICS.register_module()
class HierarchicalAccuracy(_PredictionMetric):
    """Accuracy at each level above the classes, and severity of mistakes; see :func:`hierarchical_accuracy`.

    Reports ``hierarchy/level1_accuracy`` and so on. The data set must know the groups of its classes: ``ancestors`` in
    its metainfo, as NABirds, iNaturalist 2017, VegFru, Pets and Aircraft have them here, and ``TableDataset`` with
    ``ancestor_columns``.

    Example::

        test_evaluator = [dict(type='Accuracy'), dict(type='HierarchicalAccuracy')]
    """

    default_prefix = 'hierarchy'

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Metrics of all images; see :func:`hierarchical_accuracy`."""
        check_images(results, type(self).__name__)
        ancestors = (self.dataset_meta or {}).get('ancestors')
        if not ancestors or not any(ancestors):
            raise GLSimError(
                'HierarchicalAccuracy needs the groups of the classes (ancestors in the metainfo), which this data set '
                'does not have; take the metric out of val_evaluator and test_evaluator'
            )
        predictions, labels = zip(*results)
        largest = max(*predictions, *labels)
        if largest >= len(ancestors):
            raise GLSimError(
                f'HierarchicalAccuracy: the data set has the groups of {len(ancestors)} classes, but not of class '
                f'{largest}; list ancestors of every class in its metainfo'
            )
        return hierarchical_accuracy(predictions, labels, ancestors)
