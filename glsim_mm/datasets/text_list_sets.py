"""Published data sets whose annotations are text lists: Food, Pets, Aircraft, VegFru, iNaturalist 2017."""

import numpy as np
from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_json, read_lines, read_rows, read_table, read_voc_boxes
from .fine_grained import NOT_STATED, TORCHVISION, WITH_BOXES, FineGrainedDataset, PublishedSet, Source

_OXFORD = 'https://www.robots.ox.ac.uk/~vgg/data'


@DATASETS.register_module()
class Food101Format(FineGrainedDataset):
    """Food-101 (Bossard et al., ECCV 2014): 101 dishes, 101,000 photos, in the layout of mmpretrain's ``Food101``.

    The folder holds::

        ├── images/
        │   └── apple_pie/1005649.jpg
        └── meta/
            ├── classes.txt
            ├── train.txt              CLASS/PHOTO, without .jpg
            └── test.txt

    Labels follow ``classes.txt``, as mmpretrain's do. See :class:`FineGrainedDataset` for arguments::

        Food101Format('data/food-101', split='test')
    """

    SIZES = dict(train=75750, test=25250)

    def read_metainfo(self, data_root: str) -> dict:
        """Names of the folders."""
        lines = read_lines(fileio.join_path(data_root, 'meta', 'classes.txt'))
        return dict(classes=tuple(line.strip() for line in lines if line.strip()))

    def read_samples(self) -> list[dict]:
        label_of = {name: label for label, name in enumerate(self.CLASSES)}

        def parse(line: str) -> dict:
            name, photo = line.split('/')
            if not photo:
                raise ValueError
            return dict(img_path=f'images/{name}/{photo}.jpg', gt_label=label_of[name])

        rows = read_rows(self.path('meta', f'{self.split}.txt'), parse, 'is not a photo of a known class')
        return [sample for _, sample in rows]


FOOD101 = PublishedSet(
    name='food101',
    title='Food-101',
    reader=Food101Format,
    homepage='https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101',
    licence='Own terms (`license_agreement.txt` in the archive): the images are from foodspotting.com and do not '
    'belong to ETH Zurich; any use beyond scientific fair use must be negotiated with the owners of the pictures.',
    sources=(
        Source(
            'food-101.tar.gz',
            ('images', 'meta/classes.txt', 'meta/train.txt', 'meta/test.txt'),
            4996278331,
            'md5:85eeb15f3717b99a5da872d97d918f87',
        ),
    ),
    files_at='http://data.vision.ee.ethz.ch/cvl',
    checksums_from=TORCHVISION,
)


@DATASETS.register_module()
class OxfordPetsFormat(FineGrainedDataset):
    """Oxford-IIIT Pets (Parkhi et al., CVPR 2012): 37 breeds, 7,349 photos, as for mmpretrain's ``OxfordIIITPet``.

    The folder holds::

        ├── images/
        │   └── Abyssinian_1.jpg
        └── annotations/
            ├── trainval.txt           photo, class from 1, species, number of the breed
            ├── test.txt
            └── xmls/                  boxes of heads, as Pascal VOC's XML
                └── Abyssinian_1.xml

    The species, cat or dog, is the ancestor of a breed. See :class:`FineGrainedDataset` for further arguments::

        OxfordPetsFormat('data/oxford-iiit-pet', with_boxes=True)

    Args:
        with_boxes: Read the boxes of heads, one small file per photo; test photos have none and get the shape (0, 4).
    """

    SIZES = dict(trainval=3680, test=3669)
    SPECIES = {1: 'cat', 2: 'dog'}

    def __init__(self, data_root: str, split: str | None = None, with_boxes: bool = False, **kwargs) -> None:
        self.with_boxes = with_boxes
        super().__init__(data_root, split, **kwargs)

    def read_metainfo(self, data_root: str) -> dict:
        """Breeds and their species, from the training list."""
        path = fileio.join_path(data_root, 'annotations', 'trainval.txt')
        breeds = {number: (photo.rsplit('_', 1)[0], species) for photo, number, species in self._read_list(path)}
        if sorted(breeds) != list(range(1, len(breeds) + 1)):
            raise GLSimError(f'{path} leaves out classes, which must be 1, 2, 3, ... without gaps; download it again')
        ordered = [breeds[number] for number in sorted(breeds)]
        return dict(
            classes=tuple(name.replace('_', ' ') for name, _ in ordered),
            ancestors=tuple((species,) for _, species in ordered),
        )

    def read_samples(self) -> list[dict]:
        path, samples = self.path('annotations', f'{self.split}.txt'), []
        for photo, number, _ in self._read_list(path):
            sample: dict = dict(img_path=f'images/{photo}.jpg', gt_label=self.to_label(number, photo, path))
            if self.with_boxes:
                boxes = self.path('annotations', 'xmls', f'{photo}.xml')
                sample['gt_bboxes'] = read_voc_boxes(boxes) if fileio.isfile(boxes) else np.zeros((0, 4))
            samples.append(sample)
        return samples

    def _read_list(self, path: str) -> list[tuple[str, int, str]]:
        """Name, class counted from 1, and species of each photo."""

        def parse(line: str) -> tuple[str, int, str] | None:
            if line.startswith('#'):
                return None
            photo, label, species, _ = line.split()
            return photo, int(label), self.SPECIES[int(species)]

        return [row for _, row in read_rows(path, parse) if row is not None]


