"""Published data sets whose files anyone can download."""

from .descriptions import NOT_STATED, RESEARCH, TENSORFLOW_DATASETS, TORCHVISION, PublishedSet, Source

_OXFORD = 'https://www.robots.ox.ac.uk/~vgg/data'
_DOGS = 'http://vision.stanford.edu/aditya86/ImageNetDogs'
_INAT = 'https://ml-inat-competition-datasets.s3.amazonaws.com/2017'
CUB_FILES = ('images.txt', 'classes.txt', 'image_class_labels.txt', 'train_test_split.txt', 'bounding_boxes.txt')

CUB = PublishedSet(
    name='cub',
    title='CUB-200-2011',
    homepage='https://data.caltech.edu/records/65de6-vp158',
    licence=RESEARCH,
    dataset_type='CUBFormat',
    splits=('train', 'test'),
    num_images=11788,
    sources=(
        Source(
            'CUB_200_2011.tgz',
            ('images', *CUB_FILES),
            url='https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz',
            checksum='md5:97eceeb196236b17998738112f37df78',
            checksum_from='Avalanche',
            size=1150585339,
        ),
    ),
)

DOGS = PublishedSet(
    name='dogs',
    title='Stanford Dogs',
    homepage=_DOGS,
    licence=f'{NOT_STATED}; the photos are from ImageNet, whose terms allow {RESEARCH}',
    dataset_type='StanfordDogs',
    splits=('train', 'test'),
    num_images=20580,
    sources=(
        Source(
            'images.tar',
            ('Images',),
            url=f'{_DOGS}/images.tar',
            checksum='sha256:a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58',
            checksum_from=TENSORFLOW_DATASETS,
            size=793579520,
        ),
        Source(
            'lists.tar',
            ('train_list.mat|lists/train_list.mat', 'test_list.mat|lists/test_list.mat'),
            url=f'{_DOGS}/lists.tar',
            checksum='sha256:34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c',
            checksum_from=TENSORFLOW_DATASETS,
            size=481280,
        ),
        Source(
            'annotation.tar',
            ('Annotation',),
            url=f'{_DOGS}/annotation.tar',
            checksum='sha256:662ed36f707be6b195c2fda392d8e153e83af28cedc8e2134a649f198def30fd',
            checksum_from=TENSORFLOW_DATASETS,
            size=21852160,
            optional=True,
        ),
    ),
    notes='annotation.tar has the boxes, which only with_boxes=True reads.',
)

FLOWERS = PublishedSet(
    name='flowers',
    title='Oxford Flowers-102',
    homepage=f'{_OXFORD}/flowers/102',
    licence=NOT_STATED,
    dataset_type='Flowers102Format',
    splits=('train', 'val', 'test'),
    num_images=8189,
    sources=(
        Source(
            '102flowers.tgz',
            ('jpg',),
            url=f'{_OXFORD}/flowers/102/102flowers.tgz',
            checksum='md5:52808999861908f626f3c1f4e79d11fa',
            checksum_from=TORCHVISION,
            size=344862509,
        ),
        Source(
            'imagelabels.mat',
            ('imagelabels.mat',),
            url=f'{_OXFORD}/flowers/102/imagelabels.mat',
            checksum='md5:e0620be6f572b9609742df49c70aed4d',
            checksum_from=TORCHVISION,
            size=502,
        ),
        Source(
            'setid.mat',
            ('setid.mat',),
            url=f'{_OXFORD}/flowers/102/setid.mat',
            checksum='md5:a5357ecc9cb78c4bef273ce3793fc85c',
            checksum_from=TORCHVISION,
            size=14989,
        ),
    ),
)

FOOD101 = PublishedSet(
    name='food101',
    title='Food-101',
    homepage='https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101',
    licence='scientific fair use; the photos are from foodspotting.com, see license_agreement.txt in the archive',
    dataset_type='Food101Format',
    splits=('train', 'test'),
    num_images=101000,
    sources=(
        Source(
            'food-101.tar.gz',
            ('images', 'meta/classes.txt', 'meta/train.txt', 'meta/test.txt'),
            url='http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz',
            checksum='md5:85eeb15f3717b99a5da872d97d918f87',
            checksum_from=TORCHVISION,
            size=4996278331,
        ),
    ),
)

INAT17 = PublishedSet(
    name='inat17',
    title='iNaturalist 2017',
    homepage='https://github.com/visipedia/inat_comp/tree/master/2017',
    licence=f"{RESEARCH}, no passing on of the photos, iNaturalist's terms of service",
    dataset_type='INaturalist2017',
    splits=('train', 'val'),
    num_images=675170,
    sources=(
        Source(
            'train_val_images.tar.gz',
            ('train_val_images',),
            url=f'{_INAT}/train_val_images.tar.gz',
            checksum='md5:7c784ea5e424efaec655bd392f87301f',
            checksum_from="the set's authors",
        ),
        Source(
            'train_val2017.zip',
            ('train2017.json', 'val2017.json'),
            url=f'{_INAT}/train_val2017.zip',
            size=26836398,
        ),
        Source('train_2017_bboxes.zip', ('train_2017_bboxes.json',), f'{_INAT}/train_2017_bboxes.zip', optional=True),
        Source('val_2017_bboxes.zip', ('val_2017_bboxes.json',), f'{_INAT}/val_2017_bboxes.zip', optional=True),
    ),
    notes='The archive of images is 186 GB, and the images take as much again. The boxes are only read by '
    'with_boxes=True.',
)

PETS = PublishedSet(
    name='pets',
    title='Oxford-IIIT Pets',
    homepage=f'{_OXFORD}/pets',
    licence='CC BY-SA 4.0',
    dataset_type='OxfordPetsFormat',
    splits=('trainval', 'test'),
    num_images=7349,
    sources=(
        Source(
            'images.tar.gz',
            ('images',),
            url=f'{_OXFORD}/pets/data/images.tar.gz',
            checksum='md5:5c4f3ee8e5d25df40f4fd59a7f44e54c',
            checksum_from=TORCHVISION,
            size=791918971,
        ),
        Source(
            'annotations.tar.gz',
            ('annotations/trainval.txt', 'annotations/test.txt'),
            url=f'{_OXFORD}/pets/data/annotations.tar.gz',
            checksum='md5:95a8c909bbe2e81eed6a22bccdf3f68f',
            checksum_from=TORCHVISION,
            size=19173078,
        ),
    ),
)

AIRCRAFT = PublishedSet(
    name='aircraft',
    title='FGVC-Aircraft',
    homepage=f'{_OXFORD}/fgvc-aircraft',
    licence=f'{RESEARCH} only',
    dataset_type='FGVCAircraftFormat',
    splits=('train', 'val', 'test'),
    num_images=10000,
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
                    for split in ('train', 'val', 'trainval', 'test')
                ),
            ),
            url=f'{_OXFORD}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz',
        ),
    ),
)
