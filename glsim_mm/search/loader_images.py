"""Images from any data loader, which has prepared them already."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from retrieval.errors import RetrievalError

from ..apis.photo_pipeline import TestPipeline
from ..images.photos import ImageItem, UnreadableImageError, hash_content, is_address, read_content
from ..images.preparing import Batch, Prepared, collate
from .items import class_name


class _Sample(NamedTuple):
    """One image of a loader's batch, with the label's number, the path and the photo's height and width where known."""

    inputs: Tensor
    label: Any = None
    path: str = ''
    shape: tuple[int, int] | None = None


class LoaderImages:
    """Reads a data loader once and remembers what it gave.

    A batch is a dict with ``inputs``, (B, 3, H, W) or a list of (3, H, W), and maybe ``data_samples``, as the loaders
    of mmengine give it; or ``inputs``; or ``(inputs, labels)``. Inputs have pixel values from 0 to 255 in the channel
    order of the config's test pipeline, not normalised: the model does that. Boxes are right if the loader prepares
    photos with the test pipeline of the config.

    Args:
        loader: Data loader of any data set.
        pipeline: Test pipeline of the model's config.

    Attributes:
        items: The images that were read so far, without paths.
        root: The data set's ``data_root``, absolute, or empty.
        count: How many images there are, if the data set knows.
    """

    def __init__(self, loader: DataLoader, pipeline: TestPipeline) -> None:
        dataset = loader.dataset
        folder = getattr(dataset, 'data_root', None)
        self.root = os.path.abspath(folder) if isinstance(folder, (str, Path)) and str(folder) else ''
        self.items: list[ImageItem] = []
        self.count = len(dataset) if hasattr(dataset, '__len__') else None
        self._loader = loader
        self._pipeline = pipeline
        metainfo = getattr(dataset, 'metainfo', None) or {}
        self._classes: Sequence[str] | None = metainfo.get('classes') or getattr(dataset, 'classes', None)

    def batches(self, is_known: Callable[[str], bool], hashes: dict[int, str]) -> Iterator[Batch]:
        """Batches for :meth:`Encoder.run`, without images whose content hash is known, which go into ``hashes``.

        Raises:
            RetrievalError: If a batch has another form.
        """
        for batch in self._loader:
            prepared = []
            for sample in _samples(batch):
                image = self._add(sample)
                if image.content_hash is not None and is_known(image.content_hash):
                    hashes[image.position] = image.content_hash
                else:
                    prepared.append(image)
            if prepared:
                yield from collate(prepared, torch.stack)

    def _add(self, sample: _Sample) -> Prepared:
        position = len(self.items)
        self.items.append(ImageItem(sample.path, label=class_name(sample.label, self._classes)))
        content_hash = _hash(sample)
        if sample.shape is None:
            return Prepared(position, sample.inputs, content_hash=content_hash)
        height, width = sample.shape
        matrix = self._pipeline.to_photo((height, width))
        return Prepared(position, sample.inputs, (width, height), matrix, (0, 0, height, width), content_hash)


def _hash(sample: _Sample) -> str:
    """Hash of the file, or of the tensor if there is none."""
    if sample.path and (is_address(sample.path) or os.path.isfile(sample.path)):
        try:
            return hash_content(read_content(sample.path))
        except UnreadableImageError:
            pass
    tensor = sample.inputs.detach().cpu().contiguous()
    digest = hashlib.sha256(f'{tensor.dtype} {tuple(tensor.shape)}\n'.encode())
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _samples(batch: Any) -> list[_Sample]:
    """The images of a batch, one by one."""
    inputs, known = batch, None  # known: data samples, or labels
    if isinstance(batch, Mapping):
        inputs, known = batch.get('inputs'), batch.get('data_samples')
    elif not isinstance(batch, Tensor) and isinstance(batch, Sequence) and batch:
        inputs, known = batch[0], batch[1] if len(batch) > 1 else None
    if not _are_images(inputs):
        raise RetrievalError(
            'a data loader must give dicts with inputs, (B, 3, H, W) or a list of (3, H, W), or (inputs, labels): '
            f'correct its collate function, which gave {type(batch).__name__}'
        )
    if known is None:
        return [_Sample(image) for image in inputs]
    return [_sample(*pair) for pair in zip(inputs, known)]


def _are_images(inputs: Any) -> bool:
    if isinstance(inputs, Tensor):
        return inputs.dim() == 4
    is_list = isinstance(inputs, (list, tuple)) and len(inputs) > 0
    return is_list and all(isinstance(one, Tensor) and one.dim() == 3 for one in inputs)


def _sample(image: Tensor, known: Any) -> _Sample:
    if not hasattr(known, 'get'):
        return _Sample(image, known)  # a label alone
    shape = known.get('ori_shape')
    size = None if shape is None else (int(shape[0]), int(shape[1]))
    return _Sample(image, known.get('gt_label'), str(known.get('img_path') or ''), size)
