"""Data sets, batch samplers and transforms that mmpretrain lacks."""

from .anime import DAFB, Moe
from .cached_transforms import CachedTransforms
from .class_balanced_sampler import ClassBalancedBatchSampler
from .class_disjoint import ClassDisjointSplit
from .cub_format import CUBFormat
from .fgvc_aircraft import FGVCAircraftFormat
from .fine_grained import FineGrainedDataset
from .flowers102 import Flowers102Format
from .food101 import Food101Format
from .image_transforms import LoadImage, RandomCropWithBoxes
from .inaturalist2017 import INaturalist2017
from .nabirds import NABirds
from .oxford_pets import OxfordPetsFormat
from .stanford_cars import StanfordCarsFormat
from .stanford_dogs import StanfordDogs
from .table import TableDataset
from .vegfru import VegFru

__all__ = [
    'DAFB',
    'CUBFormat',
    'CachedTransforms',
    'ClassBalancedBatchSampler',
    'ClassDisjointSplit',
    'FGVCAircraftFormat',
    'FineGrainedDataset',
    'Flowers102Format',
    'Food101Format',
    'INaturalist2017',
    'LoadImage',
    'Moe',
    'NABirds',
    'OxfordPetsFormat',
    'RandomCropWithBoxes',
    'StanfordCarsFormat',
    'StanfordDogs',
    'TableDataset',
    'VegFru',
]
