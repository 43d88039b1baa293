"""Hooks that guard a run, registered in mmpretrain's registry on import."""

from .checkpoint_guard import CheckpointGuardHook
from .epoch_seed import EpochSeedHook
from .keep_embeddings import KeepEmbeddingsHook
from .non_finite_loss import NonFiniteLossHook
from .num_classes import NumClassesCheckHook
from .prediction_picture import PredictionPictureHook
from .progress import ProgressHook
from .selection_panel import SelectionPanelHook
from .unreadable_image import UnreadableImageHook

__all__ = [
    'CheckpointGuardHook',
    'EpochSeedHook',
    'KeepEmbeddingsHook',
    'NonFiniteLossHook',
    'NumClassesCheckHook',
    'PredictionPictureHook',
    'ProgressHook',
    'SelectionPanelHook',
    'UnreadableImageHook',
]
