"""Oxford-IIIT Pets, with species and boxes of heads."""

import numpy as np
from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_lines, read_voc_boxes
from .fine_grained import FineGrainedDataset

_SPECIES = {1: 'cat', 2: 'dog'}


@DATASETS.register_module()
class OxfordPetsFormat(FineGrainedDataset):
    """Oxford-IIIT Pets (Parkhi et al., CVPR 2012; https://www.robots.ox.ac.uk/~vgg/data/pets): 37 breeds.

    7,349 photos in the layout of mmpretrain's ``OxfordIIITPet``: ``images/Abyssinian_1.jpg``,
    ``annotations/trainval.txt``, ``annotations/test.txt`` and, for boxes, ``annotations/xmls/``. The species, cat or
    dog, is the ancestor of a breed.

    Args:
        data_root: The folder.
        split: ``'trainval'`` or ``'test'``. Defaults to ``'trainval'``.
        with_boxes: Read the boxes of heads, one small file per photo; test photos have none and get the shape (0, 4).
        **kwargs: See :class:`FineGrainedDataset`.

    Raises:
        GLSimError: If a file is not there or a line cannot be read.
    """

    SIZES = dict(trainval=3680, test=3669)

    def __init__(self, data_root: str, split: str | None = None, with_boxes: bool = False, **kwargs) -> None:
        self.with_boxes = with_boxes
        super().__init__(data_root, split, **kwargs)

    def read_metainfo(self, data_root: str) -> dict:
        """Breeds and their species, from the training list; see the base class."""
        path = fileio.join_path(data_root, 'annotations', 'trainval.txt')
        breeds = {label: (photo.rsplit('_', 1)[0], species) for photo, label, species in _read_list(path)}
        if sorted(breeds) != list(range(len(breeds))):
            raise GLSimError(f'{path} leaves out classes; download it again')
        names, species = zip(*(breeds[label] for label in sorted(breeds))) if breeds else ((), ())
        return dict(
            classes=tuple(name.replace('_', ' ') for name in names), ancestors=tuple((kind,) for kind in species)
        )

    def read_samples(self) -> list[dict]:
        """Photos of the split in the order of the file; see the base class."""
        path, samples = self.path('annotations', f'{self.split}.txt'), []
        for photo, label, _ in _read_list(path):
            if label >= len(self.CLASSES):
                raise GLSimError(f'{path} gives {photo} the class {label + 1}, but there are {len(self.CLASSES)}')
            sample: dict = dict(img_path=f'images/{photo}.jpg', gt_label=label)
            if self.with_boxes:
                boxes = self.path('annotations', 'xmls', f'{photo}.xml')
                sample['gt_bboxes'] = read_voc_boxes(boxes) if fileio.isfile(boxes) else np.zeros((0, 4))
            samples.append(sample)
        return samples


def _read_list(path: str) -> list[tuple[str, int, str]]:
    """Name, label counted from 0, and species of each photo."""
    photos = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip() or line.startswith('#'):
            continue
        try:
            photo, label, species, _ = line.split()
            photos.append((photo, int(label) - 1, _SPECIES[int(species)]))
        except (ValueError, KeyError) as error:
            raise GLSimError(f'line {number} of {path} cannot be read ({line.strip()!r}); correct it') from error
        if photos[-1][1] < 0:
            raise GLSimError(f'line {number} of {path} has the class {label}, but they count from 1; correct it')
    return photos
