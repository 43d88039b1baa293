"""Whitenings of a gallery, kept in a small collection beside it, because properties cannot hold a megabyte."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import RetrievalError
from ..whitening import Whitening
from .client import Collection
from .fields import MAX_TEXT_BYTES
from .location import MilvusLocation

_CHUNK = MAX_TEXT_BYTES // 4 * 4


def transforms_location(location: MilvusLocation) -> MilvusLocation:
    """Where the whitenings of a gallery are."""
    return replace(location, collection=f'{location.collection}_transforms')


def save_transforms(location: MilvusLocation, transforms: Mapping[str, Whitening]) -> None:
    """Write the whitenings of a gallery that is about to be made; what a broken creation left is replaced.

    Args:
        location: Of the gallery.
        transforms: Space -> whitening.
    """
    if not transforms:
        return
    from pymilvus import DataType

    collection = Collection(transforms_location(location))
    if collection.exists():
        collection.drop()
    schema = collection.client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field('id', DataType.INT64, is_primary=True)
    schema.add_field('space', DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field('content', DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field('unused', DataType.FLOAT_VECTOR, dim=2)  # Milvus has no collection without vectors
    collection.create(schema, {'gallery.part': 'transforms'})
    _load(collection)
    rows = [
        {'space': space, 'content': content, 'unused': [0.0, 0.0]}
        for space, transform in transforms.items()
        for content in _chunks(base64.b64encode(transform.to_bytes()).decode())
    ]
    for number, row in enumerate(rows):
        collection.write([{'id': number, **row}])
    collection.close()


def load_transforms(location: MilvusLocation, spaces: Sequence[str]) -> dict[str, Whitening]:
    """The whitenings of a gallery.

    Args:
        location: Of the gallery.
        spaces: Those that have one.

    Returns:
        Space -> whitening.

    Raises:
        RetrievalError: If they are gone.
    """
    if not spaces:
        return {}
    place = transforms_location(location)
    collection = Collection(place)
    try:
        if not collection.exists():
            raise RetrievalError(f'{place}, the whitenings of {location}, is gone: build the gallery anew')
        _load(collection)
        rows = [row for page in collection.scan(fields=['space', 'content']) for row in page]
    finally:
        collection.close()
    contents: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row['id']):
        contents[row['space']] = contents.get(row['space'], '') + row['content']
    return {space: Whitening.from_bytes(base64.b64decode(contents.get(space, ''))) for space in spaces}


def _load(collection: Collection) -> None:
    def build(names: list[str]) -> Any:
        indexes = collection.client.prepare_index_params()
        indexes.add_index(field_name=names[0], index_type='FLAT', metric_type='L2', params={})
        return indexes

    collection.load(['unused'], build)


def _chunks(text: str) -> list[str]:
    return [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
