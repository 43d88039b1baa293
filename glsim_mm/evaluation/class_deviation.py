"""How evenly a classifier serves its classes."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from .single_label import check_images, read_prediction


def class_deviation(predictions: Sequence[int], labels: Sequence[int]) -> tuple[float, float]:
    """Mean and standard deviation over classes of the per-class top-1 accuracy.

    Only classes that occur in ``labels`` count, each with the same weight. The deviation is that of the population
    (divided by the number of classes, not by one less), because the classes are all there are.

    Args:
        predictions: Predicted class of each image, shape (n,).
        labels: True class of each image, shape (n,), values >= 0.

    Returns:
        Mean and standard deviation in percentage points, each 0 to 100.

    Raises:
        ValueError: If there are no images, or the two differ in length.
    """
    predicted, true = np.asarray(predictions), np.asarray(labels)
    if predicted.shape != true.shape or true.ndim != 1:
        raise ValueError(f'predictions {predicted.shape} and labels {true.shape} must be equally long vectors')
    if true.size == 0:
        raise ValueError('class_deviation needs at least one image')
    _, class_ids = np.unique(true, return_inverse=True)
    totals = np.bincount(class_ids)
    correct = np.bincount(class_ids, weights=predicted == true)
    accuracies = 100.0 * correct / totals
    return float(accuracies.mean()), float(accuracies.std())


@METRICS.register_module()
class ClassDeviation(BaseMetric):
    """Mean per-class top-1 accuracy and its standard deviation over classes; see :func:`class_deviation`.

    Reports ``class/mean_accuracy`` and ``class/deviation`` in percentage points. Images are gathered from all
    processes before anything is averaged.

    Args:
        collect_device: ``'cpu'`` or ``'gpu'``, where processes exchange results.
        prefix: Replaces ``class`` in the reported names.
        **kwargs: Other arguments of mmengine's :class:`BaseMetric`.
    """

    default_prefix = 'class'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None, **kwargs) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, **kwargs)

    def process(self, data_batch: Sequence[dict] | None, data_samples: Sequence[dict]) -> None:
        """Keep prediction and label of each image.

        Args:
            data_batch: Not used.
            data_samples: Model outputs with ``gt_label`` (one class per image) and ``pred_label`` or ``pred_score``.

        Raises:
            GLSimError: See :func:`.single_label.read_prediction`.
        """
        self.results.extend(read_prediction(sample, type(self).__name__) for sample in data_samples)

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Metrics of all images.

        Args:
            results: Prediction and label of each image of all processes.

        Returns:
            ``mean_accuracy`` and ``deviation``, percentage points.

        Raises:
            GLSimError: If there are no images.
        """
        check_images(results, type(self).__name__)
        predictions, labels = zip(*results)
        mean, deviation = class_deviation(predictions, labels)
        return {'mean_accuracy': mean, 'deviation': deviation}
