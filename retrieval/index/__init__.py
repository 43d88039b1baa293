"""Search among embeddings with FAISS: exact and approximate, filtered, memory-mapped, on CPU and GPU."""

from .part import Part, make_part
from .presets import PRESETS, Preset, choose_preset
from .vector_index import RowFilter, VectorIndex

__all__ = ['PRESETS', 'Part', 'Preset', 'RowFilter', 'VectorIndex', 'choose_preset', 'make_part']
