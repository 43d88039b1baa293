"""Running models that ``tools/export.py`` wrote. Needs neither mmpretrain nor mmcv, and no torch."""

from .inferencer import ExportedInferencer
from .info import ExportedInfo
from .model import ExportedModel

__all__ = ['ExportedInferencer', 'ExportedInfo', 'ExportedModel']
