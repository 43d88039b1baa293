"""Losses: pure functions, and those of metric learning as modules."""

from .contrastive import contrastive_loss
from .metric_learning import MetricLearningLoss

__all__ = ['MetricLearningLoss', 'contrastive_loss']
