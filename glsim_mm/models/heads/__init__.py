"""Heads that classify or embed images with the help of what was selected in them."""

from .aggregator_head import AggregatorHead
from .contrastive_head import PartContrastiveHead
from .counterfactual_head import CounterfactualHead
from .embedding_head import EmbeddingHead, MetricLearningLoss

__all__ = ['AggregatorHead', 'CounterfactualHead', 'EmbeddingHead', 'MetricLearningLoss', 'PartContrastiveHead']
