"""Pure functions on tensors. They import torch only and export to ONNX."""

from .attention_maps import (
    AttentionInputs,
    attention_matrix,
    attention_rollout,
    class_attention,
    head_products,
    mutual_attention,
)
from .crops import crop_and_resize
from .regions import BOX_ENDS, check_box_end, patch_grid, patches_to_boxes
from .similarity import SIMILARITIES, check_similarity, global_local_similarity, selection_scores, top_patches

__all__ = [
    'BOX_ENDS',
    'SIMILARITIES',
    'AttentionInputs',
    'attention_matrix',
    'attention_rollout',
    'check_box_end',
    'check_similarity',
    'class_attention',
    'crop_and_resize',
    'global_local_similarity',
    'head_products',
    'mutual_attention',
    'patch_grid',
    'patches_to_boxes',
    'selection_scores',
    'top_patches',
]
