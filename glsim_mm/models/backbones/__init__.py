"""Encoders that return raw tokens, CLS token first."""

from .feature_fusion_vit import FeatureFusionViT
from .glsim_vit import GLSimViT
from .part_selection_vit import PartSelectionViT
from .timm_vit import TimmViT

__all__ = ['FeatureFusionViT', 'GLSimViT', 'PartSelectionViT', 'TimmViT']
