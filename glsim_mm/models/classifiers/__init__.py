"""Classifiers that orchestrate backbone, selector and head."""

from .cal_classifier import CALClassifier
from .glsim_classifier import GLSimClassifier
from .mirror_tta import MirrorTTA
from .part_checks import check_parts

__all__ = ['CALClassifier', 'GLSimClassifier', 'MirrorTTA', 'check_parts']
