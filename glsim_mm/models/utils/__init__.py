"""Helpers shared by the models."""

from .attention_record import AttentionRecord, check_attention, record_attention
from .branch_regularisation import regularise_branches
from .mlp_buffers import reuse_mlp_buffers
from .partial_blocks import class_token_of, detach_patches, merge_tokens
from .token_layout import (
    TokenLayout,
    check_frozen_stages,
    check_image_size,
    check_out_indices,
    evenly_spaced,
    native_size,
    similarity_map,
    token_layout,
    tokens_to_map,
    unwrap_encoder,
    windowed_layer,
)
from .weight_hash import hash_weights

__all__ = [
    'AttentionRecord', 'TokenLayout', 'check_attention', 'check_frozen_stages', 'check_image_size', 'check_out_indices',
    'class_token_of', 'detach_patches', 'evenly_spaced', 'hash_weights', 'merge_tokens', 'native_size',
    'record_attention', 'regularise_branches', 'reuse_mlp_buffers', 'similarity_map', 'token_layout', 'tokens_to_map',
    'unwrap_encoder', 'windowed_layer',
]  # fmt: skip
