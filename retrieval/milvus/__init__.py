"""Galleries in Milvus: the interface of the local gallery over a server, a cluster, or a local file."""

from .gallery import MilvusGallery
from .location import MilvusLocation, parse_location
from .migrating import Migration, migrate
from .opening import create_milvus_gallery, open_milvus_gallery

__all__ = [
    'Migration',
    'MilvusGallery',
    'MilvusLocation',
    'create_milvus_gallery',
    'migrate',
    'open_milvus_gallery',
    'parse_location',
]
