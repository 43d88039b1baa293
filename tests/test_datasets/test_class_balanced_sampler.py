"""Batches of P classes x K images: contents, processes, epochs, resuming."""

from collections import Counter

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, DefaultSampler
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATA_SAMPLERS

from glsim_mm.datasets import ClassBalancedBatchSampler
from glsim_mm.errors import GLSimError

SIZES = (1, 3, 40, 5, 5, 6)  # images per class


class LabelledRows(BaseDataset):
    """Rows with labels and no images."""

    def __init__(self, sizes=SIZES) -> None:
        self.sizes = sizes
        super().__init__('', pipeline=[])

    def load_data_list(self) -> list[dict]:
        return [dict(gt_label=label) for label, size in enumerate(self.sizes) for _ in range(size)]


LABELS = np.repeat(np.arange(len(SIZES)), SIZES)


def make_sampler(dataset=None, rank=0, world_size=1, seed=3, batch_size=8, **options) -> ClassBalancedBatchSampler:
    sampler = DefaultSampler(dataset or LabelledRows(), seed=seed)
    sampler.rank, sampler.world_size = rank, world_size
    return ClassBalancedBatchSampler(sampler, batch_size, **options)


def test_a_batch_has_few_classes_with_several_images_each():
    sampler = make_sampler(images_per_class=2)
    batches = list(sampler)
    assert len(batches) == len(sampler) == len(LABELS) // 8
    for batch in batches:
        labels = LABELS[batch].reshape(4, 2)
        assert (labels[:, 0] == labels[:, 1]).all() and len(set(labels[:, 0])) == 4
        # an image twice only where its class has no other
        assert all(count == 1 or SIZES[LABELS[row]] == 1 for row, count in Counter(batch).items())


def test_classes_come_equally_often_and_images_before_they_come_again():
    sampler = make_sampler(images_per_class=2)
    sampler.num_batches = 30
    rows = np.concatenate(list(sampler))
    counts = np.bincount(LABELS[rows])
    assert counts.max() - counts.min() <= 2  # one turn of a class
    for label in range(len(SIZES)):
        times = np.bincount(rows[LABELS[rows] == label], minlength=len(LABELS))[LABELS == label]
        assert times.max() - times.min() <= 1


@pytest.mark.parametrize(('world_size', 'batch_size'), [(2, 6), (3, 10)])
def test_processes_share_the_classes(world_size, batch_size):
    """Different ones where there are enough: 2 x 3 of 6 classes, but not 3 x 5."""
    shares = [
        list(make_sampler(rank=rank, world_size=world_size, batch_size=batch_size, images_per_class=2))
        for rank in range(world_size)
    ]
    assert len({len(share) for share in shares}) == 1
    for batches in zip(*shares):
        classes = [set(LABELS[batch]) for batch in batches]
        assert all(len(found) == batch_size // 2 for found in classes)
        if world_size == 2:
            assert not classes[0] & classes[1]
    assert len(shares[0]) == len(LABELS) // (world_size * batch_size)


def test_an_epoch_depends_on_seed_and_epoch_alone():
    first, again, other = make_sampler(), make_sampler(), make_sampler(seed=4)
    epochs = []
    for epoch in range(3):
        first.sampler.set_epoch(epoch)
        epochs.append(list(first))
    again.sampler.set_epoch(2)  # resumed
    assert list(again) == epochs[2]
    assert epochs[0] != epochs[1] != epochs[2]
    assert list(other) != epochs[0]


def test_a_data_loader_of_mmengine_builds_it():
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=0,
            dataset=ConcatDataset([LabelledRows((2, 2)), LabelledRows((3, 3))], ignore_keys='classes'),
            sampler=dict(type='DefaultSampler', shuffle=True),
            batch_sampler=dict(type='mmpretrain.ClassBalancedBatchSampler', images_per_class=2),
            collate_fn=lambda samples: [sample['gt_label'] for sample in samples],
        ),
        seed=7,
    )
    assert isinstance(loader.batch_sampler, ClassBalancedBatchSampler) and loader.batch_sampler.sampler.seed == 7
    assert len(loader) == 2
    assert all(sorted(batch) == [0, 0, 1, 1] for batch in loader)


def test_an_epoch_has_a_batch_at_least():
    assert len(list(make_sampler(LabelledRows((1, 1)), batch_size=8))) == 1


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: make_sampler(images_per_class=3), 'images_per_class=3 does not divide batch_size=8'),
        (lambda: make_sampler(batch_size=14, images_per_class=2), 'has 7 classes, but the data set has 6'),
        (lambda: ClassBalancedBatchSampler(range(8), 4), "needs sampler=dict\\(type='DefaultSampler'\\)"),
    ],
)
def test_mistakes_of_a_config(make, message):
    with pytest.raises(GLSimError, match=message):
        make()


class TwoLabels(LabelledRows):
    """An image with two labels."""

    def load_data_list(self) -> list[dict]:
        return [dict(gt_label=[0, 1])]


def test_images_need_one_label():
    with pytest.raises(GLSimError, match='one label per image'):
        make_sampler(TwoLabels())


def test_it_is_registered():
    assert DATA_SAMPLERS.get('ClassBalancedBatchSampler') is ClassBalancedBatchSampler
