"""Parts of the training engine, registered in mmpretrain's registries on import."""

from . import hooks
from .layer_decay import BackboneLayerDecayConstructor
from .optim_wrapper import CPUAmpOptimWrapper

__all__ = ['BackboneLayerDecayConstructor', 'CPUAmpOptimWrapper', 'hooks']
