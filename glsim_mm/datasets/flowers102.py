"""Oxford Flowers-102 with class names."""

import torchvision
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_mat, read_mat_fields
from .fine_grained import FineGrainedDataset

_LIST_OF_SPLIT = dict(train=('trnid',), val=('valid',), trainval=('trnid', 'valid'), test=('tstid',))
_NUM_CLASSES = 102


@DATASETS.register_module()
class Flowers102Format(FineGrainedDataset):
    """Oxford Flowers-102 (Nilsback and Zisserman, 2008; https://www.robots.ox.ac.uk/~vgg/data/flowers/102).

    8,189 photos in the layout of mmpretrain's ``Flowers102``: ``jpg/image_00001.jpg``, ``imagelabels.mat`` and
    ``setid.mat``. That class has no names of the classes; here they are torchvision's (0.21 or newer), as the set's own
    files have none.

    Args:
        data_root: The folder.
        split: ``'trainval'``, ``'train'``, ``'val'`` or ``'test'``. Defaults to ``'trainval'``.
        **kwargs: See :class:`FineGrainedDataset`.

    Raises:
        GLSimError: If a file is not there or cannot be read, or a photo or label is out of range.
    """

    SIZES = dict(trainval=2040, train=1020, val=1020, test=6149)

    def read_metainfo(self, data_root: str) -> dict:
        """Names; see the base class."""
        names = getattr(torchvision.datasets.Flowers102, 'classes', None)
        return dict(classes=tuple(names or (f'flower {number}' for number in range(1, _NUM_CLASSES + 1))))

    def read_samples(self) -> list[dict]:
        """Photos of the split in the order of ``setid.mat``; see the base class."""
        labels_file, splits_file = self.path('imagelabels.mat'), self.path('setid.mat')
        (labels,) = read_mat_fields(read_mat(labels_file), ('labels',), labels_file)
        splits, samples = read_mat(splits_file), []
        for name in _LIST_OF_SPLIT[self.split]:
            for photo in read_mat_fields(splits, (name,), splits_file)[0]:
                if not 1 <= photo <= len(labels):
                    raise GLSimError(f'{splits_file} lists photo {photo}, but {labels_file} has {len(labels)} labels')
                label = int(labels[photo - 1]) - 1
                if not 0 <= label < len(self.CLASSES):
                    raise GLSimError(f'{labels_file} gives photo {photo} the class {label + 1}, but there are 1 to 102')
                samples.append(dict(img_path=f'jpg/image_{photo:05d}.jpg', gt_label=label))
        return samples
