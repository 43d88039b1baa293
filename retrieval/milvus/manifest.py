"""The manifest of a gallery in Milvus, put together from its state."""

from ..gallery.contract import Fingerprint, Manifest
from .state import FORMAT, State


def build_manifest(state: State, count: int) -> Manifest:
    """What made a gallery and how it is indexed; Milvus keeps its files to itself, so that none are listed."""
    return Manifest(
        format_version=FORMAT,
        created=state.created,
        fingerprint=None if state.fingerprint is None else Fingerprint(**state.fingerprint),
        metric=state.metric,
        spaces=dict(state.spaces),
        input_dimensions=dict(state.input_dimensions),
        preset=state.preset,
        preset_reason=state.preset_reason,
        counts={'rows': count},
        generation=state.generation,
        files={},
        origin=dict(state.origin),
    )
