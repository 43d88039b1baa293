"""Heads that classify or embed images with the help of what was selected in them."""

from .aggregator_head import AggregatorHead
from .contrastive_head import PartContrastiveHead
from .counterfactual_head import CounterfactualHead
from .embedding_head import EmbeddingHead, MetricLearningLoss
from .fused_head import AdapterHead, CosineCrossEntropyLoss, FusedHead

__all__ = [
    'AdapterHead', 'AggregatorHead', 'CosineCrossEntropyLoss', 'CounterfactualHead', 'EmbeddingHead', 'FusedHead',
    'MetricLearningLoss', 'PartContrastiveHead',
]  # fmt: skip
