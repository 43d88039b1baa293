"""Helpers shared by the models."""

from .token_layout import TokenLayout, check_image_size, token_layout

__all__ = ['TokenLayout', 'check_image_size', 'token_layout']
