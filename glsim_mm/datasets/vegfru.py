"""VegFru: vegetables and fruits, with super-classes."""

from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_lines
from .fine_grained import FineGrainedDataset

# Folder of images, folder of lists, and prefix of the lists' names, for each half of the set.
_HALVES = (('veg200_images', 'veg200_lists', 'veg'), ('fru92_images', 'fru92_lists', 'fru'))


@DATASETS.register_module()
class VegFru(FineGrainedDataset):
    """VegFru (Hou et al., ICCV 2017; https://github.com/ustc-vim/vegfru): 292 classes, 160,731 photos.

    The folder holds ``veg200_images/``, ``fru92_images/`` and the lists ``veg200_lists/veg_train.txt``,
    ``fru92_lists/fru_train.txt`` and so on, with lines ``FOLDER/FILE LABEL``. The 200 vegetables are labels 0 to 199,
    the 92 fruits follow. A file's name begins with its half and super-class (``v_14_01_0121.jpg``): ancestors are
    ``('vegetable', 'vegetable 14')``, whose names in words the archive's lists do not give.

    Args:
        data_root: The folder.
        split: ``'train'``, ``'val'``, ``'trainval'`` (what the paper trains on) or ``'test'``. Defaults to ``'train'``.
        **kwargs: See :class:`FineGrainedDataset`.

    Raises:
        GLSimError: If a file is not there or a line cannot be read.
    """

    SIZES = dict(train=29200, val=14600, trainval=43800, test=116931)

    def read_metainfo(self, data_root: str) -> dict:
        """Names from the images' folders, super-classes from their names; see the base class."""
        names: dict[int, str] = {}
        ancestors: dict[int, tuple[str, ...]] = {}
        for path, label in _read_split(data_root, 'train'):
            _, folder, file = path.split('/', 2)
            half = 'vegetable' if path.startswith('veg') else 'fruit'
            names[label] = folder.replace('_', ' ')
            ancestors[label] = (half, f'{half} {file.split("_")[1]}') if file.count('_') >= 2 else (half,)
        if sorted(names) != list(range(len(names))):
            raise GLSimError(f'the training lists of VegFru in {data_root} leave out labels; download them again')
        return dict(
            classes=tuple(names[label] for label in sorted(names)),
            ancestors=tuple(ancestors[label] for label in sorted(names)),
        )

    def read_samples(self) -> list[dict]:
        """Photos of the split, vegetables first; see the base class."""
        splits = ('train', 'val') if self.split == 'trainval' else (self.split,)
        return [
            dict(img_path=path, gt_label=label)
            for split in splits
            for path, label in _read_split(self.data_root, split)
        ]


def _read_split(data_root: str, split: str) -> list[tuple[str, int]]:
    """Path below the folder and label of each photo; fruits are counted on from the vegetables."""
    samples: list[tuple[str, int]] = []
    offset = 0
    for images, lists, prefix in _HALVES:
        path = fileio.join_path(data_root, lists, f'{prefix}_{split}.txt')
        labels = []
        for number, line in enumerate(read_lines(path), start=1):
            try:
                file, label = line.rsplit(maxsplit=1)
                labels.append(int(label))
            except ValueError as error:
                raise GLSimError(f'line {number} of {path} cannot be read ({line.strip()!r}); correct it') from error
            samples.append((f'{images}/{file}', labels[-1] + offset))
        offset += max(labels, default=-1) + 1
    return samples
