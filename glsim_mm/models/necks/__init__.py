"""Region selectors."""

from .attention_selectors import ClassAttentionSelector, MAWSSelector, PSMSelector, RolloutSelector
from .glsim_selector import GLSimSelector
from .reference_selectors import CenterSelector, OracleSelector, RandomSelector
from .region_selector import RegionSelector, SelectedRegions, SelectionInputs

__all__ = [
    'CenterSelector',
    'ClassAttentionSelector',
    'GLSimSelector',
    'MAWSSelector',
    'OracleSelector',
    'PSMSelector',
    'RandomSelector',
    'RegionSelector',
    'RolloutSelector',
    'SelectedRegions',
    'SelectionInputs',
]
