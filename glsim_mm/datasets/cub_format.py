"""Data sets in the file layout of CUB-200-2011: that set, NABirds, and your own."""

from collections.abc import Callable, Hashable, Mapping
from typing import ClassVar

from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import check_ids, check_unique, read_table, xywh_to_xyxy
from .fine_grained import NOT_STATED, FineGrainedDataset, PublishedSet, Source

_LABELS, _SPLIT, _BOXES = 'image_class_labels.txt', 'train_test_split.txt', 'bounding_boxes.txt'
_FILES = ('images', 'images.txt', 'classes.txt', _LABELS, _SPLIT, _BOXES)


@DATASETS.register_module()
class CUBFormat(FineGrainedDataset):
    """CUB-200-2011 (Wah et al., 2011), or any data set in its layout.

    The folder holds, with ids counted from 1::

        ├── images/
        │   └── 001.Black_footed_Albatross/Black_Footed_Albatross_0001_796111.jpg
        ├── images.txt                 image id, path below images/, which may hold spaces
        ├── classes.txt                class id, name
        ├── image_class_labels.txt     image id, class id
        ├── train_test_split.txt       image id, 1 for training
        └── bounding_boxes.txt         image id, x, y, width, height in pixels; may be left out

    Boxes are (1, 4); mmcv's transforms (Resize, CenterCrop, RandomFlip) keep them in step with the image. Names given
    as ``classes`` or ``metainfo`` take the place of ``classes.txt``. See :class:`FineGrainedDataset` for arguments::

        CUBFormat('data/CUB_200_2011', split='test', pipeline=[dict(type='LoadImage')])
    """

    SIZES = dict(train=None, test=None)
    HINT = ', or render a demo set there: glsim make-demo --help'
    PARSE_ID: ClassVar[Callable[[str], Hashable]] = int
    CAN_LACK_BOXES = True

    def read_metainfo(self, data_root: str) -> dict:
        if self.has_given_names:
            return {}
        path = fileio.join_path(data_root, 'classes.txt')
        names = read_table(path)
        if sorted(names) != list(range(1, len(names) + 1)):
            raise GLSimError(f'the ids in {path} must be 1, 2, 3, ... without gaps; renumber the classes')
        return dict(classes=tuple(names[key] for key in sorted(names)))

    def read_samples(self) -> list[dict]:
        parse_id, paths_file = type(self).PARSE_ID, self.path('images.txt')
        paths = read_table(paths_file, str, parse_id)
        labels = read_table(self.path(_LABELS), int, parse_id)
        is_train = read_table(self.path(_SPLIT), int, parse_id)
        others = {_LABELS: labels, _SPLIT: is_train}
        if not self.CAN_LACK_BOXES or fileio.exists(self.path(_BOXES)):
            others[_BOXES] = read_table(self.path(_BOXES), xywh_to_xyxy, parse_id)
        check_unique(paths_file, paths)
        for file, table in others.items():
            check_ids(paths_file, paths, self.path(file), table)
        label_of = self.label_of()
        samples = []
        for key, path in paths.items():
            if labels[key] not in label_of:
                raise GLSimError(
                    f'image {key} in {self.path(_LABELS)} has class {labels[key]}, but there are classes 1 to '
                    f'{len(label_of)}; correct the file or the class names'
                )
            if (is_train[key] == 1) == (self.split == 'train'):
                samples.append(dict(img_path=f'images/{path}', gt_label=label_of[labels[key]]))
                if _BOXES in others:
                    samples[-1]['gt_bboxes'] = others[_BOXES][key]
        return samples

    def label_of(self) -> Mapping[int, int]:
        """Label of each class id."""
        return {number: number - 1 for number in range(1, len(self.CLASSES) + 1)}


CUB = PublishedSet(
    name='cub',
    title='CUB-200-2011',
    reader=CUBFormat,
    sizes=dict(train=5994, test=5794),
    homepage='https://data.caltech.edu/records/65de6-vp158',
    licence=f'{NOT_STATED} in the archive or its README. The photos are from Flickr and belong to their photographers; '
    'take it as for non-commercial research and education only.',
    boxes='one per image',
    sources=(Source('CUB_200_2011.tgz', _FILES, 1150585339, 'md5:97eceeb196236b17998738112f37df78'),),
    files_at='https://data.caltech.edu/records/65de6-vp158/files',
    checksums_from='Avalanche',
    notes='Parts, attributes and segmentations are not used.',
)


@DATASETS.register_module()
class NABirds(CUBFormat):
    """NABirds (Van Horn et al., CVPR 2015; https://dl.allaboutbirds.org/nabirds): 555 classes, 48,562 photos.

    The folder is the archive's own, whose image ids are not numbers::

        ├── images/
        │   └── 0817/0001afd499a14a67b940d419413e23b3.jpg
        ├── images.txt                 image id, path below images/
        ├── classes.txt                class id, name: 1,011 nodes
        ├── hierarchy.txt              class id, id of its parent
        ├── image_class_labels.txt     image id, class id
        ├── train_test_split.txt       image id, 1 for training
        └── bounding_boxes.txt         image id, x, y, width, height

    The nodes that have images are the classes, numbered in the order of ``classes.txt``; the nodes above them, without
    the root, are their ancestors. See :class:`FineGrainedDataset` for arguments::

        NABirds('data/nabirds', split='test').metainfo['ancestors'][0]
    """

    SIZES = dict(train=23929, test=24633)
    HINT = ''
    PARSE_ID = str
    CAN_LACK_BOXES = False

    def read_metainfo(self, data_root: str) -> dict:
        """Names and ancestors of the classes that have images."""
        names = read_table(fileio.join_path(data_root, 'classes.txt'))
        labels_file = fileio.join_path(data_root, _LABELS)
        used = set(read_table(labels_file, int, str).values())
        unknown = sorted(used - names.keys())
        if unknown:
            raise GLSimError(
                f'{labels_file} has the class {unknown[0]}, which is not in classes.txt; correct the files'
            )
        self._class_ids = [class_id for class_id in names if class_id in used]
        parents = read_table(fileio.join_path(data_root, 'hierarchy.txt'), int)
        ancestors = [tuple(names[node] for node in _above(class_id, parents, names)) for class_id in self._class_ids]
        return dict(classes=tuple(names[class_id] for class_id in self._class_ids), ancestors=tuple(ancestors))

    def label_of(self) -> Mapping[int, int]:
        """Label of each class id."""
        return {class_id: label for label, class_id in enumerate(self._class_ids)}


def _above(node: int, parents: Mapping[int, int], names: Mapping[int, str]) -> list[int]:
    """Nodes from just below the root down to the parent of a node."""
    chain: list[int] = []
    while node in parents:
        node = parents[node]
        if node not in names or node in chain:
            raise GLSimError(f'hierarchy.txt leads to the class {node}, which is unknown or above itself; correct it')
        chain.append(node)
    return chain[::-1][1:]


NABIRDS = PublishedSet(
    name='nabirds',
    title='NABirds',
    reader=NABirds,
    homepage='https://dl.allaboutbirds.org/nabirds',
    licence='Own terms of use, which have to be agreed to on the data set page: non-commercial research and education.',
    boxes='one per image',
    hierarchy='groups of birds, from `hierarchy.txt`',
    sources=(Source('nabirds.tar.gz', (*_FILES, 'hierarchy.txt')),),
    by_hand='agree to the terms of use at https://dl.allaboutbirds.org/nabirds, which then names the link',
)
