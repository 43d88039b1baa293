"""Published data sets whose annotations are MATLAB files: Flowers, Cars and Dogs."""

import torchvision
from mmengine import fileio
from mmpretrain.registry import DATASETS

from ..errors import GLSimError
from .annotation_files import read_mat, read_mat_fields, read_voc_boxes
from .fine_grained import (
    NOT_STATED,
    TENSORFLOW_DATASETS,
    TORCHVISION,
    WITH_BOXES,
    FineGrainedDataset,
    PublishedSet,
    Source,
)


@DATASETS.register_module()
class Flowers102Format(FineGrainedDataset):
    """Oxford Flowers-102 (Nilsback and Zisserman, 2008): 8,189 photos, in the layout of mmpretrain's ``Flowers102``.

    The folder holds::

        ├── jpg/
        │   └── image_00001.jpg
        ├── imagelabels.mat            label of each image, from 1
        └── setid.mat                  trnid, valid, tstid: images of each split, from 1

    The set's own files have no names of the classes, nor has mmpretrain's class; here they are torchvision's (0.21 or
    newer). See :class:`FineGrainedDataset` for arguments::

        Flowers102Format('data/flowers102', split='test')
    """

    SIZES = dict(trainval=2040, train=1020, val=1020, test=6149)
    LISTS = dict(train=('trnid',), val=('valid',), trainval=('trnid', 'valid'), test=('tstid',))

    def read_metainfo(self, data_root: str) -> dict:
        names = getattr(torchvision.datasets.Flowers102, 'classes', None)
        return dict(classes=tuple(names or (f'flower {number}' for number in range(1, 103))))

    def read_samples(self) -> list[dict]:
        labels_file, splits_file = self.path('imagelabels.mat'), self.path('setid.mat')
        (labels,) = read_mat_fields(read_mat(labels_file), ('labels',), labels_file)
        splits, samples = read_mat(splits_file), []
        for name in self.LISTS[self.split]:
            for photo in read_mat_fields(splits, (name,), splits_file)[0]:
                if not 1 <= photo <= len(labels):
                    raise GLSimError(f'{splits_file} lists photo {photo}, but {labels_file} has {len(labels)} labels')
                path = f'jpg/image_{photo:05d}.jpg'
                samples.append(dict(img_path=path, gt_label=self.to_label(labels[photo - 1], path, labels_file)))
        return samples


_FLOWERS = 'https://www.robots.ox.ac.uk/~vgg/data/flowers/102'

FLOWERS = PublishedSet(
    name='flowers',
    title='Oxford Flowers-102',
    reader=Flowers102Format,
    homepage=_FLOWERS,
    licence=f'{NOT_STATED}.',
    sources=(
        Source('102flowers.tgz', ('jpg',), 344862509, 'md5:52808999861908f626f3c1f4e79d11fa'),
        Source('imagelabels.mat', size=502, checksum='md5:e0620be6f572b9609742df49c70aed4d'),
        Source('setid.mat', size=14989, checksum='md5:a5357ecc9cb78c4bef273ce3793fc85c'),
    ),
    files_at=_FLOWERS,
    checksums_from=TORCHVISION,
)


@DATASETS.register_module()
class StanfordCarsFormat(FineGrainedDataset):
    """Stanford Cars (Krause et al., 2013): 196 models, 16,185 photos, in both layouts of mmpretrain's ``StanfordCars``.

    The folder holds, or in place of it ``car_ims/`` with ``cars_annos.mat``::

        ├── cars_train/
        │   └── 00001.jpg
        ├── cars_test/
        │   └── 00001.jpg
        └── devkit/
            ├── cars_meta.mat
            ├── cars_train_annos.mat
            └── cars_test_annos_withlabels.mat      here or beside devkit/

    See :class:`FineGrainedDataset` for arguments::

        StanfordCarsFormat('data/stanford_cars', split='test')
    """

    SIZES = dict(train=8144, test=8041)
    BOX = ('bbox_x1', 'bbox_y1', 'bbox_x2', 'bbox_y2')
    # The labels of the test set were published apart from the devkit.
    FILES = {
        'train': ('devkit/cars_train_annos.mat',),
        'test': ('devkit/cars_test_annos_withlabels.mat', 'cars_test_annos_withlabels.mat'),
    }

    def read_metainfo(self, data_root: str) -> dict:
        path = fileio.join_path(data_root, 'cars_annos.mat')
        if not fileio.isfile(path):
            path = fileio.join_path(data_root, 'devkit', 'cars_meta.mat')
        (names,) = read_mat_fields(read_mat(path), ('class_names',), path)
        return dict(classes=tuple(names))

    def read_samples(self) -> list[dict]:
        paths = [self.path('cars_annos.mat'), *(self.path(*name.split('/')) for name in self.FILES[self.split])]
        path = next((path for path in paths if fileio.isfile(path)), None)
        if path is None:
            raise GLSimError(f'{paths[1]} is not there; complete the download of Stanford Cars in {self.data_root}')
        annotations = read_mat(path).get('annotations')
        if not isinstance(annotations, dict):
            raise GLSimError(f"{path} has no 'annotations'; it is another file than expected, download it again")
        if path == paths[0]:
            *columns, is_test = read_mat_fields(annotations, ('relative_im_path', 'class', *self.BOX, 'test'), path)
            wanted = [bool(flag) == (self.split == 'test') for flag in is_test]
            folder = ''
        else:
            columns = read_mat_fields(annotations, ('fname', 'class', *self.BOX), path)
            wanted, folder = [True] * len(columns[0]), f'cars_{self.split}/'
        return [
            dict(img_path=f'{folder}{name}', gt_label=self.to_label(number, name, path), gt_bboxes=box)
            for (name, number, *box), keep in zip(zip(*columns), wanted)
            if keep
        ]


