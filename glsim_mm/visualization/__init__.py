"""Pictures of where a model looked."""

from .pictures import Prediction, contact_sheet, crop_box, draw_box, draw_prediction, overlay_heatmap

__all__ = [
    'Prediction',
    'contact_sheet',
    'crop_box',
    'draw_box',
    'draw_prediction',
    'overlay_heatmap',
]
