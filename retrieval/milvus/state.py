"""What a gallery knows about itself, kept in the properties of its collection."""

import json
from dataclasses import dataclass, field

from ..errors import RetrievalError
from .location import MilvusLocation

FORMAT = 1
_COLUMN = 'gallery.column.'


@dataclass(frozen=True)
class State:
    """A gallery's definition and counters.

    Attributes:
        created: Time of creation, ISO 8601.
        fingerprint: Fields of the model's fingerprint; None without one.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        spaces: Name -> dimension, in order.
        input_dimensions: Name -> dimension that embeddings have before a transform.
        transformed: Spaces whose embeddings are whitened.
        preset: Of the index.
        preset_reason: One sentence.
        columns: Metadata column -> type.
        origin: Free.
        next_id: What the next row gets.
        generation: Number of writes so far.
        patch_shape: O and C of the patches of every row; None without patches.
    """

    created: str
    fingerprint: dict | None
    metric: str
    spaces: dict[str, int]
    input_dimensions: dict[str, int]
    transformed: list[str] = field(default_factory=list)
    preset: str = 'flat'
    preset_reason: str = ''
    columns: dict[str, str] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    next_id: int = 0
    generation: int = 0
    patch_shape: list[int] | None = None


def definition_properties(state: State) -> dict[str, str]:
    """Properties of a new collection."""
    definition = {
        'format': FORMAT,
        'created': state.created,
        'fingerprint': state.fingerprint,
        'metric': state.metric,
        'spaces': list(state.spaces.items()),
        'input_dimensions': state.input_dimensions,
        'transformed': state.transformed,
        'origin': state.origin,
    }
    return {
        'gallery.definition': json.dumps(definition),
        **preset_properties(state.preset, state.preset_reason),
        **counter_properties(state.next_id, state.generation),
        **patch_properties(state.patch_shape),
    }


def preset_properties(preset: str, reason: str) -> dict[str, str]:
    """Properties after the index has changed."""
    return {'gallery.preset': json.dumps([preset, reason])}


def counter_properties(next_id: int | None = None, generation: int | None = None) -> dict[str, str]:
    """Properties after a write."""
    values = {'gallery.next_id': next_id, 'gallery.generation': generation}
    return {key: str(value) for key, value in values.items() if value is not None}


def patch_properties(shape: list[int] | None) -> dict[str, str]:
    """Properties before rows with other patches than before."""
    return {'gallery.patch_shape': json.dumps(shape)}


def column_properties(columns: dict[str, str]) -> dict[str, str]:
    """Properties after new metadata columns; one each, so that writers do not undo each other's."""
    return {f'{_COLUMN}{name}': kind for name, kind in columns.items()}


def read_state(properties: dict[str, str], location: MilvusLocation) -> State:
    """The state in a collection's properties.

    Raises:
        RetrievalError: If the collection is not a gallery, or of a later format.
    """
    if 'gallery.definition' not in properties:
        raise RetrievalError(f'{location} is a collection, but no gallery: choose another name')
    definition = json.loads(properties['gallery.definition'])
    if definition['format'] != FORMAT:
        raise RetrievalError(
            f'{location} has format {definition["format"]}, this version reads {FORMAT}: update the package, or '
            'migrate the gallery with the version that wrote it'
        )
    preset, reason = json.loads(properties['gallery.preset'])
    return State(
        created=definition['created'],
        fingerprint=definition['fingerprint'],
        metric=definition['metric'],
        spaces=dict(definition['spaces']),
        input_dimensions=definition['input_dimensions'],
        transformed=definition['transformed'],
        preset=preset,
        preset_reason=reason,
        columns={
            key[len(_COLUMN) :]: kind for key, kind in sorted(properties.items()) if key.startswith(_COLUMN) and kind
        },
        origin=definition['origin'],
        next_id=int(properties['gallery.next_id']),
        generation=int(properties['gallery.generation']),
        patch_shape=json.loads(properties['gallery.patch_shape']),
    )
