"""Helpers shared by the models."""

from .attention_record import AttentionRecord, check_attention, record_attention
from .token_layout import TokenLayout, check_image_size, token_layout

__all__ = [
    'AttentionRecord',
    'TokenLayout',
    'check_attention',
    'check_image_size',
    'record_attention',
    'token_layout',
]
