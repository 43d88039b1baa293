"""Base of the data sets here: a folder in its published layout, an official split, classes and their ancestors."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from mmengine import fileio
from mmpretrain.datasets import BaseDataset

from ..errors import GLSimError


class FineGrainedDataset(BaseDataset):
    """A split of a data set whose annotations lie in files of its own below one folder.

    Samples have ``img_path``, ``gt_label`` and, where the set has boxes, ``gt_bboxes`` (n, 4) float32
    ``x0, y0, x1, y1`` in pixels of the file's image.

    Metainfo has ``classes`` (names in order of the labels), ``sizes`` (images of each official split, None where not
    published) and, where the set has a hierarchy, ``ancestors``: for each class the names of the groups that it belongs
    to, the coarsest first.

    Args:
        data_root: The folder.
        split: One of the class's ``SIZES``. Defaults to the first.
        metainfo: Takes the place of what the files say.
        **kwargs: Further arguments of mmpretrain's :class:`BaseDataset`.

    Raises:
        GLSimError: If the split is unknown or empty, or the folder is not there.
    """

    SIZES: ClassVar[dict[str, int | None]] = {}
    """Number of images of each official split, None where it is not published."""

    TRAINING_SPLITS: ClassVar[tuple[str, ...]] = ('train', 'trainval')

    def __init__(self, data_root: str, split: str | None = None, metainfo: dict | None = None, **kwargs) -> None:
        name, data_root = type(self).__name__, str(data_root)
        split = next(iter(self.SIZES)) if split is None else split
        if split not in self.SIZES:
            raise GLSimError(f'{name}: split must be one of {", ".join(self.SIZES)}, got {split!r}; correct the config')
        if not fileio.isdir(data_root):
            raise GLSimError(f'{name}: data folder {data_root} does not exist; set data_root of the data sets')
        self.split = split
        kwargs.setdefault('test_mode', split not in self.TRAINING_SPLITS)
        found = {'sizes': dict(self.SIZES), **self.read_metainfo(data_root)}
        super().__init__('', metainfo={**found, **(metainfo or {})}, data_root=data_root, **kwargs)

    @abstractmethod
    def read_metainfo(self, data_root: str) -> dict:
        """Classes and ancestors from the set's files.

        Args:
            data_root: The folder.

        Returns:
            ``classes`` and, if there is a hierarchy, ``ancestors``.
        """

    @abstractmethod
    def read_samples(self) -> list[dict]:
        """Samples of ``self.split``: ``img_path`` below the folder, ``gt_label``, and ``gt_bboxes`` if there are any.

        Returns:
            In the order of the files.
        """

    def load_data_list(self) -> list[dict]:
        """Samples with full paths; :meth:`full_init` calls it."""
        samples = self.read_samples()
        if not samples:
            raise GLSimError(f'{type(self).__name__}: no image of {self.data_root} belongs to the {self.split} split')
        for sample in samples:
            sample['img_path'] = fileio.join_path(self.data_root, sample['img_path'])
            if 'gt_bboxes' in sample:
                sample['gt_bboxes'] = np.asarray(sample['gt_bboxes'], np.float32).reshape(-1, 4)
        return samples

    def path(self, *parts: str) -> str:
        """A path below the data folder."""
        return fileio.join_path(self.data_root, *parts)

    def extra_repr(self) -> list[str]:
        """Lines for ``repr``."""
        return [f'Root of dataset: \t{self.data_root}', f'Split: \t{self.split}']
