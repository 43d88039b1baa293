"""Pure functions on tensors. They import torch only and export to ONNX."""

from .attention_maps import (
    AttentionInputs,
    attention_matrix,
    attention_rollout,
    class_attention,
    head_products,
    mutual_attention,
    selective_attention,
)
from .attention_pooling import (
    attention_crop_boxes,
    bilinear_attention_pooling,
    drop_attended,
    sample_attention_maps,
)
from .box_policy import (
    ASPECTS,
    BOX_SHAPES,
    BoxPolicy,
    Regions,
    covering_boxes,
    fit_boxes,
    select_regions,
    smooth_scores,
    union_of_maps,
)
from .localisation import box_overlap, clip_boxes, energy_inside, patch_shares, pointing_hit
from .region_boxes import (
    BOX_ENDS,
    REGION_METHODS,
    centre_box,
    component_masks,
    masks_to_boxes,
    patch_grid,
    patches_to_boxes,
    region_boxes,
    window_masks,
)
from .resampling import crop_and_resize, shrink
from .similarity import SIMILARITIES, check_choice, global_local_similarity, selection_scores, top_patches
from .token_merging import merge_alike_tokens
from .windows import merge_windows, partition_windows, window_attention

__all__ = [
    'ASPECTS', 'BOX_ENDS', 'BOX_SHAPES', 'REGION_METHODS', 'SIMILARITIES', 'AttentionInputs', 'BoxPolicy', 'Regions',
    'attention_crop_boxes', 'attention_matrix', 'attention_rollout', 'bilinear_attention_pooling', 'box_overlap',
    'centre_box', 'check_choice', 'class_attention', 'clip_boxes', 'component_masks', 'covering_boxes',
    'crop_and_resize', 'drop_attended', 'energy_inside', 'fit_boxes', 'global_local_similarity', 'head_products',
    'masks_to_boxes', 'merge_alike_tokens', 'merge_windows', 'mutual_attention', 'partition_windows', 'patch_grid',
    'patch_shares', 'patches_to_boxes', 'pointing_hit', 'region_boxes', 'sample_attention_maps', 'select_regions',
    'selection_scores', 'selective_attention', 'shrink', 'smooth_scores', 'top_patches', 'union_of_maps',
    'window_attention', 'window_masks',
]  # fmt: skip
