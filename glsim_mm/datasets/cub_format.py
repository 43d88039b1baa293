"""Data sets in the file layout of CUB-200-2011."""

from mmengine import fileio
from mmpretrain.datasets import CUB
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import check_ids, check_unique, read_table, xywh_to_xyxy

CLASSES_FILE = 'classes.txt'
IMAGES_FILE = 'images.txt'
LABELS_FILE = 'image_class_labels.txt'
SPLIT_FILE = 'train_test_split.txt'
BOXES_FILE = 'bounding_boxes.txt'
SPLITS = ('train', 'test')


@DATASETS.register_module()
class CUBFormat(CUB):
    """CUB-200-2011, or any data set in its layout, with class names and boxes from the folder's own files.

    The folder holds ``images/`` and text files whose lines begin with an id counted from 1: ``classes.txt`` (class id,
    name), ``images.txt`` (image id, path below ``images/``, which may hold spaces), ``image_class_labels.txt`` (image
    id, class id), ``train_test_split.txt`` (image id, 1 for training) and, where there are boxes,
    ``bounding_boxes.txt`` (image id, x, y, width, height in pixels).

    Each sample has ``img_path``, ``gt_label`` and, with boxes, ``gt_bboxes`` (1, 4) float32 ``x0, y0, x1, y1`` in
    pixels of the file's image; mmcv's transforms (Resize, CenterCrop, RandomFlip) keep them in step with the image.

    Args:
        data_root: The folder.
        split: ``'train'`` or ``'test'``.
        **kwargs: Further arguments of mmpretrain's :class:`CUB`; ``classes`` or ``metainfo`` take the place of
            ``classes.txt``.

    Raises:
        GLSimError: If the split is unknown or empty, the folder or a file is not there, a line cannot be read, an image
            comes twice or the ids of two files do not fit each other.
    """

    METAINFO: dict = {}

    def __init__(self, data_root: str, split: str = 'train', **kwargs) -> None:
        if split not in SPLITS:
            raise GLSimError(f"CUBFormat: split must be 'train' or 'test', got {split!r}; correct the config")
        data_root = str(data_root)
        if not fileio.isdir(data_root):
            raise GLSimError(
                f'data folder {data_root} does not exist; set data_root of the data sets, '
                'or render a demo set there: python tools/datasets/make_demo.py --help'
            )
        if kwargs.get('classes') is None and 'classes' not in (kwargs.get('metainfo') or {}):
            kwargs['classes'] = read_class_names(fileio.join_path(data_root, CLASSES_FILE))
        super().__init__(data_root, split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the annotation files; :meth:`full_init` calls it."""
        paths = read_table(self.ann_file)
        labels = read_table(self.image_class_labels_file, int)
        is_train = read_table(self.train_test_split_file, int)
        boxes_file = fileio.join_path(self.data_root, BOXES_FILE)
        boxes = read_table(boxes_file, xywh_to_xyxy) if fileio.exists(boxes_file) else None
        check_unique(self.ann_file, paths)
        check_ids(self.ann_file, paths, self.image_class_labels_file, labels)
        check_ids(self.ann_file, paths, self.train_test_split_file, is_train)
        if boxes is not None:
            check_ids(self.ann_file, paths, boxes_file, boxes)
        _check_labels(self.image_class_labels_file, labels, len(self.CLASSES))
        wanted = [key for key in paths if (is_train[key] == 1) == (self.split == 'train')]
        if not wanted:
            raise GLSimError(f'no image of {self.train_test_split_file} belongs to the {self.split} split; correct it')
        return [self._info(key, paths, labels, boxes) for key in wanted]

    def _info(self, key: int, paths: dict, labels: dict, boxes: dict | None) -> dict:
        info = dict(img_path=fileio.join_path(self.img_prefix, paths[key]), gt_label=labels[key] - 1)
        if boxes is not None:
            info['gt_bboxes'] = boxes[key][None].copy()
        return info


def read_class_names(path: str) -> tuple[str, ...]:
    """Class names of a ``classes.txt``, in order of their ids.

    Args:
        path: File with a line ``ID NAME`` per class, ids counted from 1.

    Returns:
        Names.

    Raises:
        GLSimError: If the file is not there, cannot be read, or its ids are not 1, 2, 3, ...
    """
    names = read_table(path)
    if sorted(names) != list(range(1, len(names) + 1)):
        raise GLSimError(f'the ids in {path} must be 1, 2, 3, ... without gaps; renumber the classes')
    return tuple(names[key] for key in sorted(names))


def _check_labels(path: str, labels: dict[int, int], num_classes: int) -> None:
    for key, label in labels.items():
        if not 1 <= label <= num_classes:
            raise GLSimError(
                f'image {key} in {path} has class {label}, but there are classes 1 to {num_classes}; correct the file '
                'or the class names'
            )
