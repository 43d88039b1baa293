"""Image search on (n, d) float32 embeddings of any model."""

from .metrics import mean_average_precision_at_r, recall_at_k
from .search import exact_search

__all__ = ['exact_search', 'mean_average_precision_at_r', 'recall_at_k']
