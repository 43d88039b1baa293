"""Published data sets of which a part at least has to be fetched by hand, or is published by GLSim's authors."""

from .descriptions import NOT_STATED, RESEARCH, TENSORFLOW_DATASETS, PublishedSet, Source
from .public_downloads import CUB_FILES

_GLSIM = 'https://raw.githubusercontent.com/arkel23/GLSim/1a260fc778639c22115c21106434a5abf4c36db6/data'
# The authors' list of validation pictures of DAF:re, at a commit of another repository of theirs.
_DAF_VAL = (
    'https://raw.githubusercontent.com/arkel23/Pretrained-ViT/91ee2dc158823a8c9186d048d67546a8cc8ce60a/data/daf/val.csv'
)
_CARS_GONE = (
    "the authors' server (ai.stanford.edu/~jkrause/cars/car_dataset.html) no longer has it; copies are named in "
    'https://github.com/pytorch/vision/issues/7545'
)
_VEGFRU_BY_HAND = (
    'https://github.com/ustc-vim/vegfru leads to the download (pan.baidu.com); there is a copy at '
    'https://www.kaggle.com/datasets/zhaoyj688/vegfru'
)

NABIRDS = PublishedSet(
    name='nabirds',
    title='NABirds',
    homepage='https://dl.allaboutbirds.org/nabirds',
    licence=f'{RESEARCH}; its terms of use have to be agreed to in a form',
    dataset_type='NABirds',
    splits=('train', 'test'),
    num_images=48562,
    sources=(
        Source(
            'nabirds.tar.gz',
            ('images', *CUB_FILES, 'hierarchy.txt'),
            by_hand='agree to the terms of use at https://dl.allaboutbirds.org/nabirds, which then names the link',
        ),
    ),
)

CARS = PublishedSet(
    name='cars',
    title='Stanford Cars',
    homepage='https://ai.stanford.edu/~jkrause/cars/car_dataset.html (gone)',
    licence=NOT_STATED,
    dataset_type='StanfordCarsFormat',
    splits=('train', 'test'),
    num_images=16185,
    sources=(
        Source(
            'cars_train.tgz',
            ('cars_train|car_ims',),
            checksum='sha256:512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288',
            checksum_from=TENSORFLOW_DATASETS,
            size=979269282,
            by_hand=_CARS_GONE,
        ),
        Source(
            'cars_test.tgz',
            ('cars_test|car_ims',),
            checksum='sha256:bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243',
            checksum_from=TENSORFLOW_DATASETS,
            size=977350468,
            by_hand=_CARS_GONE,
        ),
        Source(
            'car_devkit.tgz',
            ('devkit/cars_meta.mat|cars_annos.mat', 'devkit/cars_train_annos.mat|cars_annos.mat'),
            checksum='sha256:b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd',
            checksum_from=TENSORFLOW_DATASETS,
            size=330960,
            by_hand=_CARS_GONE,
        ),
        Source(
            'cars_test_annos_withlabels.mat',
            ('cars_test_annos_withlabels.mat|devkit/cars_test_annos_withlabels.mat|cars_annos.mat',),
            checksum='sha256:790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05',
            checksum_from=TENSORFLOW_DATASETS,
            size=185758,
            by_hand=_CARS_GONE,
        ),
    ),
    notes='The layout with car_ims/ and cars_annos.mat is read too.',
)

VEGFRU = PublishedSet(
    name='vegfru',
    title='VegFru',
    homepage='https://github.com/ustc-vim/vegfru',
    licence=NOT_STATED,
    dataset_type='VegFru',
    splits=('train', 'val', 'test'),
    num_images=160731,
    sources=tuple(
        Source(
            f'{half} of VegFru',
            (
                f'{folder}_images',
                *(f'{folder}_lists/{prefix}_{split}.txt' for split in ('train', 'val', 'test')),
            ),
            by_hand=_VEGFRU_BY_HAND,
        )
        for half, folder, prefix in (('vegetables', 'veg200', 'veg'), ('fruits', 'fru92', 'fru'))
    ),
)


def _splits_of_authors(folder: str, val: str | None = None) -> tuple[Source, ...]:
    names = ('classid_classname.csv', 'train.csv', 'val.csv', 'test.csv')
    urls = {name: f'{_GLSIM}/{folder}/{name}' for name in names}
    if val is not None:
        urls['val.csv'] = val
    return tuple(Source(name, (name,), url=urls[name]) for name in names)


DAFB = PublishedSet(
    name='dafb',
    title='DAF:re with background (DAFB)',
    homepage='https://github.com/arkel23/Danbooru2018AnimeCharacterRecognitionDataset_Revamped',
    licence=NOT_STATED,
    dataset_type='DAFB',
    splits=('train', 'val', 'test'),
    num_images=463437,
    sources=(
        Source(
            'dafre_full.tar.gz',
            ('fullMin256',),
            by_hand="its homepage links the authors' folder on Google Drive, which has the archive in data/",
        ),
        *_splits_of_authors('daf', _DAF_VAL),
    ),
    notes="The number is the paper's (arXiv 2101.08674); what is checked are the pictures that the lists name.",
    is_exact=False,  # we have not seen all of the lists to count their lines
)

MOE = PublishedSet(
    name='moe',
    title="moeimouto's anime faces (Moe)",
    homepage='http://www.nurs.or.jp/~nagadomi/animeface-character-dataset',
    licence=NOT_STATED,
    dataset_type='Moe',
    splits=('train', 'val', 'test'),
    num_images=None,
    sources=(
        Source(
            'animeface-character-dataset.zip',
            ('data',),
            url='http://www.nurs.or.jp/~nagadomi/animeface-character-dataset/data/animeface-character-dataset.zip',
            rename={'thumb': 'data'},
        ),
        *_splits_of_authors('moe'),
    ),
    notes="GLSim's authors name https://www.kaggle.com/datasets/mylesoneill/tagged-anime-illustrations "
    '(moeimouto-faces) as their source; its folders of characters belong in data/.',
)
