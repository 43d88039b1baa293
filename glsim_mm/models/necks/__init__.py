"""Region selectors, the attention pooling of CAL, and necks for detectors."""

from .attention_selectors import ClassAttentionSelector, MAWSSelector, PSMSelector, RolloutSelector, SACMSelector
from .bilinear_attention_pooling import BilinearAttentionPooling, PooledAttention
from .feature_pyramids import SimilarityModulation, SimpleFeaturePyramid
from .pim_selector import PIMSelector
from .reference_selectors import CenterSelector, OracleSelector, RandomSelector
from .region_selector import GLSimSelector, RegionSelector, SelectedRegions, SelectionInputs, build_selector

__all__ = [
    'BilinearAttentionPooling', 'CenterSelector', 'ClassAttentionSelector', 'GLSimSelector', 'MAWSSelector',
    'OracleSelector', 'PIMSelector', 'PSMSelector', 'PooledAttention', 'RandomSelector', 'RegionSelector',
    'RolloutSelector', 'SACMSelector', 'SelectedRegions', 'SelectionInputs', 'SimilarityModulation',
    'SimpleFeaturePyramid', 'build_selector',
]  # fmt: skip
