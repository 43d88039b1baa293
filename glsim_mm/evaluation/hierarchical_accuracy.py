"""Accuracy at each level of a hierarchy of classes, and how bad mistakes are."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from ..errors import GLSimError
from .single_label import check_images, read_prediction


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
        predictions: Predicted class of each image, shape (n,).
        labels: True class of each image, shape (n,).
        ancestors: Groups of each class, the coarsest first, without the root that all share.

    Returns:
        ``level1_accuracy``, ``level2_accuracy``, ... in percent; ``mistake_severity``, the mean over mistakes, steps >=
        1; ``sibling_mistakes``, mistakes of severity 1 in percent of the mistakes. The last two are 0 if there is no
        mistake.

    Raises:
        ValueError: If there are no images, the two differ in length, or a class has no entry in ``ancestors``.
    """
    predicted, true = np.asarray(predictions, np.int64), np.asarray(labels, np.int64)
    if predicted.shape != true.shape or true.ndim != 1 or not true.size:
        raise ValueError(
            f'predictions {predicted.shape} and labels {true.shape} must be equally long, not empty vectors'
        )
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
class HierarchicalAccuracy(BaseMetric):
    """Accuracy at each level above the classes, and severity of mistakes; see :func:`hierarchical_accuracy`.

    Reports ``hierarchy/level1_accuracy`` and so on. The data set must know the groups of its classes: ``ancestors`` in
    its metainfo, as NABirds, iNaturalist 2017, VegFru, Pets and Aircraft have them here, and ``TableDataset`` with
    ``ancestor_columns``.

    Args:
        collect_device: ``'cpu'`` or ``'gpu'``, where processes exchange results.
        prefix: Replaces ``hierarchy`` in the reported names.
        **kwargs: Other arguments of mmengine's :class:`BaseMetric`.
    """

    default_prefix = 'hierarchy'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None, **kwargs) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, **kwargs)

    def process(self, data_batch: Sequence[dict] | None, data_samples: Sequence[dict]) -> None:
        """Keep prediction and label of each image.

        Args:
            data_batch: Not used.
            data_samples: Model outputs with ``gt_label`` and ``pred_label`` or ``pred_score``.

        Raises:
            GLSimError: See :func:`.single_label.read_prediction`.
        """
        self.results.extend(read_prediction(sample, type(self).__name__) for sample in data_samples)

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Metrics of all images.

        Args:
            results: Prediction and label of each image of all processes.

        Returns:
            See :func:`hierarchical_accuracy`.

        Raises:
            GLSimError: If there are no images, the data set has no hierarchy, or it is one of fewer classes.
        """
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
