"""Work-arounds for bugs of dependencies, one function each, with its link and the condition under which it can go."""

from .imports import after_mmpretrain, import_mmpretrain

__all__ = ['after_mmpretrain', 'import_mmpretrain']
