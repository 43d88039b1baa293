"""Metrics that mmpretrain lacks."""

from .class_metrics import (
    CalibrationError,
    ClassDeviation,
    HierarchicalAccuracy,
    class_deviation,
    hierarchical_accuracy,
)
from .confusion_pairs import ConfusedPair, ConfusionPairs, ImageResult, confusion_pairs, format_pairs
from .passes import MeanPasses
from .retrieval_metrics import RetrievalMetrics
from .selection_quality import MEASURES, SelectionQuality, selection_quality

__all__ = [
    'MEASURES', 'CalibrationError', 'ClassDeviation', 'ConfusedPair', 'ConfusionPairs', 'HierarchicalAccuracy',
    'ImageResult', 'MeanPasses', 'RetrievalMetrics', 'SelectionQuality', 'class_deviation',
    'confusion_pairs', 'format_pairs', 'hierarchical_accuracy', 'selection_quality',
]  # fmt: skip
