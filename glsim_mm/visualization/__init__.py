"""Pictures of where a model looked."""

from .pictures import (
    SELECTED_COLOR,
    Prediction,
    contact_sheet,
    crop_box,
    draw_box,
    draw_prediction,
    overlay_heatmap,
    to_rgb_image,
)

__all__ = [
    'SELECTED_COLOR',
    'Prediction',
    'contact_sheet',
    'crop_box',
    'draw_box',
    'draw_prediction',
    'overlay_heatmap',
    'to_rgb_image',
]
