"""Encoders that return raw tokens, CLS token first."""

from .glsim_vit import GLSimViT
from .timm_vit import TimmViT
from .token_selection_vit import FeatureFusionViT, PartSelectionViT

__all__ = ['FeatureFusionViT', 'GLSimViT', 'PartSelectionViT', 'TimmViT']
