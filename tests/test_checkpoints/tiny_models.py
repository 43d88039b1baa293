"""timm's models, tiny, with random weights large enough that every tensor matters; and GLSimViT like them."""

import copy
from functools import lru_cache

import timm
import torch

SIDE = 32

# Arguments that make timm's models tiny: 2 layers, 32 to 48 channels, 2 heads.
_TINY = dict(embed_dim=32, depth=2, num_heads=2, img_size=SIDE)
NAMES = {
    'vit': ('vit_tiny_patch16_224', dict(_TINY, patch_size=8)),
    'deit3': ('deit3_small_patch16_224', dict(_TINY, patch_size=8)),
    'dinov2': ('vit_small_patch14_dinov2', dict(_TINY, patch_size=8)),
    'dinov2_giant': ('vit_giant_patch14_dinov2', dict(_TINY, patch_size=8, embed_dim=48)),
    'dinov2_reg': ('vit_small_patch14_reg4_dinov2', dict(_TINY, patch_size=8)),
    'dinov3': ('vit_small_patch16_dinov3', dict(_TINY, patch_size=8, embed_dim=64)),
    'dinov3_qkvb': ('vit_small_patch16_dinov3_qkvb', dict(_TINY, patch_size=8, embed_dim=64)),
    'dinov3_plus': ('vit_small_plus_patch16_dinov3', dict(_TINY, patch_size=8, embed_dim=64)),
    'clip': ('vit_base_patch16_clip_quickgelu_224', dict(_TINY, patch_size=8)),
}


def build_timm(kind: str, **options):
    """One of timm's models with random weights, in eval mode, without classifier; always the same."""
    return copy.deepcopy(_build_timm(kind, *sorted(options.items())))


@lru_cache(maxsize=32)
def _build_timm(kind: str, *options):
    name, tiny = NAMES[kind]
    torch.manual_seed(0)
    model = timm.create_model(name, dynamic_img_size=True, **{**tiny, 'num_classes': 0, **dict(options)})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def pictures(height: int = SIDE, width: int = SIDE) -> torch.Tensor:
    """Two random normalised images."""
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
