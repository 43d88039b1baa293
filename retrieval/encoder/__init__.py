"""From images to embeddings and galleries; the one part of :mod:`retrieval` that knows OpenMMLab's models."""

from .adding import add_images, add_to_location, encoder_for
from .building import build_gallery
from .encoded import Encoded, EncodingError
from .encoder import Encoder
from .photo_dataset import ImageItem
from .reading import MAX_PIXELS
from .report import EncodingReport, format_report
from .sources import find_items

__all__ = [
    'MAX_PIXELS',
    'Encoded',
    'Encoder',
    'EncodingError',
    'EncodingReport',
    'ImageItem',
    'add_images',
    'add_to_location',
    'build_gallery',
    'encoder_for',
    'find_items',
    'format_report',
]
