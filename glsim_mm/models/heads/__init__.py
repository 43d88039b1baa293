"""Heads that read the CLS tokens of images and crops."""

from .aggregator_head import AggregatorHead

__all__ = ['AggregatorHead']
