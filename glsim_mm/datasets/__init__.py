"""Data sets, batch samplers and transforms that mmpretrain lacks."""

from .authors_list_sets import DAFB, Moe
from .cached_transforms import CachedTransforms
from .class_balanced_sampler import ClassBalancedBatchSampler
from .class_disjoint import ClassDisjointSplit
from .cub_format import CUBFormat, NABirds
from .fine_grained import FineGrainedDataset
from .folder_dataset import FolderDataset
from .image_transforms import LoadImage, RandomCropWithBoxes
from .matlab_sets import Flowers102Format, StanfordCarsFormat, StanfordDogs
from .off_centre import OffCentre, off_centre_pipeline
from .table import TableDataset
from .text_list_sets import FGVCAircraftFormat, Food101Format, INaturalist2017, OxfordPetsFormat, VegFru

__all__ = [
    'DAFB',
    'CUBFormat',
    'CachedTransforms',
    'ClassBalancedBatchSampler',
    'ClassDisjointSplit',
    'FGVCAircraftFormat',
    'FineGrainedDataset',
    'Flowers102Format',
    'FolderDataset',
    'Food101Format',
    'INaturalist2017',
    'LoadImage',
    'Moe',
    'NABirds',
    'OffCentre',
    'OxfordPetsFormat',
    'RandomCropWithBoxes',
    'StanfordCarsFormat',
    'StanfordDogs',
    'TableDataset',
    'VegFru',
    'off_centre_pipeline',
]
