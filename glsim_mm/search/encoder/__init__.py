"""From images to embeddings and galleries; the one part of :mod:`retrieval` that knows OpenMMLab's models.

What needs mmpretrain is imported when it is first asked for, so that :class:`ExportedEncoder` works without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import BaseEncoder
from .encoded import Encoded, EncodingError
from .exported import ExportedEncoder
from .photo_dataset import ImageItem
from .reading import MAX_PIXELS
from .report import EncodingReport, format_report

if TYPE_CHECKING:
    from .adding import add_images, add_to_location, encoder_for
    from .building import build_gallery
    from .encoder import Encoder
    from .sources import find_items

_LATER = {
    'Encoder': 'encoder',
    'add_images': 'adding',
    'add_to_location': 'adding',
    'build_gallery': 'building',
    'encoder_for': 'adding',
    'find_items': 'sources',
}

__all__ = [
    'MAX_PIXELS',
    'BaseEncoder',
    'Encoded',
    'Encoder',
    'EncodingError',
    'EncodingReport',
    'ExportedEncoder',
    'ImageItem',
    'add_images',
    'add_to_location',
    'build_gallery',
    'encoder_for',
    'find_items',
    'format_report',
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_LATER[name]}', __name__), name)
