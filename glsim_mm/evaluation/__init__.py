"""Metrics that mmpretrain lacks, and tables of results."""

from .class_metrics import (
    CalibrationError,
    ClassDeviation,
    HierarchicalAccuracy,
    calibration_error,
    class_deviation,
    hierarchical_accuracy,
)
from .confusion_pairs import ConfusedPair, ConfusionPairs, ImageResult, confusion_pairs, format_pairs
from .result_table import format_results, read_metrics
from .retrieval_metrics import RetrievalMetrics
from .selection_quality import MEASURES, SelectionQuality, selection_quality

__all__ = [
    'MEASURES', 'CalibrationError', 'ClassDeviation', 'ConfusedPair', 'ConfusionPairs', 'HierarchicalAccuracy',
    'ImageResult', 'RetrievalMetrics', 'SelectionQuality', 'calibration_error', 'class_deviation',
    'confusion_pairs', 'format_pairs', 'format_results', 'hierarchical_accuracy', 'read_metrics',
    'selection_quality',
]  # fmt: skip
