"""Models, registered in mmpretrain's registry on import."""

from .backbones import GLSimViT, TimmViT
from .classifiers import GLSimClassifier
from .heads import AggregatorHead
from .necks import (
    CenterSelector,
    ClassAttentionSelector,
    GLSimSelector,
    MAWSSelector,
    OracleSelector,
    PSMSelector,
    RandomSelector,
    RegionSelector,
    RolloutSelector,
    SelectedRegions,
    SelectionInputs,
)
from .utils import AttentionRecord, TokenLayout, record_attention, token_layout

__all__ = [
    'AggregatorHead',
    'AttentionRecord',
    'CenterSelector',
    'ClassAttentionSelector',
    'GLSimClassifier',
    'GLSimSelector',
    'GLSimViT',
    'MAWSSelector',
    'OracleSelector',
    'PSMSelector',
    'RandomSelector',
    'RegionSelector',
    'RolloutSelector',
    'SelectedRegions',
    'SelectionInputs',
    'TimmViT',
    'TokenLayout',
    'record_attention',
    'token_layout',
]
