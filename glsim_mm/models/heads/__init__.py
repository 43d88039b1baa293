"""Heads that classify images with the help of what was selected in them."""

from .aggregator_head import AggregatorHead
from .contrastive_head import PartContrastiveHead
from .counterfactual_head import CounterfactualHead

__all__ = ['AggregatorHead', 'CounterfactualHead', 'PartContrastiveHead']
