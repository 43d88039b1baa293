"""From images to embeddings, with the region in which the model looked."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from glsim_mm.apis.config_errors import explain_config_errors
from glsim_mm.apis.model import load_model
from glsim_mm.apis.options import load_config
from retrieval.errors import RetrievalError
from retrieval.gallery.contract import Fingerprint

from .base import BaseEncoder, check_spaces
from .embedder import find_embedder
from .features import Features
from .fingerprint import fingerprint_of
from .mistakes import as_retrieval_errors
from .pipeline import TestPipeline, find_test_steps
from .reading import MAX_PIXELS

_AMP_TYPES = {'fp16': torch.float16, 'bf16': torch.bfloat16}


class Encoder(BaseEncoder):
    """Makes embeddings with the model of a config.

    ``Encoder('configs/my.py', 'epoch_50.pth').encode(['a.jpg', 'b.jpg']).embeddings['aggregated']`` is (2, C).

    Args:
        config: Config of the model; its test pipeline prepares the photos.
        checkpoint: Path or URL of its weights; read without running code from it.
        device: Defaults to the GPU if there is one.
        amp: Mixed precision: ``'fp16'``, ``'bf16'``, or True for float16 on GPU and bfloat16 elsewhere.
        spaces: What to embed, the default of searches first: ``'aggregated'``, ``'global'``, ``'crop'``, ``'concat'``
            of a GLSim model (see :class:`~glsim_mm.search.encoder.embedder.GLSimEmbedder`), ``'global'`` of all others.
            Defaults to all but ``'concat'``.
        keep_patches: Keep the tokens of the selected patches, for re-ranking by regions.
        classify: Give the probabilities of the model's own classes too.
        max_pixels: Photos with more are not decoded. Defaults to Pillow's limit, 179 million.

    Raises:
        RetrievalError: If config or checkpoint cannot be used, or the model does not have a space.
    """

    pipeline: TestPipeline

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path,
        device: str | torch.device | None = None,
        amp: bool | str = False,
        spaces: Sequence[str] | None = None,
        keep_patches: bool = False,
        classify: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.config = read_config(config)
        with as_retrieval_errors():
            with explain_config_errors():
                self._model = load_model(self.config, str(checkpoint), device)
                self.pipeline = TestPipeline(
                    find_test_steps(self.config), self.config.get('default_scope') or 'mmpretrain'
                )
        self.checkpoint = str(checkpoint)
        self._embedder = find_embedder(self._model)
        self.has_regions = self._embedder.has_regions
        self.spaces = check_spaces(spaces, self._embedder.spaces, self._embedder.defaults, self.description)
        if keep_patches and not self._embedder.has_regions:
            raise RetrievalError(f'{self.description} selects no patches to keep: leave keep_patches out')
        self.keep_patches = keep_patches
        self.classify = classify
        self.max_pixels = max_pixels
        self.device = next((parameter.device for parameter in self._model.parameters()), torch.device('cpu'))
        self._amp_type = _amp_type(amp, self.device)
        self.uses_amp = self._amp_type is not None

    @property
    def description(self) -> str:
        """What messages call the model."""
        module = self._embedder.module
        backbone = getattr(module, 'backbone', None)
        return type(module).__name__ + (f' with {type(backbone).__name__}' if backbone is not None else '')

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the model was trained on; empty where neither checkpoint nor config knows them."""
        return tuple(getattr(self._model, '_dataset_meta', {}).get('classes') or ())

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Hashes of weights, config and test pipeline."""
        description = f'{self.description}, {Path(self.checkpoint).name}'
        return fingerprint_of(self._embedder.module, self.config, self.pipeline.steps, description)

    @torch.inference_mode()
    def forward(self, inputs: Tensor) -> Features:
        """The model's part of the work.

        Args:
            inputs: (B, 3, h, w) of the test pipeline, not normalised yet.

        Returns:
            On the model's device.
        """
        amp = nullcontext() if self._amp_type is None else torch.autocast(self.device.type, self._amp_type)
        with amp:
            moved = inputs.to(self.device, non_blocking=True)
            prepared = self._model.data_preprocessor(dict(inputs=moved), training=False)['inputs']
            return self._embedder(prepared, self.spaces, self.keep_patches, self.classify)


def read_config(config: str | Path | Config) -> Config:
    """Config of a model.

    Args:
        config: A file, or what was read from it.

    Returns:
        Itself if it was read already.

    Raises:
        RetrievalError: If the file is no config.
    """
    with as_retrieval_errors():
        return config if isinstance(config, Config) else load_config(config)


def _amp_type(amp: bool | str, device: torch.device) -> torch.dtype | None:
    if not amp:
        return None
    if amp is True:
        return torch.float16 if device.type == 'cuda' else torch.bfloat16
    if amp not in _AMP_TYPES:
        raise RetrievalError(f'amp must be True, False or one of {", ".join(_AMP_TYPES)}, got {amp!r}')
    return _AMP_TYPES[amp]
