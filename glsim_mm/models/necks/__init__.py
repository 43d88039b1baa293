"""Region selectors, and the attention pooling of CAL."""

from .attention_selectors import ClassAttentionSelector, MAWSSelector, PSMSelector, RolloutSelector, SACMSelector
from .bilinear_attention_pooling import BilinearAttentionPooling, PooledAttention
from .catalog import SELECTORS, build_selector, check_selectors
from .glsim_selector import GLSimSelector
from .pim_selector import PIMSelector
from .reference_selectors import CenterSelector, OracleSelector, RandomSelector
from .region_selector import RegionSelector, SelectedRegions, SelectionInputs

__all__ = [
    'SELECTORS',
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
    'build_selector',
    'check_selectors',
]
