"""Making and opening galleries in Milvus."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from ..errors import RetrievalError
from ..gallery.contract import Fingerprint
from ..whitening import Whitening
from . import fields
from .client import Collection
from .gallery import MilvusGallery
from .location import parse_location
from .state import State, definition_properties, read_state
from .transforms import load_transforms, save_transforms


def backend_exists(location: str) -> bool:
    """Whether the collection is there."""
    collection = Collection(parse_location(location))
    try:
        return collection.exists()
    finally:
        collection.close()


def create_backend(
    location: str,
    spaces: Mapping[str, int],
    *,
    metric: str,
    preset: str,
    fingerprint: Fingerprint | None,
    transforms: Mapping[str, Whitening],
    memory_limit: int | None,
    origin: Mapping[str, str],
    expected_rows: int,
) -> MilvusGallery:
    """Make an empty gallery for :func:`retrieval.gallery.create_gallery`, which checks the arguments.

    Raises:
        RetrievalError: If it is there already, or Milvus cannot have it.
    """
    place = parse_location(location)
    dimensions = dict(spaces)
    transforms = dict(transforms or {})
    collection = Collection(place)
    try:
        if collection.exists():
            raise RetrievalError(f'{place} is there already: open it, or choose another name')
        _check_spaces(collection, dimensions)
        name, reason = fields.choose_preset(preset, expected_rows, collection.is_lite())
        state = State(
            created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
            fingerprint=None if fingerprint is None else asdict(fingerprint),
            metric=metric,
            spaces=dimensions,
            input_dimensions={
                space: transforms[space].input_dimension if space in transforms else dimension
                for space, dimension in dimensions.items()
            },
            transformed=list(transforms),
            origin=dict(origin or {}),
            preset=name,
            preset_reason=reason,
        )
        save_transforms(place, transforms)
        collection.create(fields.build_schema(collection.client, dimensions), definition_properties(state))
        _load(collection, state)
    except BaseException:
        collection.close()
        raise
    return MilvusGallery(collection, state, True, transforms)


def open_backend(location: str, *, writable: bool, mmap: bool, device: str) -> MilvusGallery:
    """Open a gallery for :func:`retrieval.gallery.open_gallery`.

    Raises:
        RetrievalError: If it is not there or is no gallery.
    """
    place = parse_location(location)
    collection = Collection(place)
    try:
        if not collection.exists():
            raise RetrievalError(f'there is no gallery at {place}: build it first')
        state = read_state(collection.properties(), place)
        _load(collection, state)
        return MilvusGallery(collection, state, writable, load_transforms(place, state.transformed))
    except BaseException:
        collection.close()
        raise


def _check_spaces(collection: Collection, spaces: Mapping[str, int]) -> None:
    if len({fields.vector_field(name) for name in spaces}) < len(spaces):
        raise RetrievalError(
            f'Milvus cannot tell {", ".join(spaces)} apart: let their names differ in more than - and _'
        )
    version = re.match(r'v?(\d+)\.(\d+)', collection.server_name())
    if len(spaces) > 1 and version is not None and (int(version[1]), int(version[2])) < (2, 4):
        raise RetrievalError(
            f'this server is Milvus {version[1]}.{version[2]} and holds one space per gallery: update it to 2.4 or '
            f'later, or keep one of {", ".join(spaces)}'
        )


def _load(collection: Collection, state: State) -> None:
    def build(names: list[str]) -> Any:
        spaces = {space: size for space, size in state.spaces.items() if fields.vector_field(space) in names}
        return fields.build_indexes(collection.client, spaces, state.metric, state.preset)

    collection.load([fields.vector_field(space) for space in state.spaces], build)
