"""Metrics that mmpretrain lacks, and tables of results."""

from .class_deviation import ClassDeviation, class_deviation
from .result_table import format_results, read_metrics

__all__ = ['ClassDeviation', 'class_deviation', 'format_results', 'read_metrics']
