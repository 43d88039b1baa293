"""iNaturalist 2017, with super-classes and some boxes."""

from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_json
from .fine_grained import FineGrainedDataset


@DATASETS.register_module()
class INaturalist2017(FineGrainedDataset):
    """iNaturalist 2017 (Van Horn et al., arXiv 1707.06642): 5,089 species in 13 super-classes, 675,170 photos.

    The folder holds ``train_val_images/`` (``Aves/Accipiter cooperii/....jpg``), ``train2017.json``, ``val2017.json``
    and, for boxes, ``train_2017_bboxes.json`` and ``val_2017_bboxes.json``. The test set has no public labels: as in
    the literature, results are on ``'val'``.

    Args:
        data_root: The folder.
        split: ``'train'`` or ``'val'``. Defaults to ``'train'``.
        with_boxes: Read the boxes; about a third of the photos has none, they get the shape (0, 4).
        **kwargs: See :class:`FineGrainedDataset`.

    Raises:
        GLSimError: If a file is not there, cannot be read, or an annotation leads nowhere.
    """

    SIZES = dict(train=579184, val=95986)

    def __init__(self, data_root: str, split: str | None = None, with_boxes: bool = False, **kwargs) -> None:
        self.with_boxes = with_boxes
        super().__init__(data_root, split, **kwargs)

    def read_metainfo(self, data_root: str) -> dict:
        """Species in order of their ids, and the super-class of each; see the base class."""
        path = fileio.join_path(data_root, 'val2017.json')  # the smaller file has all categories
        categories = sorted(_field(read_json(path), 'categories', path), key=lambda category: category['id'])
        self._label_of = {category['id']: label for label, category in enumerate(categories)}
        return dict(
            classes=tuple(category['name'] for category in categories),
            ancestors=tuple((category['supercategory'],) for category in categories),
        )

    def read_samples(self) -> list[dict]:
        """Photos of the split in the order of the file; see the base class."""
        path = self.path(f'{self.split}2017.json')
        content = read_json(path)
        category_of = {item['image_id']: item['category_id'] for item in _field(content, 'annotations', path)}
        boxes = self._read_boxes() if self.with_boxes else None
        samples = []
        for image in _field(content, 'images', path):
            if category_of.get(image['id']) not in self._label_of:
                raise GLSimError(f'{path}: image {image["id"]} has no category that the file knows; download it again')
            sample = dict(img_path=image['file_name'], gt_label=self._label_of[category_of[image['id']]])
            if boxes is not None:
                sample['gt_bboxes'] = boxes.get(image['id'], [])
            samples.append(sample)
        return samples

    def _read_boxes(self) -> dict[int, list]:
        path = self.path(f'{self.split}_2017_bboxes.json')
        boxes: dict[int, list] = {}
        for item in _field(read_json(path), 'annotations', path):
            x, y, width, height = item['bbox']
            boxes.setdefault(item['image_id'], []).append([x, y, x + width, y + height])
        return boxes


def _field(content: dict, name: str, path: str) -> list[dict]:
    if not isinstance(content, dict) or not isinstance(content.get(name), list):
        raise GLSimError(f'{path} has no list {name!r}; it is no annotation file of iNaturalist 2017')
    return content[name]
