"""NABirds: North American birds, with a hierarchy and boxes."""

from collections.abc import Mapping

from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import check_ids, check_unique, read_table, xywh_to_xyxy
from .fine_grained import FineGrainedDataset


@DATASETS.register_module()
class NABirds(FineGrainedDataset):
    """NABirds (Van Horn et al., CVPR 2015; https://dl.allaboutbirds.org/nabirds): 555 classes, 48,562 photos.

    The folder is the archive's own: ``images/``, ``images.txt``, ``classes.txt``, ``hierarchy.txt``,
    ``image_class_labels.txt``, ``train_test_split.txt`` and ``bounding_boxes.txt``, whose ids are not numbers. Of the
    1,011 nodes in ``classes.txt`` those with images are classes; they are numbered in the file's order, and the nodes
    above them, without the root, are their ancestors.

    Args:
        data_root: The folder.
        split: ``'train'`` or ``'test'``. Defaults to ``'train'``.
        **kwargs: See :class:`FineGrainedDataset`.

    Raises:
        GLSimError: If a file is not there, cannot be read, or does not fit the others.
    """

    SIZES = dict(train=23929, test=24633)

    def read_metainfo(self, data_root: str) -> dict:
        """Names and ancestors of the classes that have images; see the base class."""
        names = read_table(fileio.join_path(data_root, 'classes.txt'))
        labels_file = fileio.join_path(data_root, 'image_class_labels.txt')
        used = set(read_table(labels_file, int, str).values())
        unknown = sorted(used - names.keys())
        if unknown:
            raise GLSimError(f'{labels_file} has the class {unknown[0]}, which classes.txt has not; correct the files')
        self._class_ids = [class_id for class_id in names if class_id in used]
        parents = read_table(fileio.join_path(data_root, 'hierarchy.txt'), int)
        ancestors = [tuple(names[node] for node in _above(class_id, parents, names)) for class_id in self._class_ids]
        return dict(classes=tuple(names[class_id] for class_id in self._class_ids), ancestors=tuple(ancestors))

    def read_samples(self) -> list[dict]:
        """Images of the split in the order of ``images.txt``; see the base class."""
        paths_file = self.path('images.txt')
        paths = read_table(paths_file, str, str)
        check_unique(paths_file, paths)
        labels = read_table(self.path('image_class_labels.txt'), int, str)
        is_train = read_table(self.path('train_test_split.txt'), int, str)
        boxes = read_table(self.path('bounding_boxes.txt'), xywh_to_xyxy, str)
        others = {'image_class_labels.txt': labels, 'train_test_split.txt': is_train, 'bounding_boxes.txt': boxes}
        for file, table in others.items():
            check_ids(paths_file, paths, self.path(file), table)
        label_of = {class_id: label for label, class_id in enumerate(self._class_ids)}
        return [
            dict(img_path=f'images/{paths[key]}', gt_label=label_of[labels[key]], gt_bboxes=boxes[key][None])
            for key in paths
            if (is_train[key] == 1) == (self.split == 'train')
        ]


def _above(node: int, parents: Mapping[int, int], names: Mapping[int, str]) -> list[int]:
    """Nodes from just below the root down to the parent of a node."""
    chain: list[int] = []
    while node in parents:
        node = parents[node]
        if node not in names or node in chain:
            raise GLSimError(f'hierarchy.txt leads to the class {node}, which is unknown or above itself; correct it')
        chain.append(node)
    return chain[::-1][1:]
