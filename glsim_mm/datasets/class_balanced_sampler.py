"""Draws batches of a few classes with several images each, which losses on pairs of images need."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler

from ..errors import GLSimError


@DATA_SAMPLERS.register_module()
class ClassBalancedBatchSampler(BatchSampler):
    """Draws P classes x K images per batch and process; the ``batch_sampler`` of a loader with a ``DefaultSampler``.

    Classes are drawn equally often, however many images they have; within a class, no image is repeated before all have
    been drawn. The classes of a batch differ, across all processes too where there are enough. A class with fewer than
    K images repeats some, augmented differently.

    Batches depend on seed and epoch alone, so a resumed run sees the same ones as an uninterrupted run. An epoch has as
    many batches as fit into the data set. P is ``batch_size / images_per_class``::

        train_dataloader = dict(batch_size=64, sampler=dict(type='DefaultSampler', shuffle=True),
                                batch_sampler=dict(type='ClassBalancedBatchSampler', images_per_class=4))

    Args:
        sampler: The data loader's, whose data set, seed, epoch and rank are used.
        batch_size: The data loader's: images per batch and process.
        images_per_class: K, >= 1.

    Raises:
        GLSimError: If K does not divide the batch size, the sampler has no seed, an image does not have exactly
            one label, or the data set has fewer than P classes.
    """

    def __init__(self, sampler: Any, batch_size: int, images_per_class: int = 4) -> None:
        if images_per_class < 1 or batch_size < 1 or batch_size % images_per_class:
            raise GLSimError(
                f'ClassBalancedBatchSampler: images_per_class={images_per_class} does not divide '
                f'batch_size={batch_size}; change one of them in train_dataloader'
            )
        if not all(hasattr(sampler, name) for name in ('dataset', 'seed', 'epoch', 'rank', 'world_size')):
            raise GLSimError(
                f"ClassBalancedBatchSampler needs sampler=dict(type='DefaultSampler') beside it, "
                f'got {type(sampler).__name__}'
            )
        super().__init__(sampler, batch_size, drop_last=True)
        self.images_per_class = images_per_class
        self.classes_per_batch = batch_size // images_per_class
        labels = read_labels(sampler.dataset)
        self.members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if len(self.members) < self.classes_per_batch:
            raise GLSimError(
                f'a batch of {batch_size} images, {images_per_class} per class, has {self.classes_per_batch} classes, '
                f'but the data set has {len(self.members)}: lower batch_size or raise images_per_class'
            )
        self.num_batches = max(1, len(labels) // (batch_size * sampler.world_size))

    def __len__(self) -> int:
        """Batches per epoch and process."""
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        """Batches of this process in the sampler's epoch, ``batch_size`` indices each, grouped by class."""
        rank, world_size = self.sampler.rank, self.sampler.world_size
        generator = np.random.default_rng((self.sampler.seed, self.sampler.epoch))
        together = world_size if world_size * self.classes_per_batch <= len(self.members) else 1
        classes = _Deck(len(self.members), generator)
        images = [_Deck(len(members), generator) for members in self.members]
        for _ in range(self.num_batches):
            # Every process deals the batches of all, so that all have the same cards left.
            dealt = [classes.deal(together * self.classes_per_batch) for _ in range(world_size // together)]
            for turn, chosen in enumerate(np.concatenate(dealt).reshape(world_size, -1)):
                rows = [self.members[label][images[label].deal(self.images_per_class)] for label in chosen]
                if turn == rank:
                    yield np.concatenate(rows).tolist()


class _Deck:
    """Deals the numbers below n in random order; no number comes again before all have been dealt."""

    def __init__(self, size: int, generator: np.random.Generator) -> None:
        self.size = size
        self.generator = generator
        self.left = np.empty(0, np.int64)

    def deal(self, count: int) -> np.ndarray:
        """The next numbers: different ones if ``count <= n``."""
        while len(self.left) < count:
            fresh = self.generator.permutation(self.size)
            is_left = np.isin(fresh, self.left)
            self.left = np.concatenate([self.left, fresh[~is_left], fresh[is_left]])
        dealt, self.left = self.left[:count], self.left[count:]
        return dealt


def read_labels(dataset: Any) -> np.ndarray:
    """Read the labels of a data set of mmengine or a wrapper, one per image, without its images; int64, (n,)."""
    labels: Sequence[np.ndarray] = [
        np.atleast_1d(dataset.get_data_info(index).get('gt_label', ())) for index in range(len(dataset))
    ]
    if not labels or any(label.size != 1 for label in labels):
        raise GLSimError('ClassBalancedBatchSampler needs a data set with one label per image')
    return np.concatenate(labels).astype(np.int64)
