"""Metrics that mmpretrain lacks, and tables of results."""

from .calibration import CalibrationError, calibration_error
from .class_deviation import ClassDeviation, class_deviation
from .confusion_pairs import ConfusedPair, ConfusionPairs, ImageResult, confusion_pairs, format_pairs
from .hierarchical_accuracy import HierarchicalAccuracy, hierarchical_accuracy
from .result_table import format_results, read_metrics
from .retrieval_metrics import RetrievalMetrics
from .selection_quality import MEASURES, SelectionQuality, selection_quality

__all__ = [
    'MEASURES',
    'CalibrationError',
    'ClassDeviation',
    'ConfusedPair',
    'ConfusionPairs',
    'HierarchicalAccuracy',
    'ImageResult',
    'RetrievalMetrics',
    'SelectionQuality',
    'calibration_error',
    'class_deviation',
    'confusion_pairs',
    'format_pairs',
    'format_results',
    'hierarchical_accuracy',
    'read_metrics',
    'selection_quality',
]
