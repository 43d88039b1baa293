"""What metrics read from a model's outputs when every image has one label."""

from collections.abc import Sized

import numpy as np

from ..errors import GLSimError


def read_prediction(sample: dict, metric: str) -> tuple[int, int]:
    """Predicted and true class of an image.

    Args:
        sample: Model output with ``gt_label``, and ``pred_label`` or ``pred_score``.
        metric: Name of the metric, for the message.

    Returns:
        Prediction and label.

    Raises:
        GLSimError: If the image has not exactly one label, a label that is no class, or scores that are NaN, whose
            largest one would be an arbitrary class.
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
    """Scores and true class of an image.

    Args:
        sample: Model output with ``gt_label`` and ``pred_score``.
        metric: Name of the metric, for the message.

    Returns:
        Probability of each class, float32 (C,), and label.

    Raises:
        GLSimError: If the image has not exactly one label, a label that is no class, or no scores.
    """
    if 'pred_score' not in sample:
        raise GLSimError(f'{metric} needs the scores of the classes, which this model does not give; take it out')
    return sample['pred_score'].detach().float().cpu().numpy(), _read_label(sample, metric)


def check_images(results: Sized, metric: str) -> None:
    """Raise :class:`GLSimError` if there are no images to compute a metric of.

    Args:
        results: What the metric keeps of the images.
        metric: Its name, for the message.
    """
    if not len(results):
        raise GLSimError(f'{metric}: no image was evaluated; check the files and the split of the data set')


def read_label(sample: dict, metric: str) -> int:
    """True class of an image, which need not be a class of the model.

    Args:
        sample: Model output with ``gt_label``.
        metric: Name of the metric, for the message.

    Returns:
        The label.

    Raises:
        GLSimError: If the image has not exactly one label.
    """
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
