"""From photos to embeddings with the model of a config."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint

from ..apis.config_errors import explain_config_errors
from ..apis.exported_steps import find_image_size, translate_steps
from ..apis.model import load_model
from ..apis.options import load_config
from ..apis.photo_pipeline import TestPipeline, find_background, find_test_steps
from ..compat.devices import warn_of_slow_types
from ..errors import GLSimError
from ..exported.onnx_model import ExportedInfo
from ..images.photos import MAX_PIXELS, ImageItem
from ..images.preparing import Batch, Prepared, collate, prepare_photo
from .base_encoder import BaseEncoder, Features, check_spaces
from .embedder import Embedder

_AMP_TYPES = {'fp16': torch.float16, 'bf16': torch.bfloat16}


class Encoder(BaseEncoder):
    """Makes embeddings with the model of a config.

    ::

        encoder = Encoder('configs/my.py', 'epoch_50.pth')
        encoded = encoder.encode(['a.jpg', 'b.jpg'])
        print(encoded.embeddings['aggregated'].shape, encoded.records[0].box)

    Args:
        config: Config of the model; its test pipeline prepares the photos.
        checkpoint: Path or URL of its weights; read without running code from it.
        device: Defaults to the GPU if there is one.
        amp: Mixed precision: ``'fp16'``, ``'bf16'``, or True for float16 on GPU and bfloat16 elsewhere.
        spaces: What to embed, the default of searches first: ``'aggregated'``, ``'global'``, ``'crop'``, ``'concat'``
            and ``'centre'`` of a GLSim model (see :class:`~glsim_mm.search.embedder.Embedder`), ``'global'`` and
            ``'centre'`` of all others. Defaults to all but ``'concat'`` and ``'centre'``.
        keep_patches: Keep the tokens of the selected patches, for re-ranking by regions.
        classify: Give the probabilities of the model's own classes too.
        max_pixels: Photos with more are not decoded. Defaults to 268 million.

    Raises:
        UserError: If config or checkpoint cannot be used, or the model does not have a space.
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
        self.config = config if isinstance(config, Config) else load_config(config)
        with explain_config_errors():
            self.checkpoint = str(checkpoint)
            self._model = self._load_model(device)
            self.pipeline = TestPipeline(self.config)
        self._embedder = Embedder(self._model)
        self.description, self.has_regions = self._embedder.description, self._embedder.has_regions
        self.classes = tuple(getattr(self._model, '_dataset_meta', {}).get('classes') or ())
        self.spaces = check_spaces(spaces, self._embedder.spaces, self.description)
        if keep_patches and not self._embedder.has_regions:
            raise RetrievalError(
                f'{self.description} selects no patches to keep: leave --keep-patches (in Python, keep_patches) out'
            )
        self.keep_patches = keep_patches
        self.classify = classify
        self.max_pixels = max_pixels
        self.device = next((parameter.device for parameter in self._model.parameters()), torch.device('cpu'))
        self.usual_batch = 64 if self.device.type == 'cuda' else 16
        self._amp_type = _amp_type(amp, self.device)
        self.uses_amp = self._amp_type is not None
        if self.uses_amp and self.device.type == 'cpu':
            warn_of_slow_types('--amp (in Python, amp)')

    def _load_model(self, device: str | torch.device | None) -> nn.Module:
        return load_model(self.config, self.checkpoint, device)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Hashes of weights, config and test pipeline."""
        return self._embedder.fingerprint(self.config, self.checkpoint)

    def describe(self) -> ExportedInfo | None:
        """As the file would that ``glsim export`` writes; None where the test pipeline cannot be exported."""
        try:
            steps = translate_steps(find_test_steps(self.config))
            size = find_image_size(steps)
        except GLSimError:
            return None
        return ExportedInfo(
            self.description,
            size,
            steps,
            outputs=[],
            spaces=list(self.spaces),
            classes=list(self.classes),
            fingerprint=asdict(self.fingerprint),
            background=find_background(self.config),
        )

    def with_patches(self) -> BaseEncoder:
        """The same model, of which patches are kept; RetrievalError if it selects none."""
        if not self.has_regions:
            raise RetrievalError(f'{self.description} selects no patches to compare: take a model that selects regions')
        return super().with_patches()

    @torch.inference_mode()
    def forward(self, inputs: Tensor) -> Features:
        """The model's part of the work, with tensors on its device; may be called by several threads at a time."""
        amp = nullcontext() if self._amp_type is None else torch.autocast(self.device.type, self._amp_type)
        with amp:
            moved = inputs.to(self.device, non_blocking=True)
            prepared = self._model.data_preprocessor(dict(inputs=moved), training=False)['inputs']
            return self._embedder(prepared, self.spaces, self.keep_patches, self.classify)

    def load_batches(
        self, items: Sequence[ImageItem], positions: Sequence[int] | None, batch_size: int, num_workers: int
    ) -> Iterator[Batch]:
        """Read photos ahead of the model, in ``num_workers`` processes; see the base class."""
        loader = DataLoader(
            _Photos(self, items, positions),
            batch_size=batch_size,
            num_workers=num_workers,
            collate_fn=partial(collate, stack=torch.stack),
            pin_memory=self.device.type == 'cuda',
            prefetch_factor=4 if num_workers else None,
            worker_init_fn=_init_worker if num_workers else None,
        )
        for batches in loader:
            yield from batches

    def _take(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def _stack(self, inputs: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(inputs))

    def _fetch(self, value: Tensor) -> np.ndarray:
        return value.float().cpu().numpy()


class _Photos(Dataset):
    """Items as network inputs, for worker processes, which need the pipeline but not the model."""

    def __init__(self, encoder: Encoder, items: Sequence[ImageItem], positions: Sequence[int] | None) -> None:
        self._items = items
        self._positions = range(len(items)) if positions is None else positions
        self._settings = encoder.pipeline, encoder.has_regions, encoder.max_pixels

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, row: int) -> Prepared:
        position = self._positions[row]
        return prepare_photo(position, self._items[position], *self._settings)


def _init_worker(_: int) -> None:
    """OpenCV's own threads would take the model's processors; and 1 in place of 0 waits for threads that a forked
    process does not have, for ever.
    """
    cv2.setNumThreads(0)


def _amp_type(amp: bool | str, device: torch.device) -> torch.dtype | None:
    if not amp:
        return None
    if amp is True:
        return torch.float16 if device.type == 'cuda' else torch.bfloat16
    if amp not in _AMP_TYPES:
        raise RetrievalError(f'amp must be True, False or one of {", ".join(_AMP_TYPES)}, got {amp!r}')
    return _AMP_TYPES[amp]
