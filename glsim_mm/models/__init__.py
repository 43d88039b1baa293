"""Models, registered in mmpretrain's registry on import."""

from .backbones import GLSimViT, TimmViT
from .classifiers import GLSimClassifier
from .heads import AggregatorHead
from .necks import GLSimSelector, RegionSelector, SelectedRegions
from .utils import TokenLayout, token_layout

__all__ = [
    'AggregatorHead',
    'GLSimClassifier',
    'GLSimSelector',
    'GLSimViT',
    'RegionSelector',
    'SelectedRegions',
    'TimmViT',
    'TokenLayout',
    'token_layout',
]
