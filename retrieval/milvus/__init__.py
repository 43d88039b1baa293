"""Galleries in Milvus: the interface of the local gallery over a server, a cluster, or a local file."""

from .gallery import MilvusGallery
from .location import MilvusLocation, parse_location
from .migrating import Migration, migrate

__all__ = [
    'Migration',
    'MilvusGallery',
    'MilvusLocation',
    'migrate',
    'parse_location',
]
