"""Transforms that mmpretrain lacks."""

from .loading import LoadImage

__all__ = ['LoadImage']
