"""Classifiers that orchestrate backbone, selector and head."""

from .glsim_classifier import GLSimClassifier

__all__ = ['GLSimClassifier']
