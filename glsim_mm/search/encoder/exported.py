"""Embeddings of an exported model, without the model's code."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from glsim_mm.exported import ExportedModel
from glsim_mm.exported.preparation import ExportedPipeline
from retrieval.errors import RetrievalError
from retrieval.gallery.contract import Fingerprint, GalleryReader

from .base import BaseEncoder, check_encoder, check_spaces
from .features import AGGREGATED, CONCAT, CROP, GLOBAL, Features
from .mistakes import as_retrieval_errors
from .reading import MAX_PIXELS


class _Preparation:
    """The exported pipeline, which is made for RGB arrays, for BGR photos and tensors."""

    def __init__(self, pipeline: ExportedPipeline) -> None:
        self._pipeline = pipeline

    def __call__(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(self._pipeline(pixels))

    def to_photo(self, shape: tuple[int, int]) -> np.ndarray | None:
        return self._pipeline.to_photo(shape)


class ExportedEncoder(BaseEncoder):
    """Makes embeddings with a file of ``tools/export.py``; mmpretrain and mmcv are not needed.

    It can search and extend galleries that were built with :class:`Encoder` from the same weights, config and pipeline,
    unless the file was quantised: those embeddings are others, and so is its fingerprint.

    Args:
        path: An ``.onnx`` file.
        spaces: What to embed, the default of searches first. Defaults to all but ``'concat'``.
        classify: Give the probabilities of the model's own classes too.
        max_pixels: Photos with more are not decoded. Defaults to Pillow's limit, 179 million.
        **options: ``backend``, ``device`` and ``threads`` of :class:`glsim_mm.exported.ExportedModel`.

    Raises:
        RetrievalError: If the file cannot be used, or does not have a space.
    """

    def __init__(
        self,
        path: str | Path,
        spaces: Sequence[str] | None = None,
        classify: bool = False,
        max_pixels: int = MAX_PIXELS,
        **options: Any,
    ) -> None:
        with as_retrieval_errors():
            self._model = ExportedModel(path, **options)
            self.pipeline = _Preparation(ExportedPipeline(self._model.info.steps))
        self.checkpoint = str(path)
        self._info = self._model.info
        defaults = tuple(space for space in self._info.spaces if space != CONCAT)
        self.spaces = check_spaces(spaces, self._info.spaces, defaults, self.description)
        if classify and 'logits' not in self._info.outputs:
            raise RetrievalError(f'{path} gives no classes: export it with --what classifier')
        self.classify = classify
        self.max_pixels = max_pixels
        self.has_regions = 'selected_boxes' in self._info.outputs

    @classmethod
    def for_gallery(cls, gallery: GalleryReader, path: str | Path, **options: Any) -> 'ExportedEncoder':
        """The encoder with which a gallery can be searched.

        Args:
            path: An ``.onnx`` file of the model that made it.
            **options: Of the class.

        Returns:
            With the gallery's spaces.

        Raises:
            RetrievalError: If the model is another one.
        """
        encoder = cls(path, tuple(gallery.manifest.spaces), **options)
        check_encoder(gallery, encoder)
        return encoder

    @property
    def description(self) -> str:
        """What messages call the model."""
        return self._info.description

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the model was trained on; empty where they are not known."""
        return tuple(self._info.classes)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """That of the model that was exported."""
        fields = dict(self._info.fingerprint)
        if self._info.is_quantized:
            fields['weights'] = f'int8:{fields["weights"]}'
        return Fingerprint(**fields)

    def forward(self, inputs: Tensor) -> Features:
        """The model's part of the work; see the base class."""
        with as_retrieval_errors():
            outputs = self._model(inputs.numpy()[:, ::-1])
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in outputs.items()}
        boxes = tensors['selected_boxes'][:, 0] if self.has_regions else None
        return Features(
            {space: _embed(space, tensors) for space in self.spaces},
            boxes,
            tensors.get('similarity_map'),
            class_scores=tensors['logits'].softmax(dim=-1) if self.classify else None,
        )


def _embed(space: str, outputs: dict[str, Tensor]) -> Tensor:
    """As :class:`GLSimEmbedder` does; ``'global'`` of a plain model is its embedding."""
    if space == AGGREGATED or 'class_tokens' not in outputs:
        return outputs['embedding']
    class_tokens = outputs['class_tokens']
    if space == GLOBAL:
        return class_tokens[:, 0]
    if space == CROP:
        return class_tokens[:, 1:].mean(dim=1)
    return F.normalize(class_tokens, dim=-1).flatten(1)
