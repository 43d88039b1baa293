"""Parts of the training engine, registered in mmpretrain's registries on import."""

from . import hooks
from .optim_wrapper import CPUAmpOptimWrapper

__all__ = ['CPUAmpOptimWrapper', 'hooks']
