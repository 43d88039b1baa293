"""Hooks that check, guard and show a run."""

from .keep_embeddings import KeepEmbeddingsHook
from .prediction_panels import PredictionPictureHook, SelectionPanelHook
from .resuming import ResumeHook
from .run_checks import CheckpointGuardHook, NumClassesCheckHook
from .training_guards import EpochSeedHook, NonFiniteLossHook, UnreadableImageHook
from .training_progress import ProgressHook
from .whole_checkpoints import WholeCheckpointHook

__all__ = [
    'CheckpointGuardHook',
    'EpochSeedHook',
    'KeepEmbeddingsHook',
    'NonFiniteLossHook',
    'NumClassesCheckHook',
    'PredictionPictureHook',
    'ProgressHook',
    'ResumeHook',
    'SelectionPanelHook',
    'UnreadableImageHook',
    'WholeCheckpointHook',
]
