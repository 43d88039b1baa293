"""Data sets and transforms that mmpretrain lacks."""

from .anime import DAFB, Moe
from .cub_format import CUBFormat
from .fine_grained import FineGrainedDataset
from .inaturalist2017 import INaturalist2017
from .nabirds import NABirds
from .stanford_dogs import StanfordDogs
from .transforms import LoadImage, RandomCropWithBoxes
from .vegfru import VegFru

__all__ = [
    'DAFB',
    'CUBFormat',
    'FineGrainedDataset',
    'INaturalist2017',
    'LoadImage',
    'Moe',
    'NABirds',
    'RandomCropWithBoxes',
    'StanfordDogs',
    'VegFru',
]
