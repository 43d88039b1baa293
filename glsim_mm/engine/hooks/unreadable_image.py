"""Says how many images of an epoch could not be read."""

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from .datasets import all_transforms, leaf_datasets


@HOOKS.register_module()
class UnreadableImageHook(Hook):
    """Reports, after each epoch, the images that loading transforms counted as unreadable since the last report.

    Counts come from every transform with an integer ``num_unreadable`` that all worker processes share, such as
    :class:`LoadImage`; numbers of all ranks are added up.
    """

    priority = 'LOW'

    def __init__(self) -> None:
        self._reported: dict[str, int] = {}

    def after_train_epoch(self, runner: Runner) -> None:
        """Report on the training images."""
        self._report(runner, 'train', runner.train_dataloader.dataset)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Report on the validation images."""
        self._report(runner, 'val', runner.val_dataloader.dataset)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Report on the test images."""
        self._report(runner, 'test', runner.test_dataloader.dataset)

    def _report(self, runner: Runner, split: str, dataset: object) -> None:
        total = torch.tensor(count_unreadable(dataset))
        all_reduce(total)
        new = int(total) - self._reported.get(split, 0)
        self._reported[split] = int(total)
        if new > 0:
            treatment = 'others took their place' if split == 'train' else 'they were scored as blank images'
            runner.logger.warning(f'{new} unreadable images met in this {split} epoch: {treatment}.')


def count_unreadable(dataset: object) -> int:
    """Unreadable images met so far by a dataset's transforms.

    Args:
        dataset: A dataset with a ``pipeline``, or a wrapper of such.

    Returns:
        Sum of ``num_unreadable`` over all transforms, 0 without such a transform.
    """
    return sum(
        transform.num_unreadable
        for leaf in leaf_datasets(dataset)
        for transform in all_transforms(getattr(leaf, 'pipeline', ()))
        if hasattr(transform, 'num_unreadable')
    )
