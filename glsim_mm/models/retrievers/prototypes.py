"""What a retriever searches: embeddings that it encodes or reads, or a gallery."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.dist import all_reduce
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.utils import track_on_main_process
from torch import Tensor, nn
from torch.utils.data import DataLoader

from retrieval.gallery import is_folder, open_gallery
from retrieval.index import VectorIndex
from retrieval.vectors import check_embeddings

from ...checkpoints.checkpoint_files import load_checkpoint_file
from ...compat.devices import fit_dataloader
from ...errors import GLSimError, one_line
from ..utils import hash_weights


class VectorPrototype:
    """Embeddings (M, C) in memory, searched as a preset of :mod:`retrieval.index` says; ``'flat'`` is exact.

    Rows are 0 to M - 1; scores are the larger the better.
    """

    def __init__(self, vectors: np.ndarray, metric: str, preset: str = 'flat') -> None:
        vectors = check_embeddings(vectors, 'prototype')
        self.index = VectorIndex.build(vectors, metric=metric, preset=preset)

    def __len__(self) -> int:
        """M."""
        return len(self.index)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 (N, k), best first, and rows int64 (N, k) for queries (N, C); -inf and -1 for none."""
        hits = self.index.search(queries, k)
        return (-hits.scores if self.index.metric == 'l2' else hits.scores), hits.ids

    def all_scores(self, queries: np.ndarray) -> np.ndarray:
        """Scores of every row, float32 (N, M)."""
        if self.index.metric == 'l2':  # by a product, small distances would drown in rounding
            return scatter_scores(len(self), *self.search(queries, len(self)))
        prepared, rows = self.index.prepare(queries, 'queries'), self.index.parts[0].rows
        return (torch.from_numpy(prepared) @ torch.from_numpy(rows).T).numpy()

    def vectors(self) -> np.ndarray:
        """Embeddings, float32 (M, C)."""
        return self.index.reconstruct(np.arange(len(self)))


class GalleryPrototype:
    """A gallery on disk or in Milvus that compares by ``metric``; its rows are its images in the order of their ids."""

    def __init__(self, gallery: Any, metric: str, space: str | None = None) -> None:
        found = gallery.manifest.metric
        if found != metric:
            raise GLSimError(f'the gallery compares by {found}, the retriever by {metric}: set similarity_fn={found!r}')
        self.gallery = gallery
        self.space = space
        self.ids = gallery.ids()
        if len(self.ids) == 0:
            raise GLSimError('the gallery of the retriever has no images; add some to it')

    def __len__(self) -> int:
        """Number of images."""
        return len(self.ids)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`VectorPrototype`."""
        hits = self.gallery.search(queries, k, space=self.space)
        rows = np.searchsorted(self.ids, hits.ids).clip(max=len(self.ids) - 1)
        rows = np.where(self.ids[rows] == hits.ids, rows, -1)  # others may add images meanwhile
        return (-hits.scores if self.gallery.manifest.metric == 'l2' else hits.scores), rows

    def all_scores(self, queries: np.ndarray) -> np.ndarray:
        """Scores of every row, float32 (N, M); -inf for what a server leaves out."""
        return scatter_scores(len(self), *self.search(queries, len(self)))

    def check_weights(self, model: nn.Module) -> None:
        """Refuse a gallery that a model with other weights made; galleries of unknown origin are not refused."""
        fingerprint = self.gallery.manifest.fingerprint
        if fingerprint is not None and fingerprint.weights and fingerprint.weights != hash_weights(model):
            raise GLSimError(
                f'the gallery was made by a model with other weights ({fingerprint.description or "not described"}): '
                'load its checkpoint, or build the gallery anew'
            )

    def ids_of(self, rows: np.ndarray) -> np.ndarray:
        """Ids of rows, int64; -1 stays -1."""
        return np.where(rows < 0, -1, self.ids[rows])

    def vectors(self) -> np.ndarray:
        """Embeddings, float32 (M, C)."""
        return self.gallery.vectors(self.ids, self.space)


Prototype = VectorPrototype | GalleryPrototype


def scatter_scores(count: int, scores: np.ndarray, rows: np.ndarray, table: np.ndarray | None = None) -> np.ndarray:
    """Write scores (N, k) of hits at their rows (N, k), -1 for none, into a table (N, count), at first -inf."""
    table = np.full((len(scores), count), -np.inf, np.float32) if table is None else table
    query, hit = np.nonzero(rows >= 0)
    table[query, rows[query, hit]] = scores[query, hit]
    return table


def open_prototype(location: str, metric: str, preset: str, space: str | None) -> Prototype:
    """What is searched at a path: a tensor (``.npy`` or a file of torch), or a gallery (folder, ``milvus://`` URI)."""
    if not is_folder(location) or Path(location).is_dir():
        return GalleryPrototype(open_gallery(location), metric, space)
    return VectorPrototype(_read_tensor(Path(location)), metric, preset)


def _read_tensor(path: Path) -> np.ndarray:
    if path.suffix != '.npy':
        tensor = load_checkpoint_file(path, map_location='cpu', name=f'prototype {path}')
        if not isinstance(tensor, Tensor):
            raise GLSimError(f'prototype {path} holds a {type(tensor).__name__}; save one tensor (M, C)')
        return tensor.float().numpy()
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise GLSimError(f'prototype {path} cannot be read ({one_line(error, 200)}); check the path') from error


_BATCH_SIZE = 32
_EXCHANGED_BYTES = 64 * 2**20


def build_loader(source: Any) -> DataLoader:
    """A data loader over a gallery, in the gallery's order: a loader as it is, a data set, or the config of either.

    Unless its own sampler says otherwise, the processes of a distributed run share it.
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
    """Embeddings of all images of a gallery, float32 (M, C), in every process.

    mmpretrain adds up what the processes encoded, so images that a sampler gives to two processes, to make their shares
    equal, end up with the sum of both (compare https://github.com/open-mmlab/mmpretrain/issues/1310). Here they get the
    mean, and an image that none encoded is an error, not a row of zeros. Data samples have ``sample_idx``, their row.
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
