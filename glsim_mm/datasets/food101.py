"""Food-101 with errors that name the line."""

from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_lines
from .fine_grained import FineGrainedDataset


@DATASETS.register_module()
class Food101Format(FineGrainedDataset):
    """Food-101 (Bossard et al., ECCV 2014; https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101): 101 dishes.

    101,000 photos in the layout of mmpretrain's ``Food101``: ``images/apple_pie/1005649.jpg``, ``meta/classes.txt``,
    ``meta/train.txt`` and ``meta/test.txt``. Labels follow ``classes.txt``, as mmpretrain's do.

    Args:
        data_root: The folder.
        split: ``'train'`` or ``'test'``. Defaults to ``'train'``.
        **kwargs: See :class:`FineGrainedDataset`.

    Raises:
        GLSimError: If a file is not there or a line cannot be read.
    """

    SIZES = dict(train=75750, test=25250)

    def read_metainfo(self, data_root: str) -> dict:
        """Names of the folders; see the base class."""
        lines = read_lines(fileio.join_path(data_root, 'meta', 'classes.txt'))
        return dict(classes=tuple(line.strip() for line in lines if line.strip()))

    def read_samples(self) -> list[dict]:
        """Photos of the split in the order of the file; see the base class."""
        path, samples = self.path('meta', f'{self.split}.txt'), []
        label_of = {name: label for label, name in enumerate(self.CLASSES)}
        for number, line in enumerate(read_lines(path), start=1):
            name, _, photo = line.strip().partition('/')
            if not name:
                continue
            if name not in label_of or not photo:
                raise GLSimError(f'line {number} of {path} is no photo of a known class ({line.strip()!r}); correct it')
            samples.append(dict(img_path=f'images/{name}/{photo}.jpg', gt_label=label_of[name]))
        return samples
