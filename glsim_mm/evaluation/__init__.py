"""Metrics that mmpretrain lacks, and tables of results."""

from .class_deviation import ClassDeviation, class_deviation
from .result_table import format_results, read_metrics
from .selection_quality import MEASURES, SelectionQuality, selection_quality

__all__ = [
    'MEASURES',
    'ClassDeviation',
    'SelectionQuality',
    'class_deviation',
    'format_results',
    'read_metrics',
    'selection_quality',
]
