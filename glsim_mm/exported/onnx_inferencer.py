"""Predictions for images with an exported model, prepared with NumPy and Pillow as mmpretrain's transforms do."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import GLSimError
from ..images.decoding import WHITE
from ..images.photos import ImageInput, find_images
from ..images.preparing import LOGGER, predict_images
from ..images.results import to_result
from ..images.selection_strength import SelectionSummary
from .onnx_model import ExportedModel

FILTERS = {
    'nearest': Image.Resampling.NEAREST,
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'lanczos': Image.Resampling.LANCZOS,
    'box': Image.Resampling.BOX,
    'hamming': Image.Resampling.HAMMING,
}


class ExportedPipeline:
    """Prepares photos as the model was tested; a :class:`~glsim_mm.images.preparing.PhotoPipeline` without torch.

    Args:
        steps: In order: ``dict(type='resize', size=(h, w), filter='bicubic')``, ``dict(type='resize_edge', size=s,
            edge='short', filter='bicubic')`` or ``dict(type='center_crop', size=(h, w))``, sizes in pixels.
        background: Red, green and blue, 0 to 255, behind transparent pixels.

    Raises:
        GLSimError: If a step is unknown.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]], background: Sequence[int] = WHITE) -> None:
        unknown = [step['type'] for step in steps if step['type'] not in ('resize', 'resize_edge', 'center_crop')]
        if unknown:
            raise GLSimError(f'this version of glsim_mm does not know the step {unknown[0]!r}: export the model again')
        self.steps = [dict(step) for step in steps]
        self.background = background

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Network input of a photo, (3, h, w) uint8 of (H, W, 3) uint8, with the channels in the same order."""
        for step in self.steps:
            if step['type'] == 'center_crop':
                top, left, height, width = _center(pixels.shape[:2], step['size'])
                pixels = pixels[top : top + height, left : left + width]
            else:
                height, width = _resized(pixels.shape[:2], step)
                image = Image.fromarray(np.ascontiguousarray(pixels))
                pixels = np.asarray(image.resize((width, height), FILTERS[step['filter']]))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def to_photo(self, shape: tuple[int, int]) -> np.ndarray:
        """The map (2, 3) from pixels of the network input to pixels of a photo of (height, width) ``shape``."""
        scale, offset = np.ones(2), np.zeros(2)  # x and y; place in the photo = scale * place + offset
        for step in self.steps:
            if step['type'] == 'center_crop':
                top, left, height, width = _center(shape, step['size'])
                offset += scale * (left, top)
                shape = (min(height, shape[0]), min(width, shape[1]))
            else:
                height, width = _resized(shape, step)
                scale *= (shape[1] / width, shape[0] / height)
                shape = (height, width)
        return np.concatenate([np.diag(scale), offset[:, None]], axis=1)


class ExportedInferencer:
    """Classifies images and says where the model looked, as :class:`glsim_mm.apis.GLSimInferencer` does.

    ::

        infer = ExportedInferencer('model.onnx')
        for result in infer(['a.jpg', 'folder'], batch_size=8):
            print(result['path'], result['pred_class'], result['selected_box_image'])

    It needs NumPy, Pillow, OpenCV and ONNX Runtime or OpenVINO; neither mmpretrain, mmengine nor torch.

    Args:
        path: An ``.onnx`` file of ``glsim export``.
        **options: ``backend``, ``device`` and ``threads`` of :class:`ExportedModel`.

    Raises:
        GLSimError: If the file cannot be used, or holds no classifier.
    """

    def __init__(self, path: str | Path, **options: Any) -> None:
        self.model = ExportedModel(path, **options)
        self.info = self.model.info
        if 'logits' not in self.info.outputs:
            raise GLSimError(f'{path} gives embeddings and no classes: export it with --what classifier')
        self.classes = tuple(self.info.classes)
        self._pipeline = ExportedPipeline(self.info.steps, self.info.background)

    def __call__(self, inputs: ImageInput | Iterable[ImageInput], batch_size: int = 1, top_k: int = 5) -> list[dict]:
        """Results for all images, in order; see :meth:`iterate`."""
        return list(self.iterate(inputs, batch_size, top_k))

    def iterate(
        self, inputs: ImageInput | Iterable[ImageInput], batch_size: int = 1, top_k: int = 5
    ) -> Iterator[dict[str, Any]]:
        """Results one by one while images are read; at most one batch of them is held in memory.

        Inputs, results and errors are those of :meth:`glsim_mm.apis.GLSimInferencer.iterate`.
        """
        if batch_size < 1 or top_k < 1:
            raise GLSimError(f'batch_size and top_k must be 1 or more, got {batch_size} and {top_k}')
        has_regions = 'selected_boxes' in self.info.outputs
        items = find_images(inputs)
        summary = SelectionSummary()
        for item, image, outputs in predict_images(
            items, self._pipeline, self._predict, batch_size, with_geometry=has_regions
        ):
            outputs = outputs or {}  # of a photo that cannot be used
            scores = softmax(outputs['logits']) if outputs else None
            regions = outputs.get('selected_boxes'), outputs.get('similarity_map')
            if regions[0] is not None:
                summary.add(regions[0][0], (0, 0, *image.inputs.shape[:-3:-1]), regions[1])
            yield to_result(item, image, scores, self.classes or None, top_k, *regions)
        for warning in summary.warnings():
            LOGGER.warning(warning)

    def _predict(self, inputs: np.ndarray) -> list[dict[str, np.ndarray]]:
        outputs = self.model(inputs[:, ::-1])  # graphs take RGB
        return [{name: value[row] for name, value in outputs.items()} for row in range(len(inputs))]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def _center(shape: Sequence[int], size: Sequence[int]) -> tuple[int, int, int, int]:
    """Top, left, height and width, as mmcv's CenterCrop rounds them."""
    top, left = (max(0, int(round((have - want) / 2.0))) for have, want in zip(shape, size))
    return top, left, int(size[0]), int(size[1])


def _resized(shape: Sequence[int], step: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width after a step, as mmcv's Resize and mmpretrain's ResizeEdge round them."""
    if step['type'] == 'resize':
        return int(step['size'][0]), int(step['size'][1])
    height, width, size = int(shape[0]), int(shape[1]), int(step['size'])
    along_width = {'short': width < height, 'long': width > height, 'width': True, 'height': False}[step['edge']]
    return (int(size * height / width), size) if along_width else (size, int(size * width / height))
