"""FGVC-Aircraft, with families, manufacturers and boxes."""

from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_lines, read_table
from .fine_grained import FineGrainedDataset

_LEVELS = ('manufacturer', 'family')


@DATASETS.register_module()
class FGVCAircraftFormat(FineGrainedDataset):
    """FGVC-Aircraft (Maji et al., arXiv 1306.5151; https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft): 100 variants.

    10,000 photos in the layout of mmpretrain's ``FGVCAircraft``: below ``data/`` there are ``images/``,
    ``variants.txt``, ``images_box.txt`` and, for each split, ``images_variant_SPLIT.txt``, ``images_family_SPLIT.txt``
    and ``images_manufacturer_SPLIT.txt``. Manufacturer and family are the ancestors of a variant.

    Args:
        data_root: Folder that holds ``data/``.
        split: ``'trainval'``, ``'train'``, ``'val'`` or ``'test'``. Defaults to ``'trainval'``.
        **kwargs: See :class:`FineGrainedDataset`.

    Raises:
        GLSimError: If a file is not there, cannot be read, or does not fit the others.
    """

    SIZES = dict(trainval=6667, train=3334, val=3333, test=3333)

    def read_metainfo(self, data_root: str) -> dict:
        """Variants in the order of ``variants.txt``, and their ancestors; see the base class."""
        folder = fileio.join_path(data_root, 'data')
        lines = read_lines(fileio.join_path(folder, 'variants.txt'))
        classes = tuple(line.strip() for line in lines if line.strip())
        variant_of = _read_photos(folder, 'variant', 'trainval')
        levels = [_read_photos(folder, level, 'trainval') for level in _LEVELS]
        groups = {}
        for photo, variant in variant_of.items():
            groups[variant] = tuple(level.get(photo, 'unknown') for level in levels)
        missing = [name for name in classes if name not in groups]
        if missing:
            raise GLSimError(f'images_variant_trainval.txt in {folder} has no photo of {missing[0]}; download it again')
        return dict(classes=classes, ancestors=tuple(groups[name] for name in classes))

    def read_samples(self) -> list[dict]:
        """Photos of the split in the order of the file; see the base class."""
        label_of = {name: label for label, name in enumerate(self.CLASSES)}
        boxes_file = self.path('data', 'images_box.txt')
        boxes = read_table(boxes_file, _read_corners, str)
        photos = _read_photos(self.path('data'), 'variant', self.split)
        samples = []
        for photo, variant in photos.items():
            if variant not in label_of:
                raise GLSimError(f'photo {photo} of the {self.split} split is a {variant!r}, not in variants.txt')
            if photo not in boxes:
                raise GLSimError(f'{boxes_file} has no box of photo {photo}; download it again')
            samples.append(
                dict(img_path=f'data/images/{photo}.jpg', gt_label=label_of[variant], gt_bboxes=boxes[photo])
            )
        return samples


def _read_photos(folder: str, level: str, split: str) -> dict[str, str]:
    return read_table(fileio.join_path(folder, f'images_{level}_{split}.txt'), str, str)


def _read_corners(text: str) -> list[float]:
    x0, y0, x1, y1 = (float(part) for part in text.split())
    return [x0, y0, x1, y1]
