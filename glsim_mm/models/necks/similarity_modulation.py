"""Feature maps that are stronger or weaker where patches resemble the whole image."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


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
    """

    def __init__(self, neck: dict, channels: int = 256, num_levels: int = 5, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.neck = MODELS.build(neck)
        self.factors = nn.ParameterList(nn.Parameter(torch.zeros(channels, 1, 1)) for _ in range(num_levels))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Build and modulate the pyramid.

        Args:
            inputs: Maps of the backbone, the last of them its similarity map (B, 1, h, w).

        Returns:
            Levels of the inner neck, (B, channels, h_l, w_l) each.

        Raises:
            ValueError: If the last input is no similarity map, or the neck makes another number of levels.
        """
        *features, similarity = inputs
        if not features or similarity.shape[1] != 1:
            raise ValueError('SimilarityModulation needs a backbone with with_similarity_map=True')
        levels = self.neck(tuple(features))
        if len(levels) != len(self.factors):
            raise ValueError(f'the inner neck makes {len(levels)} levels: set num_levels={len(levels)}')
        standard = standardise(similarity)
        return tuple(modulate(level, standard, factor) for level, factor in zip(levels, self.factors))


def standardise(similarity: Tensor) -> Tensor:
    """A map with mean 0 and deviation 1 per image; 0 where all of it is equal.

    Args:
        similarity: Shape (B, 1, h, w).

    Returns:
        float32, shape (B, 1, h, w).
    """
    similarity = similarity.float()
    centred = similarity - similarity.mean(dim=(2, 3), keepdim=True)
    return centred / centred.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp(min=1e-6)


def modulate(features: Tensor, similarity: Tensor, factor: Tensor) -> Tensor:
    """``features * (1 + factor * similarity)``.

    Args:
        features: Shape (B, C, h, w).
        similarity: Shape (B, 1, h', w'), resized bilinearly.
        factor: Shape (C, 1, 1).

    Returns:
        Shape (B, C, h, w), dtype of ``features``.
    """
    resized = F.interpolate(similarity, features.shape[-2:], mode='bilinear', align_corners=False)
    return features * (1 + factor * resized).to(features.dtype)
