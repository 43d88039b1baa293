"""Encodes the gallery of a retriever, in one process or several."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.dist import all_reduce
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.utils import track_on_main_process
from torch.utils.data import DataLoader

from ...compat.devices import fit_dataloader
from ...errors import GLSimError

_BATCH_SIZE = 32
_EXCHANGED_BYTES = 64 * 2**20


def build_loader(source: Any) -> DataLoader:
    """A data loader over a gallery, in the gallery's order.

    Args:
        source: A loader, which is returned as it is, or a data set, or the config of either.

    Returns:
        Shared among the processes of a distributed run unless its own sampler says otherwise.
    """
    if isinstance(source, DataLoader):
        return source
    if not isinstance(source, dict):
        sampler = DefaultSampler(source, shuffle=False)
        return DataLoader(source, batch_size=_BATCH_SIZE, sampler=sampler, collate_fn=default_collate)
    if 'dataset' not in source or 'type' in source:  # a data set's own config has a type
        source = dict(batch_size=_BATCH_SIZE, num_workers=0, dataset=source)
    config = {'sampler': dict(type='DefaultSampler', shuffle=False), **source}
    fit_dataloader(config)
    current = DefaultScope.get_current_instance()  # there is one in a runner
    with DefaultScope.overwrite_default_scope('mmpretrain' if current is None else current.scope_name):
        return Runner.build_dataloader(config)


def encode_gallery(loader: DataLoader, encode: Callable[[dict], np.ndarray]) -> np.ndarray:
    """Embeddings of all images of a gallery, in every process.

    mmpretrain adds up what the processes encoded, so images that a sampler gives to two processes, to make their shares
    equal, end up with the sum of both (compare https://github.com/open-mmlab/mmpretrain/issues/1310). Here they get the
    mean, and an image that none encoded is an error, not a row of zeros.

    Args:
        loader: Its data samples have ``sample_idx``, the row of each image.
        encode: From a batch of B images to their embeddings, float32 (B, C).

    Returns:
        float32, (M, C); M is the length of the data set.

    Raises:
        GLSimError: If the gallery is empty, a sample has no ``sample_idx``, or an image was not encoded.
    """
    count = len(loader.dataset)  # type: ignore[arg-type]
    if count == 0:
        raise GLSimError('the gallery of the retriever has no images; check the data set of model.prototype')
    vectors, times = None, torch.zeros(count)
    for batch in track_on_main_process(loader, 'Prepare prototype'):
        embeddings = encode(batch)
        rows = [_row(sample, count) for sample in batch['data_samples']]
        vectors = np.zeros((count, embeddings.shape[1]), np.float32) if vectors is None else vectors
        vectors[rows] = embeddings
        times[rows] = 1
    width = torch.tensor(0 if vectors is None else vectors.shape[1])
    all_reduce(width, 'max')
    vectors = np.zeros((count, int(width)), np.float32) if vectors is None else vectors
    all_reduce(times)
    if not times.all():
        raise GLSimError(
            f'{int((times == 0).sum())} of {count} gallery images were not encoded: the data loader of model.prototype '
            'must go through all of them (round_up=True, drop_last=False)'
        )
    _add_up(vectors)
    vectors /= times.numpy()[:, None]
    return vectors


def _row(sample: Any, count: int) -> int:
    row = sample.get('sample_idx')
    if row is None or not 0 <= int(row) < count:
        raise GLSimError(
            f'a gallery image has sample_idx={row}, not a row of {count}: use a data set of mmengine and name '
            'sample_idx in meta_keys of PackInputs'
        )
    return int(row)


def _add_up(vectors: np.ndarray) -> None:
    """Sum over processes, in place; in blocks, as an exchange may take place in the memory of a GPU."""
    step = max(1, _EXCHANGED_BYTES // vectors[0].nbytes)
    for start in range(0, len(vectors), step):
        all_reduce(torch.from_numpy(vectors[start : start + step]))
