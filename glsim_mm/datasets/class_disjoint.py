"""Splits by classes, for retrieval: the model is tested on classes that it has not been trained on."""

from collections.abc import Sequence

from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from ..images.photo_folders import LeftOut
from .data_faults import left_out_of

HALVES = ('train', 'test')


@DATASETS.register_module()
class ClassDisjointSplit(BaseDataset):
    """Half of the classes of a data set, with all their images from the official splits.

    The protocol of metric learning (Oh Song et al., CVPR 2016): train on the first 100 classes of CUB-200-2011, search
    among all images of the other 100; Cars 98 / 98, Aircraft 50 / 50. For sets without a published split by classes
    (NABirds, iNaturalist 2017) the first half of the classes, rounded down, is for training too.

    Labels start from 0 within the half; metainfo has the names and, if there are any, the ancestors of its classes::

        splits = [dict(type='CUBFormat', data_root='data/CUB_200_2011', split=split) for split in ('train', 'test')]
        train_set = dict(type='ClassDisjointSplit', half='train', datasets=splits)

    Args:
        datasets: The official splits to draw from, as configs without a pipeline. All have the same classes.
        half: ``'train'`` or ``'test'``.
        num_train_classes: How many of the first classes are for training. Defaults to half of them, rounded down.
        **kwargs: Further arguments of mmpretrain's :class:`BaseDataset`, ``pipeline`` among them.

    Raises:
        GLSimError: If the half is unknown, a half would be empty, or the data sets differ in their classes.
    """

    def __init__(
        self, datasets: Sequence[dict], half: str = 'train', num_train_classes: int | None = None, **kwargs
    ) -> None:
        if half not in HALVES:
            raise GLSimError(f"ClassDisjointSplit: half must be 'train' or 'test', got {half!r}; correct the config")
        if not datasets:
            raise GLSimError('ClassDisjointSplit: datasets is empty; list the official splits of a data set')
        self.half = half
        self.left_out = LeftOut()
        # The parts live for a moment only: packing their samples would cost time.
        self._parts = [DATASETS.build({'serialize_data': False, **part}) for part in datasets]
        metainfo = self._parts[0].metainfo
        if any(part.metainfo.get('classes') != metainfo.get('classes') for part in self._parts):
            raise GLSimError('ClassDisjointSplit: the data sets have different classes; list splits of one data set')
        num_classes = len(metainfo.get('classes') or ())
        middle = num_classes // 2 if num_train_classes is None else num_train_classes
        if not 0 < middle < num_classes:
            raise GLSimError(
                f'ClassDisjointSplit: {middle} of {num_classes} classes for training leaves a half empty; choose '
                'another num_train_classes'
            )
        self.first, self.last = (0, middle) if half == 'train' else (middle, num_classes)
        own = {name: metainfo[name][self.first : self.last] for name in ('classes', 'ancestors') if name in metainfo}
        kwargs.setdefault('test_mode', half == 'test')
        super().__init__('', metainfo={**own, **(kwargs.pop('metainfo', None) or {})}, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Samples of the half, the official splits one after another; :meth:`full_init` calls it."""
        parts, self._parts = self._parts, []  # their samples are copied, so the parts can go
        samples = []
        for part in parts:
            part.full_init()
            self.left_out.update(left_out_of(part))
            for index in range(len(part)):
                sample = part.get_data_info(index)
                if self.first <= sample['gt_label'] < self.last:
                    sample['gt_label'] -= self.first
                    del sample['sample_idx']  # of the part
                    samples.append(sample)
        return samples

    def extra_repr(self) -> list[str]:
        return [f'Classes: \t{self.first} to {self.last - 1}', f'Half: \t{self.half}']
