"""Classifiers that orchestrate backbone, selector and head."""

from .cal_classifier import CALClassifier
from .glsim_classifier import GLSimClassifier

__all__ = ['CALClassifier', 'GLSimClassifier']
