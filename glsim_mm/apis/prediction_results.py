"""Results of an inferencer as dicts, lines and JSON."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.structures import DataSample
from torch import Tensor

from ..visualization.from_sample import top_classes
from .pipeline_geometry import map_box

LINE_WIDTH = 80


def to_result(
    sample: DataSample,
    classes: Sequence[str] | None,
    top_k: int,
    photo_from_input: np.ndarray | None,
    shape: tuple[int, int],
) -> dict:
    """A model's result for one image as plain values.

    Args:
        sample (DataSample): With ``pred_score`` (K,), and what a GLSim model adds.
        classes (Sequence[str] | None): Names of the classes.
        top_k (int): How many of the likeliest classes to list.
        photo_from_input (np.ndarray | None): (2, 3) map from the network input to the photo, if known.
        shape (tuple[int, int]): Height and width of the photo.

    Returns:
        dict: As :class:`GLSimInferencer` describes it, without ``index`` and ``path``.
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


def results_to_json(results: Iterable[Mapping]) -> list[dict[str, Any]]:
    """Results as plain Python values, which ``json.dump`` takes.

    Args:
        results (Iterable[Mapping]): As :class:`GLSimInferencer` gives them.

    Returns:
        list[dict[str, Any]]: The same with lists for arrays and tensors, strings for paths, and None for numbers that
        are not finite, which JSON does not know.

    Raises:
        TypeError: If a value is of another kind, for example a data sample.
    """
    return [_plain(result) for result in results]


def format_prediction(result: Mapping) -> str:
    """One line for a prediction: score in per cent, class, selected box, image.

    Args:
        result (Mapping): As :class:`GLSimInferencer` gives it. The box is in pixels of the photo, where known.

    Returns:
        str: For example ``' 93.1 %  Laysan Albatross  [48, 32, 160, 144]  photo.jpg'``; of a path that would go beyond
        80 columns, the end.
    """
    name = result.get('pred_class', result['pred_label'])
    box = result.get('selected_box_image') or result.get('selected_box')
    words = [
        f'{100 * result["pred_score"]:5.1f} %',
        str(name),
        *([str([round(value) for value in box])] if box else []),
    ]
    start = '  '.join(words) + '  '
    where = str(result.get('path', f'image {result.get("index", 0)}'))
    room = max(LINE_WIDTH - len(start), len(Path(where).name), 3)
    return start + (where if len(where) <= room else f'...{where[3 - room :] if room > 3 else ""}')


def _to_photo(matrix: np.ndarray | None, boxes: list, shape: tuple[int, int]) -> list | None:
    if matrix is None:
        return None
    if isinstance(boxes[0], list):
        return [map_box(matrix, box, shape) for box in boxes]
    return map_box(matrix, boxes, shape)


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Tensor):
        return _plain(value.detach().cpu().tolist())
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f'a result holds a {type(value).__name__}, which JSON cannot; give dicts, not data samples')
