"""From a model's result to what is drawn of it."""

from collections.abc import Sequence

import numpy as np
from mmpretrain.structures import DataSample
from torch import Tensor

from .panel import Prediction


def prediction_from_sample(
    inputs: Tensor, sample: DataSample, classes: Sequence[str] | None = None, top_k: int = 5
) -> Prediction:
    """What is drawn of one image and a model's result for it; works for GLSim models and plain classifiers alike.

    ``inputs`` are the network input before the data preprocessor, (3, H, W) BGR, 0..255. The sample has
    ``pred_score`` (K,). Where they are there, ``selected_box``, ``selected_boxes`` and ``similarity_map`` are drawn,
    ``gt_label`` is the truth, and the first of ``gt_bboxes`` (n, 4), in pixels of the network input, is the annotated
    box. Without ``classes`` numbers are shown; ``top_k`` of the likeliest classes are listed.
    """
    top = top_classes(sample.pred_score, classes, top_k)
    labels = _values(sample, 'gt_label')
    boxes = _values(sample, 'gt_bboxes')
    return Prediction(
        image=to_rgb_image(inputs),
        predicted=top[0][1],
        score=top[0][2],
        truth=None if labels is None else _name(int(labels.ravel()[0]), classes),
        selected_box=_values(sample, 'selected_box'),
        similarity_map=_values(sample, 'similarity_map'),
        annotated_box=None if boxes is None else boxes.reshape(-1, 4)[0],
        top=[(name, score) for _, name, score in top],
        selected_boxes=_values(sample, 'selected_boxes'),
        path=sample.get('img_path'),
    )


def top_classes(scores: Tensor, classes: Sequence[str] | None, top_k: int) -> list[tuple[int, str, float]]:
    """Label, name (the label in digits without ``classes``) and probability of the likeliest of K classes."""
    best = scores.float().topk(min(max(top_k, 1), len(scores)))
    return [(label, _name(label, classes), score) for label, score in zip(best.indices.tolist(), best.values.tolist())]


def _name(label: int, classes: Sequence[str] | None) -> str:
    return str(label) if classes is None else classes[label]


def _values(sample: DataSample, field: str) -> np.ndarray | None:
    """A field as an array that is not empty, or None."""
    value = sample.get(field)
    if value is None:
        return None
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    return array if array.size else None


def to_rgb_image(inputs: Tensor) -> np.ndarray:
    """An image, (H, W, 3) uint8 RGB, from a network input before the data preprocessor, (3, H, W) BGR, 0..255."""
    return np.ascontiguousarray(inputs.flip(0).permute(1, 2, 0).cpu().numpy().astype(np.uint8))
