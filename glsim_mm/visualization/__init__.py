"""Pictures of where a model looked, drawn from plain arrays: nothing here loads torch or mmengine.

Only :mod:`glsim_mm.visualization.from_sample`, which reads a model's results, needs them.
"""

from .html_report import (
    ClassAccuracy,
    PairPictures,
    ReportSettings,
    sort_predictions,
    write_error_report_page,
    write_report,
)
from .layout import contact_sheet, legend_strip
from .overlays import (
    ANNOTATED_COLOR,
    SCALINGS,
    SELECTED_COLOR,
    crop_box,
    draw_box,
    draw_outlined_box,
    light_bar,
    overlay_heatmap,
    patch_levels,
)
from .panel import MIN_SIDE, Box, Prediction, draw_panel, font_size, in_photo, write_picture
from .search_sheet import FoundImage, SearchRow, draw_search_sheet, write_search_pages
from .selector_grid import ComparedImage, Selection, draw_selector_grid, shares

__all__ = [
    'ANNOTATED_COLOR', 'MIN_SIDE', 'SCALINGS', 'SELECTED_COLOR', 'SearchRow', 'Box', 'ClassAccuracy',
    'ComparedImage', 'PairPictures', 'FoundImage', 'Prediction', 'ReportSettings', 'Selection',
    'contact_sheet', 'crop_box', 'draw_box', 'draw_outlined_box', 'draw_panel', 'draw_search_sheet',
    'draw_selector_grid', 'font_size', 'in_photo', 'legend_strip', 'light_bar', 'overlay_heatmap', 'patch_levels',
    'shares', 'sort_predictions', 'write_error_report_page', 'write_picture', 'write_report', 'write_search_pages',
]  # fmt: skip
