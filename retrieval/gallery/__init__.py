"""Galleries: embeddings with stable ids, what is known of each image, and search among them."""

from .conditions import Condition, parse_conditions, read_conditions
from .gallery import Gallery
from .interface import Fingerprint, GalleryInterface, Manifest, Record
from .locations import check_model, create_gallery, is_milvus, merge_galleries, open_gallery, verify_gallery

__all__ = [
    'Condition',
    'Fingerprint',
    'Gallery',
    'GalleryInterface',
    'Manifest',
    'Record',
    'check_model',
    'create_gallery',
    'is_milvus',
    'merge_galleries',
    'open_gallery',
    'parse_conditions',
    'read_conditions',
    'verify_gallery',
]
