"""Embeddings of an exported model, without the model's code."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint

from ..exported.onnx_inferencer import ExportedPipeline, softmax
from ..exported.onnx_model import ExportedModel
from ..images.photos import MAX_PIXELS
from .base_encoder import AGGREGATED, CENTRE, CROP, GLOBAL, BaseEncoder, Features, check_spaces


class ExportedEncoder(BaseEncoder):
    """Makes embeddings with a file of ``glsim export``; neither mmpretrain, mmengine nor torch is needed.

    It can search and extend galleries that were built with :class:`Encoder` from the same weights, config and pipeline,
    unless the file was quantised: those embeddings are others, and so is its fingerprint.

    ::

        encoder = ExportedEncoder('model.onnx', threads=4)
        print(encoder.encode('photos').embeddings['aggregated'].shape)

    Args:
        path: An ``.onnx`` file.
        spaces: What to embed, the default of searches first. Defaults to all but ``'concat'`` and ``'centre'``.
        keep_patches: Keep the tokens of the selected patches, for re-ranking by regions.
        classify: Give the probabilities of the model's own classes too.
        max_pixels: Photos with more are not decoded. Defaults to 268 million.
        **options: ``backend``, ``device`` and ``threads`` of :class:`glsim_mm.exported.ExportedModel`.

    Raises:
        UserError: If the file cannot be used, or does not have a space.
    """

    def __init__(
        self,
        path: str | Path,
        spaces: Sequence[str] | None = None,
        keep_patches: bool = False,
        classify: bool = False,
        max_pixels: int = MAX_PIXELS,
        **options: Any,
    ) -> None:
        self._model = ExportedModel(path, **options)
        self._info = self._model.info
        self.pipeline = ExportedPipeline(self._info.steps, self._info.background)
        self.checkpoint = str(path)
        self.description, self.classes = self._info.description, tuple(self._info.classes)
        self.spaces = check_spaces(spaces, self._info.spaces, self.description)
        if classify and 'logits' not in self._info.outputs:
            raise RetrievalError(f'{path} gives no classes: export it with --what classifier')
        if keep_patches and 'patches' not in self._info.outputs:
            raise RetrievalError(
                f'{path} gives no patches, which are kept for re-ranking by regions: '
                + ('export the model again' if 'selected_boxes' in self._info.outputs else 'its model selects none')
            )
        self.keep_patches = keep_patches
        self.classify = classify
        self.max_pixels = max_pixels
        self.has_regions = 'selected_boxes' in self._info.outputs

    def with_patches(self) -> BaseEncoder:
        """The same file, of which patches are kept; RetrievalError if it does not give them and their places."""
        if 'patch_places' not in self._info.outputs:
            raise RetrievalError(f'{self.checkpoint} gives no patches with their places: export its model again')
        return super().with_patches()

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """That of the model that was exported."""
        fields = dict(self._info.fingerprint)
        if self._info.is_quantized:
            fields['weights'] = f'int8:{fields["weights"]}'
        return Fingerprint(**fields)

    def forward(self, inputs: np.ndarray) -> Features:
        """The model's part of the work."""
        outputs = self._model(inputs[:, ::-1])  # graphs take RGB
        return Features(
            {space: _embed(space, outputs) for space in self.spaces},
            outputs['selected_boxes'][:, 0] if self.has_regions else None,
            outputs.get('similarity_map'),
            outputs['patches'] if self.keep_patches else None,
            outputs.get('patch_places') if self.keep_patches else None,
            class_scores=softmax(outputs['logits']) if self.classify else None,
        )


def _embed(space: str, outputs: dict[str, np.ndarray]) -> np.ndarray:
    """As :class:`~glsim_mm.search.embedder.Embedder` does; ``'global'`` of a plain model is its embedding."""
    if space == CENTRE:
        return outputs[CENTRE]
    if space == AGGREGATED or 'class_tokens' not in outputs:
        return outputs['embedding']
    class_tokens = outputs['class_tokens']
    if space == GLOBAL:
        return class_tokens[:, 0]
    if space == CROP:
        return class_tokens[:, 1:].mean(axis=1)
    lengths = np.linalg.norm(class_tokens, axis=-1, keepdims=True)
    return (class_tokens / np.maximum(lengths, 1e-12)).reshape(len(class_tokens), -1)
