"""Results of an inferencer as dicts."""

from collections.abc import Sequence

import numpy as np
from mmpretrain.structures import DataSample

from ..images.geometry import map_box
from ..visualization.from_sample import top_classes


def to_result(
    sample: DataSample,
    classes: Sequence[str] | None,
    top_k: int,
    photo_from_input: np.ndarray | None,
    shape: tuple[int, int],
) -> dict:
    """A model's result for one image as plain values.

    Args:
        sample: With ``pred_score`` (K,), and what a GLSim model adds.
        classes: Names of the classes.
        top_k: How many of the likeliest classes to list.
        photo_from_input: (2, 3) map from the network input to the photo, if known.
        shape: Height and width of the photo.

    Returns:
        As :class:`GLSimInferencer` describes it, without ``index`` and ``path``.
    """
    top = top_classes(sample.pred_score, classes, top_k)
    label, name, score = top[0]
    result: dict = {'pred_label': label, 'pred_score': score, 'pred_scores': sample.pred_score.detach().cpu().numpy()}
    if classes is not None:
        result['pred_class'] = name
    result['top'] = [
        {'label': label, 'score': score} if classes is None else {'label': label, 'class': name, 'score': score}
        for label, name, score in top
    ]
    for field in ('selected_box', 'selected_boxes'):
        if field in sample:
            boxes = sample.get(field).tolist()
            result[field] = boxes
            result[f'{field}_image'] = _to_photo(photo_from_input, boxes, shape)
    if 'similarity_map' in sample:
        result['similarity_map'] = sample.similarity_map.detach().cpu().numpy()
    return result


def _to_photo(matrix: np.ndarray | None, boxes: list, shape: tuple[int, int]) -> list | None:
    if matrix is None:
        return None
    if isinstance(boxes[0], list):
        return [map_box(matrix, box, shape) for box in boxes]
    return map_box(matrix, boxes, shape)
