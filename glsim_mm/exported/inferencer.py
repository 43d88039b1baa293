"""Predictions for images with an exported model."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.logging import print_log

from ..errors import GLSimError
from ..images.geometry import map_box
from ..images.sources import ImageInput, ImageSource, find_sources, read_source
from .model import ExportedModel
from .preparation import ExportedPipeline

LOGGER = logging.getLogger('glsim_mm.exported')


class _Image(NamedTuple):
    """One image on its way: prepared, or found unreadable."""

    result: dict
    inputs: np.ndarray | None = None
    shape: tuple[int, int] = (0, 0)


class ExportedInferencer:
    """Classifies images and says where the model looked, as :class:`glsim_mm.apis.GLSimInferencer` does.

    ``ExportedInferencer('model.onnx')(['a.jpg', 'folder'], batch_size=8)`` returns one dict per image with the same
    fields. It needs NumPy, Pillow, OpenCV, mmengine and ONNX Runtime or OpenVINO; neither mmpretrain nor torch.

    Args:
        path: An ``.onnx`` file of ``tools/export.py``.
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
        self._pipeline = ExportedPipeline(self.info.steps)

    def __call__(self, inputs: ImageInput | Iterable[ImageInput], batch_size: int = 1, top_k: int = 5) -> list[dict]:
        """Results for all images, in order; see :meth:`iterate`."""
        return list(self.iterate(inputs, batch_size, top_k))

    def iterate(
        self, inputs: ImageInput | Iterable[ImageInput], batch_size: int = 1, top_k: int = 5
    ) -> Iterator[dict[str, Any]]:
        """Results one by one; at most one batch of images is held in memory.

        Args:
            inputs: A path, URL, folder, glob pattern, array (H, W, 3) uint8 BGR, or any iterable of these.
            batch_size: Images per pass.
            top_k: How many of the likeliest classes to list.

        Yields:
            The fields of :class:`glsim_mm.apis.GLSimInferencer`; of an image that cannot be read, ``error`` in place of
            all predictions, after one warning.

        Raises:
            GLSimError: If a path does not exist, an array is no image, or a number is out of range.
        """
        if batch_size < 1 or top_k < 1:
            raise GLSimError(f'batch_size and top_k must be 1 or more, got {batch_size} and {top_k}')
        batch: list[_Image] = []
        for number, source in enumerate(find_sources(inputs)):
            batch.append(self._read(number, source))
            if sum(image.inputs is not None for image in batch) == batch_size:
                yield from self._predict(batch, top_k)
                batch = []
        yield from self._predict(batch, top_k)

    def _read(self, number: int, source: ImageSource) -> _Image:
        result: dict = {'index': number} if source.path is None else {'index': number, 'path': source.path}
        try:
            pixels = read_source(source)
        except GLSimError as error:
            if source.path is None:  # a mistake in the caller's code
                raise
            print_log(f'left out: {error}', logger=LOGGER, level=logging.WARNING)
            return _Image({**result, 'error': str(error)})
        return _Image(result, self._pipeline(np.ascontiguousarray(pixels[..., ::-1])), pixels.shape[:2])

    def _predict(self, batch: list[_Image], top_k: int) -> Iterator[dict]:
        readable = [image.inputs for image in batch if image.inputs is not None]
        outputs = self.model(np.stack(readable)) if readable else {}
        row = 0
        for image in batch:
            if image.inputs is None:
                yield image.result
                continue
            of_image = {name: value[row] for name, value in outputs.items()}
            yield {**image.result, **self._to_result(of_image, image.shape, top_k)}
            row += 1

    def _to_result(self, outputs: Mapping[str, np.ndarray], shape: tuple[int, int], top_k: int) -> dict:
        scores = _softmax(outputs['logits'])
        order = np.argsort(-scores, kind='stable')[:top_k].tolist()
        top = [self._entry(label, float(scores[label])) for label in order]
        result: dict = {'pred_label': order[0], 'pred_score': top[0]['score'], 'pred_scores': scores}
        if self.classes:
            result['pred_class'] = top[0]['class']
        result['top'] = top
        if 'selected_boxes' in outputs:
            matrix = self._pipeline.to_photo(shape)
            boxes = outputs['selected_boxes'].tolist()
            placed = [map_box(matrix, box, shape) for box in boxes]
            result.update(selected_box=boxes[0], selected_box_image=placed[0])
            if len(boxes) > 1:
                result.update(selected_boxes=boxes, selected_boxes_image=placed)
            result['similarity_map'] = outputs['similarity_map']
        return result

    def _entry(self, label: int, score: float) -> dict:
        if not self.classes:
            return {'label': label, 'score': score}
        return {'label': label, 'class': self.classes[label], 'score': score}


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max())
    return exponents / exponents.sum()
