"""Detectors: what finds objects in photos, mmdet's among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from retrieval.errors import RetrievalError

from .boxes import check_boxes


@dataclass
class DetectedObjects:
    """What a detector found in a photo.

    Attributes:
        boxes: float32, (n, 4), ``x0, y0, x1, y1`` in pixels of the upright photo.
        scores: float32, (n,), 0 to 1. Defaults to ones.
        labels: int64, (n,), the detector's classes. Defaults to zeros.
        names: Names of the detector's classes.
    """

    boxes: np.ndarray
    scores: np.ndarray = None  # type: ignore[assignment]
    labels: np.ndarray = None  # type: ignore[assignment]
    names: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        self.boxes = check_boxes(self.boxes)
        count = len(self.boxes)
        self.scores = np.ones(count, np.float32) if self.scores is None else np.asarray(self.scores, np.float32)
        self.labels = np.zeros(count, np.int64) if self.labels is None else np.asarray(self.labels, np.int64)
        if len(self.scores) != count or len(self.labels) != count:
            raise RetrievalError(f'{count} boxes have {len(self.scores)} scores and {len(self.labels)} labels')

    def name(self, row: int) -> str:
        """The detector's name of an object; ``'object'`` where there are no names."""
        label = int(self.labels[row])
        return self.names[label] if label < len(self.names) else 'object'


Detector: TypeAlias = Callable[[Sequence[np.ndarray]], list[DetectedObjects]]
"""Takes photos ((H, W, 3) uint8 BGR, upright) and gives what is in each."""


class MMDetDetector:
    """A detector of mmdet.

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
        """Find objects.

        Args:
            photos: (H, W, 3) uint8 BGR each.

        Returns:
            One per photo, highest scores first.
        """
        found: list[DetectedObjects] = []
        for start in range(0, len(photos), self.batch_size):
            found += self._detect(photos[start : start + self.batch_size])
        return found

    def _detect(self, photos: Sequence[np.ndarray]) -> list[DetectedObjects]:
        import torch

        prepared = [self._pipeline(dict(img=photo, img_id=0)) for photo in photos]
        batch = {key: [one[key] for one in prepared] for key in ('inputs', 'data_samples')}
        with torch.no_grad():
            samples = self._model.test_step(batch)
        return [self._objects(sample.pred_instances.cpu()) for sample in samples]

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
        import torch
        from mmcv.transforms import Compose
        from mmdet.apis import init_detector
        from mmdet.utils import get_test_pipeline_cfg
    except ImportError as error:
        raise RetrievalError(
            f'{error}: detection needs mmdet with full mmcv (docs/guides/downstream.md): pip install mmdet, '
            'bash tools/install_mmcv.sh; or give the boxes yourself'
        ) from error
    from glsim_mm.compat import apply_runtime_fixes

    for path in (config, checkpoint):
        if '://' not in path and not Path(path).is_file():
            raise RetrievalError(f'{path} does not exist; check the path')
    apply_runtime_fixes()
    model = init_detector(config, checkpoint, device=device or ('cuda:0' if torch.cuda.is_available() else 'cpu'))
    steps = get_test_pipeline_cfg(model.cfg.copy())
    steps[0]['type'] = 'mmdet.LoadImageFromNDArray'
    steps = [step for step in steps if not step['type'].endswith('LoadAnnotations')]
    return model, Compose(steps)
