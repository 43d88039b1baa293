"""Losses as pure functions."""

from .contrastive import contrastive_loss

__all__ = ['contrastive_loss']