PETS = PublishedSet(
    name='pets',
    title='Oxford-IIIT Pets',
    reader=OxfordPetsFormat,
    homepage=f'{_OXFORD}/pets',
    licence='[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/); the copyright remains with the original '
    'owners of the images.',
    boxes=f'heads, of training images, {WITH_BOXES}',
    hierarchy='cat or dog',
    sources=(
        Source('images.tar.gz', ('images',), 791918971, 'md5:5c4f3ee8e5d25df40f4fd59a7f44e54c'),
        Source(
            'annotations.tar.gz',
            ('annotations/trainval.txt', 'annotations/test.txt'),
            19173078,
            'md5:95a8c909bbe2e81eed6a22bccdf3f68f',
        ),
    ),
    files_at=f'{_OXFORD}/pets/data',
    checksums_from=TORCHVISION,
)


@DATASETS.register_module()
class FGVCAircraftFormat(FineGrainedDataset):
    """FGVC-Aircraft (Maji et al., arXiv 1306.5151): 100 variants, 10,000 photos, as for mmpretrain's ``FGVCAircraft``.

    The folder holds::

        └── data/
            ├── images/
            │   └── 0034309.jpg
            ├── variants.txt
            ├── images_box.txt                      photo, x0, y0, x1, y1
            ├── images_variant_trainval.txt         photo, variant; also _train, _val, _test
            ├── images_family_trainval.txt          also _train, _val, _test
            └── images_manufacturer_trainval.txt    also _train, _val, _test

    Manufacturer and family are the ancestors of a variant. See :class:`FineGrainedDataset` for arguments::

        FGVCAircraftFormat('data/fgvc-aircraft-2013b', split='test')
    """

    SIZES = dict(trainval=6667, train=3334, val=3333, test=3333)

    def read_metainfo(self, data_root: str) -> dict:
        """Variants in the order of ``variants.txt``, and their ancestors."""
        folder = fileio.join_path(data_root, 'data')
        lines = read_lines(fileio.join_path(folder, 'variants.txt'))
        classes = tuple(line.strip() for line in lines if line.strip())
        variants, *levels = (_read_photos(folder, level, 'trainval') for level in ('variant', 'manufacturer', 'family'))
        groups = {
            variant: tuple(level.get(photo, 'unknown') for level in levels) for photo, variant in variants.items()
        }
        missing = [name for name in classes if name not in groups]
        if missing:
            raise GLSimError(f'images_variant_trainval.txt in {folder} has no photo of {missing[0]}; download it again')
        return dict(classes=classes, ancestors=tuple(groups[name] for name in classes))

    def read_samples(self) -> list[dict]:
        label_of = {name: label for label, name in enumerate(self.CLASSES)}
        boxes_file = self.path('data', 'images_box.txt')
        boxes = read_table(boxes_file, _read_corners, str)
        samples = []
        for photo, variant in _read_photos(self.path('data'), 'variant', self.split).items():
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


