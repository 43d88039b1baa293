"""Embeddings of an exported model, which runs here or on another server, without the model's code."""

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint

from ..exported.onnx_inferencer import ExportedPipeline, softmax
from ..exported.onnx_model import ExportedInfo, ExportedModel
from ..exported.remote_model import RemoteModel
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
        path: An ``.onnx`` file, or a :class:`~glsim_mm.exported.RemoteModel`, whose server runs the model.
        spaces: What to embed, the default of searches first. Defaults to all but ``'concat'`` and ``'centre'``.
        keep_patches: Keep the tokens of the selected patches, for re-ranking by regions.
        classify: Give the probabilities of the model's own classes too.
        max_pixels: Photos with more are not decoded. Defaults to 268 million.
        **options: ``backend``, ``device``, ``threads`` and ``shares_cores`` of
            :class:`glsim_mm.exported.ExportedModel`.

    Attributes:
        info: What the file says of itself.

    Raises:
        UserError: If the file cannot be used, or does not have a space.
    """

    info: ExportedInfo

    def __init__(
        self,
        path: str | Path | RemoteModel,
        spaces: Sequence[str] | None = None,
        keep_patches: bool = False,
        classify: bool = False,
        max_pixels: int = MAX_PIXELS,
        **options: Any,
    ) -> None:
        self._model = path if isinstance(path, RemoteModel) else ExportedModel(path, **options)
        self.info = self._model.info
        self.pipeline = ExportedPipeline(self.info.steps, self.info.background)
        self.checkpoint = self._model.path
        self.description, self.classes = self.info.description, tuple(self.info.classes)
        self.spaces = check_spaces(spaces, self.info.spaces, self.description)
        for name in self.spaces:
            if _output_of(name, self.info.outputs) not in self.info.outputs:
                raise RetrievalError(f'{self.checkpoint} does not give what the space {name} is made of: it is another')
        if classify and 'logits' not in self.info.outputs:
            raise RetrievalError(f'{self.checkpoint} gives no classes: export it with --what classifier')
        if keep_patches and 'patches' not in self.info.outputs:
            raise RetrievalError(
                f'{self.checkpoint} gives no patches, which are kept for re-ranking by regions: '
                + ('export the model again' if 'selected_boxes' in self.info.outputs else 'its model selects none')
            )
        self.keep_patches = keep_patches
        self.classify = classify
        self.max_pixels = max_pixels
        self.usual_batch = self._model.usual_batch
        self.has_regions = 'selected_boxes' in self.info.outputs

    def with_patches(self) -> BaseEncoder:
        """The same file, of which patches are kept; RetrievalError if it does not give them and their places."""
        if 'patch_places' not in self.info.outputs:
            raise RetrievalError(f'{self.checkpoint} gives no patches with their places: export its model again')
        return super().with_patches()

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """That of the model that was exported."""
        fields = dict(self.info.fingerprint)
        if self.info.is_quantized:
            fields['weights'] = f'int8:{fields["weights"]}'
        return Fingerprint(**fields)

    def forward(self, inputs: np.ndarray) -> Features:
        """The model's part of the work."""
        outputs = self._model(inputs[:, ::-1], self._wanted())  # graphs take RGB
        return Features(
            {space: _embed(space, outputs) for space in self.spaces},
            outputs['selected_boxes'][:, 0] if self.has_regions else None,
            outputs.get('similarity_map'),
            outputs['patches'] if self.keep_patches else None,
            outputs.get('patch_places') if self.keep_patches else None,
            class_scores=softmax(outputs['logits']) if self.classify else None,
        )

    def describe(self) -> ExportedInfo:
        """What the file says of itself."""
        return self.info

    def infer(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs of the file; see the base class."""
        return self._model(pixels)

    def _wanted(self) -> list[str]:
        """Names of the outputs that :meth:`forward` reads; another server sends no others."""
        names = [_output_of(space, self.info.outputs) for space in self.spaces]
        names += ['selected_boxes', 'similarity_map'] if self.has_regions else []
        names += ['patches', 'patch_places'] if self.keep_patches else []
        names += ['logits'] if self.classify else []
        return [name for name in dict.fromkeys(names) if name in self.info.outputs]


def _output_of(space: str, outputs: Collection[str]) -> str:
    """The output from which a space is read: one of its own, as glsim serve gives, or one of an exported file.

    There, ``'global'`` of a plain model is its embedding.
    """
    if space in outputs or space == CENTRE:
        return space
    return 'embedding' if space == AGGREGATED or 'class_tokens' not in outputs else 'class_tokens'


def _embed(space: str, outputs: dict[str, np.ndarray]) -> np.ndarray:
    """As :class:`~glsim_mm.search.embedder.Embedder` does."""
    name = _output_of(space, outputs)
    if name != 'class_tokens':
        return outputs[name]
    class_tokens = outputs[name]
    if space == GLOBAL:
        return class_tokens[:, 0]
    if space == CROP:
        return class_tokens[:, 1:].mean(axis=1)
    lengths = np.linalg.norm(class_tokens, axis=-1, keepdims=True)
    return (class_tokens / np.maximum(lengths, 1e-12)).reshape(len(class_tokens), -1)
