"""Pictures of where a model looked."""

from .boxes import ANNOTATED_COLOR, SELECTED_COLOR, crop_box, draw_box, draw_outlined_box
from .error_report import ClassAccuracy, PairPictures, render_error_report
from .heatmap import COLORMAPS, SCALINGS, color_bar, overlay_heatmap, patch_levels
from .layout import contact_sheet, legend_strip
from .panel import MIN_SIDE, draw_panel, font_size
from .prediction import Box, Prediction, to_rgb_image
from .report import ReportSettings, render_report, sort_predictions
from .search_sheet import FoundImage, SearchRow, draw_search_sheet, render_search_page
from .selector_grid import ComparedImage, Selection, draw_selector_grid, shares

__all__ = [
    'ANNOTATED_COLOR',
    'COLORMAPS',
    'MIN_SIDE',
    'SCALINGS',
    'SELECTED_COLOR',
    'SearchRow',
    'Box',
    'ClassAccuracy',
    'ComparedImage',
    'PairPictures',
    'FoundImage',
    'Prediction',
    'ReportSettings',
    'Selection',
    'color_bar',
    'contact_sheet',
    'crop_box',
    'draw_box',
    'draw_outlined_box',
    'draw_panel',
    'draw_search_sheet',
    'draw_selector_grid',
    'font_size',
    'legend_strip',
    'overlay_heatmap',
    'patch_levels',
    'render_error_report',
    'render_report',
    'render_search_page',
    'shares',
    'sort_predictions',
    'to_rgb_image',
]
