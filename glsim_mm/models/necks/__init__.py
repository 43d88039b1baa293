"""Region selectors, the attention pooling of CAL, and necks for detectors."""

from .attention_selectors import ClassAttentionSelector, MAWSSelector, PSMSelector, RolloutSelector, SACMSelector
from .bilinear_attention_pooling import BilinearAttentionPooling, PooledAttention
from .glsim_selector import GLSimSelector
from .pim_selector import PIMSelector
from .reference_selectors import CenterSelector, OracleSelector, RandomSelector
from .region_selector import RegionSelector, SelectedRegions, SelectionInputs, build_selector
from .similarity_modulation import SimilarityModulation
from .simple_feature_pyramid import SimpleFeaturePyramid

__all__ = [
    'BilinearAttentionPooling',
    'CenterSelector',
    'ClassAttentionSelector',
    'GLSimSelector',
    'MAWSSelector',
    'OracleSelector',
    'PIMSelector',
    'PSMSelector',
    'PooledAttention',
    'RandomSelector',
    'RegionSelector',
    'RolloutSelector',
    'SACMSelector',
    'SelectedRegions',
    'SelectionInputs',
    'SimilarityModulation',
    'SimpleFeaturePyramid',
    'build_selector',
]
