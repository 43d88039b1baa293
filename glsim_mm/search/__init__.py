"""From photos to embeddings, galleries and results: image search with GLSim's models, on top of :mod:`retrieval`."""

from importlib import import_module
from typing import Any

_EXPORTS = {
    'Encoder': 'encoder',
    'ExportedEncoder': 'encoder',
    'ImageSearch': 'image_search',
    'ObjectSearch': 'objects',
    'build_gallery': 'encoder',
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    """Import what is asked for: looking into a gallery needs no model."""
    if name not in _EXPORTS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_EXPORTS[name]}', __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
