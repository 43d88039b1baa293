"""Whether a classifier is as sure as it is right."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from ..errors import GLSimError
from .single_label import check_images, read_scores


def calibration_error(confidences: Sequence[float], correct: Sequence[bool], num_bins: int = 15) -> tuple[float, float]:
    """Expected and maximum calibration error (Guo et al., ICML 2017, equations 3 and 5).

    Images are sorted into bins of equal width by the probability of the predicted class; a value on an edge belongs to
    the lower bin. Each bin's error is the distance between its mean confidence and its accuracy.

    Args:
        confidences: Probability of the predicted class of each image, shape (n,), 0 to 1.
        correct: Whether the prediction is right, shape (n,).
        num_bins: Number of bins.

    Returns:
        Mean over bins weighted by their images, and largest error, in percentage points, 0 to 100.

    Raises:
        ValueError: If there are no images, the two differ in length, a confidence is not between 0 and 1, or
            ``num_bins`` is not positive.
    """
    confidence, right = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if confidence.shape != right.shape or confidence.ndim != 1 or not confidence.size:
        raise ValueError(f'confidences {confidence.shape} and correct {right.shape} must be equally long, not empty')
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError('confidences must be probabilities, from 0 to 1')
    if num_bins < 1:
        raise ValueError(f'num_bins must be positive, got {num_bins}')
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    totals = np.bincount(bins, minlength=num_bins)
    gaps = np.abs(np.bincount(bins, confidence - right, num_bins))[totals > 0]  # sum of a bin: its images times its gap
    return float(100 * gaps.sum() / confidence.size), float(100 * (gaps / totals[totals > 0]).max())


@METRICS.register_module()
class CalibrationError(BaseMetric):
    """Calibration of the predicted probabilities; see :func:`calibration_error`.

    Reports ``calibration/ece`` and ``calibration/mce`` in percentage points, ``calibration/nll``, the mean negative
    logarithm of the true class's probability, and ``calibration/brier``, the mean over images of the sum over classes
    of squared differences to the true distribution (Brier, 1950), 0 to 2.

    Args:
        num_bins: Bins of equal width.
        collect_device: ``'cpu'`` or ``'gpu'``, where processes exchange results.
        prefix: Replaces ``calibration`` in the reported names.
        **kwargs: Other arguments of mmengine's :class:`BaseMetric`.
    """

    default_prefix = 'calibration'

    def __init__(self, num_bins: int = 15, collect_device: str = 'cpu', prefix: str | None = None, **kwargs) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, **kwargs)
        if num_bins < 1:
            raise GLSimError(f'CalibrationError: num_bins must be positive, got {num_bins}; correct the config')
        self.num_bins = num_bins

    def process(self, data_batch: Sequence[dict] | None, data_samples: Sequence[dict]) -> None:
        """Keep four numbers of each image.

        Args:
            data_batch: Not used.
            data_samples: Model outputs with ``gt_label`` and ``pred_score``, probabilities.

        Raises:
            GLSimError: See :func:`.single_label.read_scores`; or if the scores are no probabilities.
        """
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
            self.results.append(
                (confidence, bool(scores.argmax() == label), -np.log(true_probability), ((scores - target) ** 2).sum())
            )

    def compute_metrics(self, results: list[tuple[float, bool, float, float]]) -> dict[str, float]:
        """Metrics of all images.

        Args:
            results: Confidence, correctness, negative log-likelihood and Brier score of each image of all processes.

        Returns:
            ``ece`` and ``mce``, percentage points; ``nll``; ``brier``.

        Raises:
            GLSimError: If there are no images.
        """
        check_images(results, type(self).__name__)
        confidences, correct, nll, brier = zip(*results)
        ece, mce = calibration_error(confidences, correct, self.num_bins)
        return {'ece': ece, 'mce': mce, 'nll': float(np.mean(nll)), 'brier': float(np.mean(brier))}
