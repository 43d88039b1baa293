"""Pure functions on tensors. They import torch only and export to ONNX."""

from .crops import crop_and_resize
from .regions import BOX_ENDS, check_box_end, patch_grid, patches_to_boxes
from .similarity import SIMILARITIES, check_similarity, global_local_similarity, selection_scores, top_patches

__all__ = [
    'BOX_ENDS',
    'SIMILARITIES',
    'check_box_end',
    'check_similarity',
    'crop_and_resize',
    'global_local_similarity',
    'patch_grid',
    'patches_to_boxes',
    'selection_scores',
    'top_patches',
]