AIRCRAFT = PublishedSet(
    name='aircraft',
    title='FGVC-Aircraft',
    reader=FGVCAircraftFormat,
    homepage=f'{_OXFORD}/fgvc-aircraft',
    licence='Own terms: for non-commercial research only; the photographers keep the copyright and should be asked for '
    'any other use.',
    boxes='one per image',
    hierarchy='manufacturer, then family',
    sources=(
        Source(
            'fgvc-aircraft-2013b.tar.gz',
            (
                'data/images',
                'data/variants.txt',
                'data/images_box.txt',
                *(
                    f'data/images_{level}_{split}.txt'
                    for level in ('variant', 'family', 'manufacturer')
                    for split in FGVCAircraftFormat.SIZES
                ),
            ),
        ),
    ),
    files_at=f'{_OXFORD}/fgvc-aircraft/archives',
)


@DATASETS.register_module()
class VegFru(FineGrainedDataset):
    """VegFru (Hou et al., ICCV 2017; https://github.com/ustc-vim/vegfru): 292 classes, 160,731 photos.

    The folder holds::

        ├── veg200_images/
        │   └── CLASS/v_14_01_0121.jpg
        ├── fru92_images/
        ├── veg200_lists/
        │   ├── veg_train.txt          CLASS/FILE LABEL
        │   ├── veg_val.txt
        │   └── veg_test.txt
        └── fru92_lists/
            ├── fru_train.txt
            ├── fru_val.txt
            └── fru_test.txt

    The 200 vegetables are labels 0 to 199, the 92 fruits follow. A file's name begins with its half and super-class:
    the ancestors of ``v_14_01_0121.jpg`` are ``('vegetable', 'vegetable 14')``, as the lists do not name super-classes
    in words. The paper trains on ``'trainval'``. See :class:`FineGrainedDataset` for arguments::

        VegFru('data/vegfru', split='trainval')
    """

    SIZES = dict(train=29200, val=14600, trainval=43800, test=116931)

    def read_metainfo(self, data_root: str) -> dict:
        """Names from the images' folders, super-classes from the files' names."""
        names: dict[int, str] = {}
        ancestors: dict[int, tuple[str, ...]] = {}
        for path, label in self._read_split(data_root, 'train'):
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
        """Photos of the split, vegetables first."""
        splits = ('train', 'val') if self.split == 'trainval' else (self.split,)
        return [
            dict(img_path=path, gt_label=label)
            for split in splits
            for path, label in self._read_split(self.data_root, split)
        ]

    @staticmethod
    def _read_split(data_root: str, split: str) -> list[tuple[str, int]]:
        """Path below the folder and label of each photo; fruits are counted on from the vegetables."""

        def parse(line: str) -> tuple[str, int]:
            file, label = line.rsplit(maxsplit=1)
            return file, int(label)

        samples: list[tuple[str, int]] = []
        offset = 0
        for half, prefix in (('veg200', 'veg'), ('fru92', 'fru')):
            path = fileio.join_path(data_root, f'{half}_lists', f'{prefix}_{split}.txt')
            rows = [row for _, row in read_rows(path, parse)]
            samples += [(f'{half}_images/{file}', label + offset) for file, label in rows]
            offset += max((label for _, label in rows), default=-1) + 1
        return samples


VEGFRU = PublishedSet(
    name='vegfru',
    title='VegFru',
    reader=VegFru,
    homepage='https://github.com/ustc-vim/vegfru',
    licence=f'{NOT_STATED} in the repository.',
    hierarchy='vegetable or fruit, then the super-class',
    sources=tuple(
        Source(
            f'{half} of VegFru',
            (f'{folder}_images', *(f'{folder}_lists/{prefix}_{split}.txt' for split in ('train', 'val', 'test'))),
        )
        for half, folder, prefix in (('vegetables', 'veg200', 'veg'), ('fruits', 'fru92', 'fru'))
    ),
    by_hand='https://github.com/ustc-vim/vegfru leads to the download (pan.baidu.com); there is a copy at '
    'https://www.kaggle.com/datasets/zhaoyj688/vegfru',
    notes="Keep the folders: unlike in the GLSim authors' scripts, nothing is to be moved together.",
)


