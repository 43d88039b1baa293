"""Search on (n, d) float32 embeddings of any model: indexes, galleries, re-ranking, recognition, metrics."""

from importlib import import_module
from typing import Any

_EXPORTS = {
    'RetrievalError': 'errors',
    'VectorIndex': 'index',
    'create_gallery': 'gallery',
    'evaluate_embeddings': 'evaluation',
    'evaluate_ranking': 'evaluation',
    'exact_search': 'vectors',
    'open_gallery': 'gallery',
}

__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    """Import what is asked for; not all of it needs FAISS or SQLite."""
    if name not in _EXPORTS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_EXPORTS[name]}', __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
