"""Hooks, optimizer wrappers and their constructors for training."""

from . import hooks
from .optimizers import BackboneLayerDecayConstructor, CPUAmpOptimWrapper

__all__ = ['BackboneLayerDecayConstructor', 'CPUAmpOptimWrapper', 'hooks']
