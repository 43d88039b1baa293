"""Pools a convolutional feature map by learned attention maps, and by random ones for comparison."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from ...ops import bilinear_attention_pooling


class PooledAttention(NamedTuple):
    """What attention pooling makes of a batch; the last item classifies, as with every neck of mmpretrain.

    Attributes:
        attention: Attention maps, (B, M, h, w), not negative.
        counterfactual: Features pooled by maps that were not learned, float32 (B, M * C), rows of norm 1.
        features: Features pooled by the attention maps, float32 (B, M * C), rows of norm 1.

    Example::

        model.neck(model.backbone(images)).attention  # of a CALClassifier
    """

    attention: Tensor
    counterfactual: Tensor
    features: Tensor


@MODELS.register_module()
class BilinearAttentionPooling(BaseModule):
    """Attention maps by a 1x1 convolution, and the features averaged under each of them.

    Source: WS-DAN (arXiv 1901.09891) with the counterfactual of CAL (arXiv 2108.08728): maps drawn
    uniformly from [0, 2) in training, maps of ones, which is average pooling, otherwise. The convolution has batch
    normalisation (eps 1e-3) and ReLU behind it, as in CAL's code.

    Args:
        in_channels: Channels C of the feature map.
        num_attentions: Attention maps M, by default as many as in the paper.
        init_cfg: Initialization config of mmengine.

    Example::

        neck=dict(type='BilinearAttentionPooling', in_channels=2048, num_attentions=32)
    """

    def __init__(self, in_channels: int, num_attentions: int = 32, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.attend = nn.Sequential(
            nn.Conv2d(in_channels, num_attentions, kernel_size=1, bias=False),
            nn.BatchNorm2d(num_attentions, eps=1e-3),
            nn.ReLU(),
        )

    def forward(self, feats: Sequence[Tensor]) -> PooledAttention:
        """Attention maps of the last feature map, (B, C, h, w), and features pooled by them and the counterfactual."""
        attention = self.attend(feats[-1])
        unlearned = torch.rand_like(attention) * 2 if self.training else torch.ones_like(attention)
        return PooledAttention(
            attention=attention,
            counterfactual=bilinear_attention_pooling(feats[-1], unlearned),
            features=bilinear_attention_pooling(feats[-1], attention),
        )
