"""Counts are found in every wrapper of data sets and transforms."""

import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmpretrain.registry import TRANSFORMS

from glsim_mm.datasets.class_mapping import leaf_datasets
from glsim_mm.engine.hooks.training_guards import count_unreadable
from glsim_mm.engine.hooks.wrappers import all_transforms


class Counts:
    """A transform that met ``num_unreadable`` unreadable images."""

    def __init__(self, num_unreadable: int) -> None:
        self.num_unreadable = num_unreadable

    def __call__(self, results: dict) -> dict:
        return results


class OneImage(BaseDataset):
    """One sample and a pipeline."""

    def __init__(self, *pipeline: object) -> None:
        super().__init__(pipeline=list(pipeline), data_prefix={})

    def load_data_list(self) -> list[dict]:
        return [dict(img_path='0.png', gt_label=0)]

    def get_cat_ids(self, idx: int) -> list[int]:
        return [0]


def test_data_set_without_such_transforms():
    assert count_unreadable(OneImage()) == 0
    assert count_unreadable([1, 2]) == 0


def test_wrapped_data_sets():
    first, second = OneImage(Counts(1)), OneImage(Counts(2))
    assert list(leaf_datasets(ConcatDataset([first, second]))) == [first, second]
    assert count_unreadable(ConcatDataset([first, second])) == 3
    assert count_unreadable(RepeatDataset(second, 3)) == 2
    assert count_unreadable(ClassBalancedDataset(second, 0.1)) == 2
    assert count_unreadable(torch.utils.data.Subset(second, [0])) == 2


def test_nested_transforms():
    choice = TRANSFORMS.build(dict(type='RandomChoice', transforms=[[dict(type='RandomFlip', prob=0.5)]]))
    counter = Counts(4)
    choice.transforms[0].transforms.append(counter)
    assert counter in list(all_transforms(choice))
    assert count_unreadable(OneImage(choice)) == 4
