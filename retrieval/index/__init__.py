"""Search among embeddings with FAISS: exact and approximate, filtered, memory-mapped, on CPU and GPU."""

from .part import Part, make_part, merge_parts
from .presets import PRESETS, Preset, choose_preset
from .selection import RowFilter
from .vector_index import VectorIndex

__all__ = ['PRESETS', 'Part', 'Preset', 'RowFilter', 'VectorIndex', 'choose_preset', 'make_part', 'merge_parts']
