"""Weights of a tiny pretrained ViT."""

import timm
import torch
from safetensors.torch import save_file

TINY = dict(embed_dim=32, depth=2, num_heads=1, patch_size=8, img_size=32, num_classes=0)


def write_vit(path, seed=0):
    """Weights of a tiny model of timm under timm's names, none of them at its starting value."""
    torch.manual_seed(seed)
    model = timm.create_model('vit_small_patch14_dinov2', **TINY)
    save_file({key: value + torch.randn_like(value) * 0.1 for key, value in model.state_dict().items()}, path)
    return path
