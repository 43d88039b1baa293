"""Results of an inferencer as lines and JSON."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

LINE_WIDTH = 80


def results_to_json(results: Iterable[Mapping]) -> list[dict[str, Any]]:
    """Results as plain Python values, which ``json.dump`` takes.

    Args:
        results: As :class:`glsim_mm.apis.GLSimInferencer` gives them.

    Returns:
        The same with lists for arrays and tensors, strings for paths, and None for numbers that are not finite, which
        JSON does not know.

    Raises:
        TypeError: If a value is of another kind, for example a data sample.
    """
    return [_plain(result) for result in results]


def format_prediction(result: Mapping) -> str:
    """One line for a prediction: score in per cent, class, selected box, image.

    Args:
        result: As an inferencer gives it. The box is in pixels of the photo, where known.

    Returns:
        For example ``' 93.1 %  Laysan Albatross  [48, 32, 160, 144]  photo.jpg'``; of a path that would go beyond 80
        columns, the end.
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
