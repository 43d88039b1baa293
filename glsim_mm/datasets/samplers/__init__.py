"""Batch samplers that mmpretrain lacks."""

from .class_balanced import ClassBalancedBatchSampler

__all__ = ['ClassBalancedBatchSampler']
