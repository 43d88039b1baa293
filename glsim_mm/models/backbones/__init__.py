"""Encoders that return raw tokens, CLS token first."""

from .glsim_vit import GLSimViT
from .timm_vit import TimmViT

__all__ = ['GLSimViT', 'TimmViT']