CARS = PublishedSet(
    name='cars',
    title='Stanford Cars',
    reader=StanfordCarsFormat,
    homepage='https://ai.stanford.edu/~jkrause/cars/car_dataset.html (gone)',
    licence=f'{NOT_STATED}: the page of its authors, where it would be, is gone.',
    boxes='one per image',
    sources=(
        Source(
            'cars_train.tgz',
            ('cars_train|car_ims',),
            979269282,
            'sha256:512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288',
        ),
        Source(
            'cars_test.tgz',
            ('cars_test|car_ims',),
            977350468,
            'sha256:bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243',
        ),
        Source(
            'car_devkit.tgz',
            ('devkit/cars_meta.mat|cars_annos.mat', 'devkit/cars_train_annos.mat|cars_annos.mat'),
            330960,
            'sha256:b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd',
        ),
        Source(
            'cars_test_annos_withlabels.mat',
            ('cars_test_annos_withlabels.mat|devkit/cars_test_annos_withlabels.mat|cars_annos.mat',),
            185758,
            'sha256:790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05',
        ),
    ),
    by_hand="the authors' server (ai.stanford.edu/~jkrause/cars/car_dataset.html) no longer has it; copies are named "
    'in https://github.com/pytorch/vision/issues/7545',
    checksums_from=TENSORFLOW_DATASETS,
    notes='The layout with `car_ims/` and `cars_annos.mat` is read too.',
)


@DATASETS.register_module()
class StanfordDogs(FineGrainedDataset):
    """Stanford Dogs (Khosla et al., 2011; http://vision.stanford.edu/aditya86/ImageNetDogs): 120 breeds, 20,580 photos.

    The folder holds::

        ├── Images/
        │   └── n02085620-Chihuahua/n02085620_10074.jpg
        ├── Annotation/                boxes, as Pascal VOC's XML
        │   └── n02085620-Chihuahua/n02085620_10074
        ├── train_list.mat             or in lists/
        └── test_list.mat

    See :class:`FineGrainedDataset` for further arguments::

        StanfordDogs('data/stanford_dogs', split='test', with_boxes=True)

    Args:
        with_boxes: Read the boxes, one or more per photo, from one small file per photo.
    """

    SIZES = dict(train=12000, test=8580)

    def __init__(self, data_root: str, split: str | None = None, with_boxes: bool = False, **kwargs) -> None:
        self.with_boxes = with_boxes
        super().__init__(data_root, split, **kwargs)

    def read_metainfo(self, data_root: str) -> dict:
        """Breeds, from the folders' names."""
        folders = {path.split('/')[0]: label for path, label in self._read_list(data_root, 'train')}
        ordered = sorted(folders, key=folders.__getitem__)
        return dict(classes=tuple(folder.split('-', 1)[-1].replace('_', ' ') for folder in ordered))

    def read_samples(self) -> list[dict]:
        samples = []
        for path, label in self._read_list(self.data_root, self.split):
            sample = dict(img_path=f'Images/{path}', gt_label=label)
            if self.with_boxes:
                sample['gt_bboxes'] = read_voc_boxes(self.path('Annotation', path.rsplit('.', 1)[0]))
            samples.append(sample)
        return samples

    @staticmethod
    def _read_list(data_root: str, split: str) -> list[tuple[str, int]]:
        """Path below ``Images/`` and label of each photo."""
        candidates = [fileio.join_path(data_root, *folder, f'{split}_list.mat') for folder in ((), ('lists',))]
        path = next((path for path in candidates if fileio.isfile(path)), None)
        if path is None:
            raise GLSimError(f'{candidates[0]} is not there; unpack lists.tar of Stanford Dogs in {data_root}')
        files, labels = read_mat_fields(read_mat(path), ('file_list', 'labels'), path)
        return [(file, int(label) - 1) for file, label in zip(files, labels)]


_DOGS = 'http://vision.stanford.edu/aditya86/ImageNetDogs'

DOGS = PublishedSet(
    name='dogs',
    title='Stanford Dogs',
    reader=StanfordDogs,
    homepage=_DOGS,
    licence=f"{NOT_STATED} on the data set page. The photos are ImageNet's, whose "
    '[terms](https://www.image-net.org/download.php) allow non-commercial research and education only.',
    boxes=f'one or more per image, {WITH_BOXES}',
    sources=(
        Source(
            'images.tar',
            ('Images',),
            793579520,
            'sha256:a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58',
        ),
        Source(
            'lists.tar',
            ('train_list.mat|lists/train_list.mat', 'test_list.mat|lists/test_list.mat'),
            481280,
            'sha256:34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c',
        ),
        Source(
            'annotation.tar',
            ('Annotation',),
            21852160,
            'sha256:662ed36f707be6b195c2fda392d8e153e83af28cedc8e2134a649f198def30fd',
            optional=True,
        ),
    ),
    files_at=_DOGS,
    checksums_from=TENSORFLOW_DATASETS,
    notes='`annotation.tar` has the boxes, which only `with_boxes=True` reads.',
)
