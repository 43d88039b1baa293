"""Layers of the aggregator: the paper's ViT block, and those that its authors compared it with.

Source: ``aggregator_type`` and ``token_drop`` in ``glsim/model_utils/timm_glsim.py`` of github.com/arkel23/GLSim.
"""

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn

from ...errors import GLSimError

LAYER_TYPES = ('transformer', 'conv', 'depthwise_conv')


class TokenDropLayer(TransformerEncoderLayer):
    """A ViT block whose attention misses whole tokens in training, other than the first, as Dropout1d drops them.

    They are dropped behind the first LayerNorm, independently per image, and those that are kept are scaled by 1 / (1 -
    p); the residual path is untouched.
    """

    def __init__(self, *args, token_drop_rate: float, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.token_drop_rate = token_drop_rate

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, V, C) in and out."""
        normed = self.ln1(x)
        if self.training:
            normed = torch.cat([normed[:, :1], F.dropout1d(normed[:, 1:], self.token_drop_rate)], dim=1)
        x = x + self.attn(normed)
        return self.ffn(self.ln2(x), identity=x)


class ConvLayer(nn.Module):
    """Convolution over a whole sequence (B, V, C), to one token (B, 1, C), without a residual path.

    LayerNorm and a convolution with a kernel of V tokens; a depthwise-separable one has a kernel per channel, and then
    LayerNorm, GELU and a pointwise convolution. The order of the tokens matters, unlike in a ViT block.
    """

    def __init__(self, channels: int, sequence_length: int, depthwise: bool, norm_cfg: dict) -> None:
        super().__init__()
        self.norm = build_norm_layer(norm_cfg, channels)
        self.conv = nn.Conv1d(channels, channels, sequence_length, groups=channels if depthwise else 1)
        self.middle_norm = build_norm_layer(norm_cfg, channels) if depthwise else None
        self.pointwise = nn.Conv1d(channels, channels, 1) if depthwise else None

    def forward(self, x: Tensor) -> Tensor:
        """One token (B, 1, C) of a sequence (B, V, C)."""
        expected = self.conv.kernel_size[0]
        if x.shape[1] != expected:
            raise GLSimError(
                f'The aggregator is a convolution over {expected} tokens, got {x.shape[1]}: set '
                'model.head.sequence_length to the number of them.'
            )
        x = self.conv(self.norm(x).transpose(1, 2))
        if self.middle_norm is not None and self.pointwise is not None:
            x = self.middle_norm(x.transpose(1, 2)).transpose(1, 2)
            x = self.pointwise(F.gelu(x))
        return x.transpose(1, 2)


def build_layers(
    layer_type: str,
    num_layers: int,
    channels: int,
    sequence_length: int | None,
    token_drop_rate: float,
    norm_cfg: dict,
    **block_cfg,
) -> list[nn.Module]:
    """Layers of one of :data:`LAYER_TYPES`; ``block_cfg`` are arguments of mmpretrain's ViT block.

    Raises:
        ValueError: If the arguments do not fit each other.
    """
    if layer_type not in LAYER_TYPES:
        raise ValueError(f'layer_type must be one of {", ".join(LAYER_TYPES)}, got {layer_type!r}')
    if not 0 <= token_drop_rate < 1:
        raise ValueError(f'token_drop_rate must be at least 0 and below 1, got {token_drop_rate}')
    if layer_type == 'transformer':
        if sequence_length is not None:
            raise ValueError("sequence_length is for layer_type='conv' and 'depthwise_conv' only")
        kind, extra = (TokenDropLayer, dict(token_drop_rate=token_drop_rate)) if token_drop_rate else (None, {})
        block = dict(embed_dims=channels, norm_cfg=norm_cfg, **block_cfg, **extra)
        return [(kind or TransformerEncoderLayer)(**block) for _ in range(num_layers)]
    if num_layers != 1 or token_drop_rate:
        raise ValueError(f'layer_type={layer_type!r} is one layer without token_drop_rate')
    if sequence_length is None or sequence_length < 1:
        raise ValueError(
            f'layer_type={layer_type!r} needs sequence_length, the number of tokens, got {sequence_length}'
        )
    return [ConvLayer(channels, sequence_length, layer_type == 'depthwise_conv', norm_cfg)]
