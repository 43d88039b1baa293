"""Photos in one folder per class."""

from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from ..images.photos import PHOTO_SUFFIXES


@DATASETS.register_module()
class FolderDataset(CustomDataset):
    """mmpretrain's :class:`CustomDataset`, with photos of all :data:`PHOTO_SUFFIXES`, as all tools take them.

    ``CustomDataset`` itself leaves out ``.webp``, ``.tiff``, ``.gif`` and others without a word. In a config::

        train_dataloader = dict(dataset=dict(type='FolderDataset', data_root='data/my_birds', data_prefix='train'))

    Args:
        data_root: Folder that contains ``data_prefix``, below which there is one folder of photos per class.
        **kwargs: Further arguments of ``CustomDataset``; ``extensions`` chooses other endings.
    """

    def __init__(self, data_root: str = '', **kwargs) -> None:
        kwargs.setdefault('extensions', PHOTO_SUFFIXES)
        super().__init__(data_root, **kwargs)
