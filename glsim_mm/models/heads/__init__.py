"""Heads that classify images with the help of what was selected in them."""

from .aggregator_head import AggregatorHead
from .counterfactual_head import CounterfactualHead

__all__ = ['AggregatorHead', 'CounterfactualHead']
