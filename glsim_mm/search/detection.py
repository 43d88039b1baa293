"""Detectors, which find objects in photos, and the parts of a photo that a classifier sees of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.vectors import as_array

from ..compat import import_mmpretrain
from ..errors import explain_missing


@dataclass
class DetectedObjects:
    """What a detector found in a photo, for example ``DetectedObjects([[10, 20, 60, 90]])``.

    Attributes:
        boxes: float32, (n, 4), ``x0, y0, x1, y1`` in pixels of the upright photo.
        scores: float32, (n,), 0 to 1; ones unless given.
        labels: int64, (n,), the detector's classes; zeros unless given.
        names: Names of the detector's classes.
    """

    boxes: np.ndarray
    scores: np.ndarray = None  # type: ignore[assignment]
    labels: np.ndarray = None  # type: ignore[assignment]
    names: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        array = _numbers(self.boxes, np.float32, 'boxes')
        self.boxes = array = array.reshape(0, 4) if array.size == 0 else array
        if array.ndim != 2 or array.shape[1] != 4 or not np.isfinite(array).all():
            raise RetrievalError(
                f'boxes must be (n, 4) finite numbers, x0, y0, x1, y1 in pixels, got shape {array.shape}'
            )
        if (array[:, 2:] < array[:, :2]).any():
            raise RetrievalError('a box ends before it begins: give x0, y0, x1, y1, not x, y, width, height')
        count = len(self.boxes)
        self.scores = np.ones(count, np.float32) if self.scores is None else _numbers(self.scores, np.float32, 'scores')
        self.labels = np.zeros(count, np.int64) if self.labels is None else _numbers(self.labels, np.int64, 'labels')
        if self.scores.shape != (count,) or self.labels.shape != (count,):
            raise RetrievalError(f'{count} boxes have {self.scores.size} scores and {self.labels.size} labels')

    def name(self, row: int) -> str:
        """The detector's name of an object; ``'object'`` where there are no names."""
        label = int(self.labels[row])
        return self.names[label] if label < len(self.names) else 'object'


def _numbers(values: Any, kind: type, name: str) -> np.ndarray:
    array = as_array(values, name)
    if array.size and array.dtype.kind not in 'fiub':
        raise RetrievalError(f'{name} of objects must be numbers, got {values!r}')
    return array.astype(kind)


Detector: TypeAlias = Callable[[Sequence[np.ndarray]], list[DetectedObjects]]
"""Takes photos ((H, W, 3) uint8 BGR, upright) and gives what is in each."""


def crop_areas(
    boxes: np.ndarray, shape: tuple[int, int], margin: float = 0.1, square: bool = True, min_side: float = 16
) -> np.ndarray:
    """Boxes with some of what is around them, inside the photo.

    Args:
        boxes: float32, (n, 4), ``x0, y0, x1, y1`` in pixels.
        shape: Height and width of the photo.
        margin: Share of a box's sides that is added at each of them, >= 0.
        square: Lengthen the shorter side, so that resizing to a square distorts nothing, as far as the photo reaches.
        min_side: Least side in pixels.

    Returns:
        float32, (n, 4), inside the photo; a box outside of it is moved to its border.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = (boxes[:, 2:] - boxes[:, :2]) * (1 + 2 * margin)
    if square:
        sides = np.repeat(sides.max(axis=1, keepdims=True), 2, axis=1)
    limits = np.array([shape[1], shape[0]], np.float32)
    sides = np.minimum(np.maximum(sides, min_side), limits)
    # An area that would hang over the border is moved inside, with its sides kept.
    starts = np.clip(centres - sides / 2, 0, limits - sides)
    return np.concatenate([starts, starts + sides], axis=1).astype(np.float32)


class MMDetDetector:
    """A detector of mmdet.

    ::

        detector = MMDetDetector('rtmdet_tiny.py', 'rtmdet_tiny.pth', classes=['bird'])
        (found,) = detector([photo])  # (H, W, 3) uint8 BGR
        print(found.boxes, found.scores, found.name(0))

    Args:
        config: Config file of the detector.
        checkpoint: Its weights; read without running code from the file.
        device: Defaults to the GPU if there is one.
        score_threshold: Objects with less are left out.
        classes: Which of the detector's classes to keep, for example ``['bird']``. Defaults to all.
        batch_size: Photos per pass.
        max_objects: Objects per photo, those with the highest scores.

    Raises:
        RetrievalError: If mmdet is not installed, config or checkpoint cannot be used, or a class is unknown.
    """

    def __init__(
        self,
        config: str | Path,
        checkpoint: str | Path,
        device: str | None = None,
        score_threshold: float = 0.3,
        classes: Sequence[str] | None = None,
        batch_size: int = 4,
        max_objects: int = 100,
    ) -> None:
        self._model, self._pipeline = _load(str(config), str(checkpoint), device)
        self.names = tuple(self._model.dataset_meta.get('classes') or ())
        unknown = [name for name in classes or () if name not in self.names]
        if unknown:
            raise RetrievalError(f'the detector has no class {unknown[0]!r}; it has: {", ".join(self.names)}')
        self._kept = None if classes is None else [self.names.index(name) for name in classes]
        self.score_threshold, self.batch_size, self.max_objects = score_threshold, batch_size, max_objects

    def __call__(self, photos: Sequence[np.ndarray]) -> list[DetectedObjects]:
        """Objects of each photo, (H, W, 3) uint8 BGR, highest scores first."""
        import torch  # boxes and areas need none

        found: list[DetectedObjects] = []
        for start in range(0, len(photos), self.batch_size):
            chunk = photos[start : start + self.batch_size]
            prepared = [self._pipeline(dict(img=photo, img_id=0)) for photo in chunk]
            batch = {key: [one[key] for one in prepared] for key in ('inputs', 'data_samples')}
            with torch.no_grad():
                samples = self._model.test_step(batch)
            found += [self._objects(sample.pred_instances.cpu()) for sample in samples]
        return found

    def _objects(self, instances: Any) -> DetectedObjects:
        boxes, scores, labels = (instances[key].numpy() for key in ('bboxes', 'scores', 'labels'))
        wanted = scores >= self.score_threshold
        if self._kept is not None:
            wanted &= np.isin(labels, self._kept)
        rows = np.flatnonzero(wanted)
        rows = rows[np.argsort(-scores[rows], kind='stable')][: self.max_objects]
        return DetectedObjects(boxes[rows], scores[rows], labels[rows], self.names)


def _load(config: str, checkpoint: str, device: str | None) -> tuple[Any, Any]:
    """Model and test pipeline for arrays."""
    try:
        from mmcv.transforms import Compose
        from mmdet.apis import init_detector
        from mmdet.utils import get_test_pipeline_cfg

        from ..compat.devices import check_device
    except ModuleNotFoundError as error:
        raise RetrievalError(
            f'{error}: detection needs mmdet with full mmcv (docs/guides/downstream.md): pip install mmdet, '
            'bash tools/install_mmcv.sh; or give the boxes yourself'
        ) from None
    for path in (config, checkpoint):
        if '://' not in path and not Path(path).is_file():
            raise RetrievalError(explain_missing('', path))
    import_mmpretrain()  # registers our reader of checkpoints, which runs no code from them
    model = init_detector(config, checkpoint, device=str(check_device(device)))
    steps = get_test_pipeline_cfg(model.cfg.copy())
    steps[0]['type'] = 'mmdet.LoadImageFromNDArray'
    steps = [step for step in steps if not step['type'].endswith('LoadAnnotations')]
    return model, Compose(steps)
