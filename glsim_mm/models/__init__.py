"""Models, registered in mmpretrain's registry on import."""

from .backbones import FeatureFusionViT, GLSimViT, PartSelectionViT, TimmViT
from .classifiers import CALClassifier, GLSimClassifier, MirrorTTA
from .heads import (
    AdapterHead,
    AggregatorHead,
    CosineCrossEntropyLoss,
    CounterfactualHead,
    EmbeddingHead,
    FusedHead,
    MetricLearningLoss,
    PartContrastiveHead,
)
from .necks import (
    BilinearAttentionPooling,
    CenterSelector,
    ClassAttentionSelector,
    GLSimSelector,
    MAWSSelector,
    OracleSelector,
    PIMSelector,
    PooledAttention,
    PSMSelector,
    RandomSelector,
    RegionSelector,
    RolloutSelector,
    SACMSelector,
    SelectedRegions,
    SelectionInputs,
    SimilarityModulation,
    SimpleFeaturePyramid,
)
from .retrievers import FaissRetriever
from .utils import AttentionRecord, TokenLayout, record_attention, token_layout

__all__ = [
    'AdapterHead', 'AggregatorHead', 'AttentionRecord', 'CosineCrossEntropyLoss', 'FusedHead',
    'BilinearAttentionPooling', 'CALClassifier', 'CenterSelector',
    'ClassAttentionSelector', 'CounterfactualHead', 'FeatureFusionViT', 'EmbeddingHead', 'FaissRetriever',
    'GLSimClassifier', 'GLSimSelector', 'GLSimViT', 'MAWSSelector', 'MetricLearningLoss', 'MirrorTTA',
    'OracleSelector', 'PIMSelector', 'PSMSelector', 'PartContrastiveHead', 'PartSelectionViT', 'PooledAttention',
    'RandomSelector', 'RegionSelector', 'RolloutSelector', 'SACMSelector', 'SelectedRegions', 'SelectionInputs',
    'SimilarityModulation', 'SimpleFeaturePyramid', 'TimmViT', 'TokenLayout', 'record_attention', 'token_layout',
]  # fmt: skip