@DATASETS.register_module()
class INaturalist2017(FineGrainedDataset):
    """iNaturalist 2017 (Van Horn et al., arXiv 1707.06642): 5,089 species in 13 super-classes, 675,170 photos.

    The folder holds::

        ├── train_val_images/
        │   └── Aves/Accipiter cooperii/....jpg
        ├── train2017.json
        ├── val2017.json
        ├── train_2017_bboxes.json     only for boxes
        └── val_2017_bboxes.json

    The super-class is the ancestor of a species. The test set has no public labels: as in the literature, results are
    on ``'val'``. See :class:`FineGrainedDataset` for further arguments::

        INaturalist2017('data/inat17', split='val', with_boxes=True)

    Args:
        with_boxes: Read the boxes; about a third of the photos has none and gets the shape (0, 4).
    """

    SIZES = dict(train=579184, val=95986)

    def __init__(self, data_root: str, split: str | None = None, with_boxes: bool = False, **kwargs) -> None:
        self.with_boxes = with_boxes
        super().__init__(data_root, split, **kwargs)

    def read_metainfo(self, data_root: str) -> dict:
        """Species in order of their ids, and the super-class of each."""
        path = fileio.join_path(data_root, 'val2017.json')  # the smaller file has all categories
        categories = sorted(_read_lists_of(path, 'categories')[0], key=lambda category: category['id'])
        self._label_of = {category['id']: label for label, category in enumerate(categories)}
        return dict(
            classes=tuple(category['name'] for category in categories),
            ancestors=tuple((category['supercategory'],) for category in categories),
        )

    def read_samples(self) -> list[dict]:
        path = self.path(f'{self.split}2017.json')
        annotations, images = _read_lists_of(path, 'annotations', 'images')
        category_of = {item['image_id']: item['category_id'] for item in annotations}
        boxes: dict[int, list] = {}
        if self.with_boxes:
            for item in _read_lists_of(self.path(f'{self.split}_2017_bboxes.json'), 'annotations')[0]:
                x, y, width, height = item['bbox']
                boxes.setdefault(item['image_id'], []).append([x, y, x + width, y + height])
        samples = []
        for image in images:
            if category_of.get(image['id']) not in self._label_of:
                raise GLSimError(f'{path}: image {image["id"]} has no category that the file knows; download it again')
            sample = dict(img_path=image['file_name'], gt_label=self._label_of[category_of[image['id']]])
            if self.with_boxes:
                sample['gt_bboxes'] = boxes.get(image['id'], [])
            samples.append(sample)
        return samples


def _read_lists_of(path: str, *names: str) -> list[list[dict]]:
    content = read_json(path)
    for name in names:
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise GLSimError(f'{path} has no list {name!r}; it is not an annotation file of iNaturalist 2017')
    return [content[name] for name in names]


INAT17 = PublishedSet(
    name='inat17',
    title='iNaturalist 2017',
    reader=INaturalist2017,
    homepage='https://github.com/visipedia/inat_comp/tree/master/2017',
    licence='Own terms: only for non-commercial research and education, the images must not be distributed, and the '
    '[terms of iNaturalist](https://www.inaturalist.org/pages/terms) hold.',
    boxes=f'of 9 super-classes, {WITH_BOXES}',
    hierarchy='13 super-classes',
    sources=(
        Source('train_val_images.tar.gz', ('train_val_images',), checksum='md5:7c784ea5e424efaec655bd392f87301f'),
        Source('train_val2017.zip', ('train2017.json', 'val2017.json'), 26836398),
        Source('train_2017_bboxes.zip', ('train_2017_bboxes.json',), optional=True),
        Source('val_2017_bboxes.zip', ('val_2017_bboxes.json',), optional=True),
    ),
    files_at='https://ml-inat-competition-datasets.s3.amazonaws.com/2017',
    checksums_from="the set's authors",
    notes='The archive of images is 186 GB, and the images take as much again. The boxes are only read by '
    '`with_boxes=True`.',
)
