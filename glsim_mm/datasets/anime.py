"""Anime characters: DAFB and Moe, in the layout of GLSim's authors."""

from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_csv
from .fine_grained import FineGrainedDataset


class ListedByAuthors(FineGrainedDataset):
    """Base of sets whose splits GLSim's authors publish as CSV files.

    ``train.csv``, ``val.csv`` and ``test.csv`` have the columns ``class_id`` (from 0) and ``dir`` (path below the
    folder of images), ``classid_classname.csv`` has ``class_id`` and ``class_name``
    (https://github.com/arkel23/GLSim/tree/main/data). The authors train on ``'trainval'``.

    Args:
        data_root: Folder with those files.
        split: ``'train'``, ``'val'``, ``'trainval'`` or ``'test'``. Defaults to ``'train'``.
        image_folder: Folder of images below ``data_root``. Defaults to the authors'.
        **kwargs: See :class:`FineGrainedDataset`.

    Raises:
        GLSimError: If a file is not there, a line cannot be read, or a label has no class.
    """

    IMAGE_FOLDER = ''

    def __init__(self, data_root: str, split: str | None = None, image_folder: str | None = None, **kwargs) -> None:
        self.image_folder = self.IMAGE_FOLDER if image_folder is None else image_folder
        super().__init__(data_root, split, **kwargs)

    def read_metainfo(self, data_root: str) -> dict:
        """Names in order of their ids; see the base class."""
        path = fileio.join_path(data_root, 'classid_classname.csv')
        rows = read_csv(path, ('class_id', 'class_name'))
        names = {_label(row, number, path): row['class_name'] for number, row in rows}
        if sorted(names) != list(range(len(names))):
            raise GLSimError(f'the ids in {path} must be 0, 1, 2, ... without gaps; download it again')
        return dict(classes=tuple(names[label] for label in sorted(names)))

    def read_samples(self) -> list[dict]:
        """Images of the split in the order of the file; see the base class."""
        samples = []
        for split in ('train', 'val') if self.split == 'trainval' else (self.split,):
            path = self.path(f'{split}.csv')
            for number, row in read_csv(path, ('class_id', 'dir')):
                label = _label(row, number, path)
                if not 0 <= label < len(self.CLASSES):
                    raise GLSimError(f'line {number} of {path} has class {label}, but there are {len(self.CLASSES)}')
                samples.append(dict(img_path=f'{self.image_folder}/{row["dir"]}', gt_label=label))
        return samples


@DATASETS.register_module()
class DAFB(ListedByAuthors):
    """DAF:re with background (Rios et al., arXiv 2101.08674): 3,263 anime characters, 463,437 pictures.

    Full pictures in ``fullMin256/``; with ``image_folder='faces'`` it is DAF:re's face crops. See
    :class:`ListedByAuthors` for files and arguments.
    """

    IMAGE_FOLDER = 'fullMin256'
    SIZES = dict(train=None, val=None, trainval=None, test=None)


@DATASETS.register_module()
class Moe(ListedByAuthors):
    """moeimouto's anime faces (http://www.nurs.or.jp/~nagadomi/animeface-character-dataset): 173 characters.

    Face crops of 160 px in ``data/``. See :class:`ListedByAuthors` for files and arguments.
    """

    IMAGE_FOLDER = 'data'
    SIZES = dict(train=None, val=None, trainval=None, test=None)


def _label(row: dict[str, str], number: int, path: str) -> int:
    try:
        return int(row['class_id'])
    except ValueError as error:
        raise GLSimError(f'line {number} of {path} has class_id {row["class_id"]!r}, no whole number') from error
