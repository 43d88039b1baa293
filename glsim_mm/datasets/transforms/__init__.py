"""Transforms that mmpretrain lacks."""

from .cropping import RandomCropWithBoxes
from .loading import LoadImage

__all__ = ['LoadImage', 'RandomCropWithBoxes']
