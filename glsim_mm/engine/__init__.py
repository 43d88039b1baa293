"""Parts of the training engine, registered in mmpretrain's registries on import."""

from . import hooks
from .optimizers import BackboneLayerDecayConstructor, CPUAmpOptimWrapper

__all__ = ['BackboneLayerDecayConstructor', 'CPUAmpOptimWrapper', 'hooks']
