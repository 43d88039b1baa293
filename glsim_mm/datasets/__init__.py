"""Data sets and transforms that mmpretrain lacks."""

from .cub_format import CUBFormat
from .transforms import LoadImage, RandomCropWithBoxes

__all__ = ['CUBFormat', 'LoadImage', 'RandomCropWithBoxes']
