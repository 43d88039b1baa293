"""Galleries in Milvus: the interface of the local gallery over a server, a cluster, or a local file."""

from .collection import MilvusLocation, parse_location
from .milvus_gallery import MilvusReader, MilvusWriter

__all__ = ['MilvusLocation', 'MilvusReader', 'MilvusWriter', 'parse_location']
