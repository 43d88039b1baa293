"""Region selectors."""

from .glsim_selector import GLSimSelector
from .region_selector import RegionSelector, SelectedRegions

__all__ = ['GLSimSelector', 'RegionSelector', 'SelectedRegions']
