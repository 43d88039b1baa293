"""Stanford Cars, with boxes, in both of its layouts."""

from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_mat, read_mat_fields
from .fine_grained import FineGrainedDataset

_BOX = ('bbox_x1', 'bbox_y1', 'bbox_x2', 'bbox_y2')
_ONE_FILE = 'cars_annos.mat'
# The labels of the test set were published apart from the devkit.
_FILES = {
    'train': ('devkit/cars_train_annos.mat',),
    'test': ('devkit/cars_test_annos_withlabels.mat', 'cars_test_annos_withlabels.mat'),
}


@DATASETS.register_module()
class StanfordCarsFormat(FineGrainedDataset):
    """Stanford Cars (Krause et al., 2013): 196 models, 16,185 photos.

    Both layouts of mmpretrain's ``StanfordCars``: ``car_ims/`` with ``cars_annos.mat``, or ``cars_train/``,
    ``cars_test/`` and ``devkit/`` with ``cars_meta.mat``, ``cars_train_annos.mat`` and
    ``cars_test_annos_withlabels.mat``, which may also lie in the folder itself, as torchvision wants it.

    Args:
        data_root: The folder.
        split: ``'train'`` or ``'test'``. Defaults to ``'train'``.
        **kwargs: See :class:`FineGrainedDataset`.

    Raises:
        GLSimError: If a file is not there or cannot be read, or a label has no class.
    """

    SIZES = dict(train=8144, test=8041)

    def read_metainfo(self, data_root: str) -> dict:
        """Names; see the base class."""
        path = fileio.join_path(data_root, _ONE_FILE)
        if not fileio.isfile(path):
            path = fileio.join_path(data_root, 'devkit', 'cars_meta.mat')
        (names,) = read_mat_fields(read_mat(path), ('class_names',), path)
        return dict(classes=tuple(names))

    def read_samples(self) -> list[dict]:
        """Photos of the split in the order of the file; see the base class."""
        paths = [self.path(_ONE_FILE), *(self.path(*name.split('/')) for name in _FILES[self.split])]
        path = next((path for path in paths if fileio.isfile(path)), None)
        if path is None:
            raise GLSimError(f'{paths[1]} is not there; complete the download of Stanford Cars in {self.data_root}')
        annotations = read_mat(path).get('annotations')
        if not isinstance(annotations, dict):
            raise GLSimError(f"{path} has no 'annotations'; it is another file than expected, download it again")
        if path == paths[0]:
            *columns, is_test = read_mat_fields(annotations, ('relative_im_path', 'class', *_BOX, 'test'), path)
            wanted = [bool(flag) == (self.split == 'test') for flag in is_test]
            folder = ''
        else:
            columns = read_mat_fields(annotations, ('fname', 'class', *_BOX), path)
            wanted, folder = [True] * len(columns[0]), f'cars_{self.split}/'
        rows = [row for row, keep in zip(zip(*columns), wanted) if keep]
        return [self._sample(f'{folder}{name}', int(number), box, path) for name, number, *box in rows]

    def _sample(self, img_path: str, number: int, box: list, path: str) -> dict:
        if not 1 <= number <= len(self.CLASSES):
            raise GLSimError(f'{path} gives {img_path} the class {number}, but there are 1 to {len(self.CLASSES)}')
        return dict(img_path=img_path, gt_label=number - 1, gt_bboxes=box)
