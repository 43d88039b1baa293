"""What a model says of one photo: as a dict, in pixels of the photo, as a line and as JSON."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .photos import ImageItem, on_one_line
from .places import map_box
from .preparing import Prepared, unreadable

LINE_WIDTH = 80


def to_result(
    item: ImageItem,
    image: Prepared,
    scores: np.ndarray | None,
    classes: Sequence[str] | None,
    top_k: int,
    boxes: np.ndarray | None = None,
    similarity_map: np.ndarray | None = None,
) -> dict[str, Any]:
    """A model's result for one photo as plain values, with the fields of :class:`glsim_mm.apis.GLSimInferencer`.

    Args:
        item: The photo.
        image: How it was prepared.
        scores: Probabilities of the classes, (K,); None of a photo that cannot be used.
        classes: Names of the classes, if known.
        top_k: How many of the likeliest classes to list.
        boxes: (R, 4), regions that the model cropped, ``x0, y0, x1, y1`` in pixels of the network input.
        similarity_map: (h, w) of a model with regions.
    """
    result: dict[str, Any] = {'index': image.position, **({'path': item.path} if item.path else {})}
    if scores is None:
        return {**result, 'error': unreadable(item, image)}
    order = np.argsort(-scores, kind='stable')[:top_k].tolist()
    names = [{} if classes is None else {'class': classes[label]} for label in order]
    top = [{'label': label, **name, 'score': float(scores[label])} for label, name in zip(order, names)]
    result.update(pred_label=order[0], pred_score=top[0]['score'], pred_scores=scores)
    if classes is not None:
        result['pred_class'] = classes[order[0]]
    result['top'] = top
    if boxes is not None:
        regions = boxes.tolist()
        placed = None if image.matrix is None else [map_box(image.matrix, box, image.part[2:]) for box in regions]
        result.update(selected_box=regions[0], selected_box_image=placed[0] if placed else None)
        if len(regions) > 1:
            result.update(selected_boxes=regions, selected_boxes_image=placed)
    if similarity_map is not None:
        result['similarity_map'] = similarity_map
    return result


def results_to_json(results: Iterable[Mapping]) -> list[dict[str, Any]]:
    """Results of an inferencer as plain Python values, which ``json.dump`` takes.

    Arrays and tensors become lists, paths strings, and numbers that are not finite, which JSON does not know, None.

    Raises:
        TypeError: If a value is of another kind, for example a data sample.
    """
    return [_plain(result) for result in results]


def format_prediction(result: Mapping) -> str:
    """One line for an inferencer's result: ``' 93.1 %  Laysan Albatross  [48, 32, 160, 144]  photo.jpg'``.

    The box is in pixels of the photo where known; only the end is kept of a path that would go beyond 80 columns.
    """
    name = result.get('pred_class', result['pred_label'])
    box = result.get('selected_box_image') or result.get('selected_box')
    words = [
        f'{100 * result["pred_score"]:5.1f} %',
        str(name),
        *([str([round(value) for value in box])] if box else []),
    ]
    start = '  '.join(words) + '  '
    where = on_one_line(str(result.get('path', f'image {result.get("index", 0)}')))
    room = max(LINE_WIDTH - len(start), len(Path(where).name), 3)
    return start + (where if len(where) <= room else f'...{where[3 - room :] if room > 3 else ""}')


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, 'tolist'):  # tensors and arrays
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f'a result holds a {type(value).__name__}, which JSON cannot; give dicts, not data samples')
