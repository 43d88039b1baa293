"""Transforms that mmpretrain lacks."""

from .caching import CachedTransforms
from .cropping import RandomCropWithBoxes
from .loading import LoadImage

__all__ = ['CachedTransforms', 'LoadImage', 'RandomCropWithBoxes']
