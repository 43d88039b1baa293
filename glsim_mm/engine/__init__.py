"""Parts of the training engine, registered in mmpretrain's registries on import."""

from .hooks import (
    CheckpointGuardHook,
    EpochSeedHook,
    NonFiniteLossHook,
    NumClassesCheckHook,
    PredictionPictureHook,
    ProgressHook,
    UnreadableImageHook,
)
from .optim_wrapper import CPUAmpOptimWrapper

__all__ = [
    'CPUAmpOptimWrapper',
    'CheckpointGuardHook',
    'EpochSeedHook',
    'NonFiniteLossHook',
    'NumClassesCheckHook',
    'PredictionPictureHook',
    'ProgressHook',
    'UnreadableImageHook',
]
