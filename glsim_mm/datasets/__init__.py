"""Data sets and transforms that mmpretrain lacks."""

from .cub_format import CUBFormat
from .transforms import LoadImage

__all__ = ['CUBFormat', 'LoadImage']
