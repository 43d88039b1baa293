"""Galleries: embeddings with stable ids, what is known about each image, and search among them."""

from ..records import Record
from .backends import create_gallery, gallery_exists, is_folder, open_gallery
from .backups import Backup, back_up_gallery, restore_gallery
from .conditions import Condition, parse_conditions, read_conditions
from .contract import Fingerprint, GalleryReader, GalleryWriter, Manifest, check_model
from .history import Change, ChangeSet, UndoPlan
from .roots import Roots, move_roots, parse_roots, store_roots
from .swapping import swap_galleries

__all__ = [
    'Backup',
    'Change',
    'ChangeSet',
    'Condition',
    'Fingerprint',
    'GalleryReader',
    'GalleryWriter',
    'Manifest',
    'Record',
    'Roots',
    'UndoPlan',
    'back_up_gallery',
    'check_model',
    'create_gallery',
    'gallery_exists',
    'is_folder',
    'move_roots',
    'open_gallery',
    'parse_conditions',
    'parse_roots',
    'read_conditions',
    'restore_gallery',
    'store_roots',
    'swap_galleries',
]
