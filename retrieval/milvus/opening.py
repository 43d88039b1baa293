"""Making and opening galleries in Milvus: the back-end that :mod:`retrieval.gallery.backends` names."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import RetrievalError
from ..gallery.contract import Manifest
from ..whitening import Whitening
from .collection import MAX_TEXT_BYTES, Collection, MilvusLocation, parse_location
from .milvus_gallery import MilvusReader, MilvusWriter
from .side_collection import UNUSED, create_side, load_side
from .state import CLEAR_UP, State, new_properties, read_state
from .state import FORMAT as FORMAT
from .stored_history import StoredHistory
from .stored_rows import build_indexes, build_schema, choose_preset, vector_field

_CHUNK = MAX_TEXT_BYTES // 4 * 4
_logger = logging.getLogger(__name__)


def backend_exists(location: str) -> bool:
    """Whether the collection is there."""
    collection = Collection(parse_location(location))
    try:
        return collection.exists()
    finally:
        collection.close()


def create_backend(
    location: str,
    manifest: Manifest,
    transforms: Mapping[str, Whitening],
    memory_limit: int | None,
    expected_rows: int,
) -> MilvusWriter:
    """Make an empty gallery for :func:`retrieval.gallery.create_gallery`, which checks the arguments."""
    place = parse_location(location)
    collection = Collection(place, 'Strong')
    try:
        if collection.exists():
            raise RetrievalError(f'{place} is there already: open it, or choose another name')
        _check_spaces(collection, manifest.spaces)
        name, reason = choose_preset(manifest.preset, expected_rows, collection.is_lite(), collection.server_version())
        state = State(replace(manifest, preset=name, preset_reason=reason), list(transforms))
        StoredHistory(collection).clear()
        save_transforms(place, transforms)
        collection.create(build_schema(collection.client, manifest.spaces), new_properties(state))
        _load(collection, state)
    except BaseException:
        collection.close()
        raise
    return MilvusWriter(collection, state, transforms)


def open_backend(location: str, *, writable: bool, mmap: bool, device: str) -> MilvusReader:
    """Open a gallery for :func:`retrieval.gallery.open_gallery`; a warning tells of writes that broke off."""
    place = parse_location(location)
    # A writer must see what others have written, whatever the location says.
    collection = Collection(place, 'Strong' if writable else place.consistency)
    try:
        if not collection.exists():
            raise RetrievalError(f'there is no gallery at {place}: build it first')
        state = read_state(collection.properties(), place)
        for note in state.notes:
            if note.failed or not note.runs_here():
                advice = 'the next write clears up' if note.is_over() else CLEAR_UP
                _logger.warning('%s has %s; %s', place, note.describe(), advice)
        _load(collection, state)
        opened = MilvusWriter if writable else MilvusReader
        return opened(collection, state, load_transforms(place, state.transformed))
    except BaseException:
        collection.close()
        raise


def _check_spaces(collection: Collection, spaces: Mapping[str, int]) -> None:
    if len({vector_field(name) for name in spaces}) < len(spaces):
        raise RetrievalError(
            f'Milvus cannot tell {", ".join(spaces)} apart: let their names differ in more than - and _'
        )
    version = collection.server_version()
    if len(spaces) > 1 and version < (2, 4):
        raise RetrievalError(
            f'this server is Milvus {version[0]}.{version[1]} and holds one space per gallery: update it to 2.4 or '
            f'later, or keep one of {", ".join(spaces)}'
        )


def _load(collection: Collection, state: State) -> None:
    def build(names: list[str]) -> Any:
        spaces = {space: size for space, size in state.about.spaces.items() if vector_field(space) in names}
        return build_indexes(collection.client, spaces, state.about.metric, state.about.preset)

    collection.load([vector_field(space) for space in state.about.spaces], build)


def save_transforms(location: MilvusLocation, transforms: Mapping[str, Whitening]) -> None:
    """Keep the whitenings of a gallery that is about to be made; what a broken creation left is replaced.

    They are a small collection beside the gallery's, because properties cannot hold a megabyte.
    """
    if not transforms:
        return
    collection = Collection(_transforms_location(location), 'Strong')
    if collection.exists():
        collection.drop()
    create_side(collection, (), ('space', 'content'), part='transforms')
    number = 0
    for space, transform in transforms.items():
        text = base64.b64encode(transform.to_bytes()).decode()
        for start in range(0, len(text), _CHUNK):
            row = {'id': number, 'space': space, 'content': text[start : start + _CHUNK], **UNUSED}
            collection.insert([row])
            number += 1
    collection.close()


def load_transforms(location: MilvusLocation, spaces: Sequence[str]) -> dict[str, Whitening]:
    """The whitenings of these spaces of a gallery; RetrievalError if they are gone."""
    if not spaces:
        return {}
    collection = Collection(_transforms_location(location), 'Strong')
    try:
        if not collection.exists():
            raise RetrievalError(
                f'{collection.location}, the whitenings of {location}, is gone: build the gallery again'
            )
        load_side(collection)
        rows = [row for page in collection.scan(fields=['space', 'content']) for row in page]
    finally:
        collection.close()
    contents = dict.fromkeys(spaces, '')
    for row in sorted(rows, key=lambda row: row['id']):
        contents[row['space']] += row['content']
    return {space: Whitening.from_bytes(base64.b64decode(content)) for space, content in contents.items()}


def _transforms_location(location: MilvusLocation) -> MilvusLocation:
    return replace(location, collection=f'{location.collection}_transforms')
