"""Necks for detectors: a feature pyramid from one map, and one whose levels are weighted by similarity."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.models.utils import build_norm_layer
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

# Layers that change the size of a map, by scale.
SCALES = (4, 2, 1, 0.5, 0.25)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """ViTDet's pyramid (arXiv 2203.16527, section 3): every level is made from the last map of a plain ViT.

    A map is doubled by a deconvolution, halved by max pooling; then come a 1x1 and a 3x3 convolution, each with a norm.
    With patches of 16 pixels the default levels have strides of 4, 8, 16, 32 and 64 pixels.

    Args:
        in_channels: Channels of the backbone's maps.
        out_channels: Channels of each level.
        scales: Size of each level relative to the map, descending, of 4, 2, 1, 0.5 and 0.25.
        num_outs: Levels in all; further ones halve the last by a max pooling of stride 2. Defaults to one more than
            ``scales``.
        norm_cfg: Norm layer, by default LayerNorm over channels.
        init_cfg: Initialization config of mmengine.

    Example::

        neck=dict(type='mmpretrain.SimpleFeaturePyramid', in_channels=768, out_channels=256)  # of a detector
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int | None = None,
        norm_cfg: dict = dict(type='LN2d', eps=1e-6),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not scales or any(scale not in SCALES for scale in scales) or list(scales) != sorted(set(scales))[::-1]:
            raise ValueError(f'scales must descend and be of {SCALES}, got {tuple(scales)}')
        self.num_outs = len(scales) + 1 if num_outs is None else num_outs
        if self.num_outs < len(scales):
            raise ValueError(f'num_outs must be at least the {len(scales)} scales, got {num_outs}')
        self.levels = nn.ModuleList(_build_level(scale, in_channels, out_channels, norm_cfg) for scale in scales)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """``num_outs`` maps (B, out_channels, s * h, s * w), the largest first, from the last map (B, C, h, w)."""
        outputs = [level(inputs[-1]) for level in self.levels]
        while len(outputs) < self.num_outs:
            outputs.append(F.max_pool2d(outputs[-1], kernel_size=1, stride=2))
        return tuple(outputs)


def _build_level(scale: float, in_channels: int, out_channels: int, norm_cfg: dict) -> nn.Sequential:
    half, quarter = in_channels // 2, in_channels // 4
    resize: dict[float, tuple[list[nn.Module], int]] = {
        4: (
            [
                nn.ConvTranspose2d(in_channels, half, 2, 2),
                build_norm_layer(norm_cfg, half),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, 2, 2),
            ],
            quarter,
        ),
        2: ([nn.ConvTranspose2d(in_channels, half, 2, 2)], half),
        1: ([], in_channels),
        0.5: ([nn.MaxPool2d(2, 2, ceil_mode=True)], in_channels),
        0.25: ([nn.MaxPool2d(4, 4, ceil_mode=True)], in_channels),
    }
    layers, channels = resize[scale]
    return nn.Sequential(
        *layers,
        nn.Conv2d(channels, out_channels, 1, bias=False),
        build_norm_layer(norm_cfg, out_channels),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        build_norm_layer(norm_cfg, out_channels),
    )


@MODELS.register_module()
class SimilarityModulation(BaseModule):
    """Scales each level of a pyramid by the global-local similarity of its place.

    Level l of the inner neck becomes ``F_l * (1 + a_l * m_l)``: m_l is the similarity map, standardised per image (mean
    0, deviation 1) and resized to the level, a_l a learned factor per channel that starts at 0. So an untrained module
    changes nothing, whatever checkpoint the rest comes from. The backbone must have ``with_similarity_map=True``.

    Args:
        neck: Config of the neck that makes the pyramid of the backbone's maps, for example mmdet's FPN or
            ``SimpleFeaturePyramid``; names are looked up in the running project.
        channels: Channels of each level.
        num_levels: Levels that the inner neck makes.
        init_cfg: Initialization config of mmengine.

    Example::

        neck=dict(
            type='mmpretrain.SimilarityModulation',
            neck=dict(type='mmpretrain.SimpleFeaturePyramid', in_channels=768),
        )
    """

    def __init__(self, neck: dict, channels: int = 256, num_levels: int = 5, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.neck = MODELS.build(neck)
        self.factors = nn.ParameterList(nn.Parameter(torch.zeros(channels, 1, 1)) for _ in range(num_levels))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels of the inner neck, (B, channels, h_l, w_l), modulated by the last input, the map (B, 1, h, w)."""
        *features, similarity = inputs
        if not features or similarity.shape[1] != 1:
            raise ValueError('SimilarityModulation needs a backbone with with_similarity_map=True')
        levels = self.neck(tuple(features))
        if len(levels) != len(self.factors):
            raise ValueError(f'the inner neck makes {len(levels)} levels: set num_levels={len(levels)}')
        standard = standardise(similarity)
        return tuple(modulate(level, standard, factor) for level, factor in zip(levels, self.factors))


def standardise(similarity: Tensor) -> Tensor:
    """A map (B, 1, h, w) with mean 0 and deviation 1 per image, float32; 0 where all of it is equal."""
    similarity = similarity.float()
    centred = similarity - similarity.mean(dim=(2, 3), keepdim=True)
    return centred / centred.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp(min=1e-6)


def modulate(features: Tensor, similarity: Tensor, factor: Tensor) -> Tensor:
    """``features * (1 + factor * similarity)``, the similarity (B, 1, h', w') resized to the features (B, C, h, w)."""
    resized = F.interpolate(similarity, features.shape[-2:], mode='bilinear', align_corners=False)
    return features * (1 + factor * resized).to(features.dtype)
