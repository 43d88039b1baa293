"""Fuses the CLS tokens of an image and its crops and classifies the result."""

from collections.abc import Sequence

from mmengine.model import ModuleList
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.heads import ClsHead
from mmpretrain.models.utils import build_norm_layer
from mmpretrain.registry import MODELS
from torch import Tensor, nn

_HEAD_DIMS = 64


@MODELS.register_module()
class AggregatorHead(ClsHead):
    """Pre-norm ViT blocks over the sequence of CLS tokens, LayerNorm, and a linear classifier on the first token.

    The sequence has no position embedding: the image's own CLS token is told from the crops' by being the one that is
    read out (arXiv 2407.12891, section 3.4).

    Args:
        num_classes (int): Number of classes, >= 1.
        in_channels (int): Width C of the CLS tokens.
        num_layers (int): Number of ViT blocks. Defaults to 1.
        num_heads (int, optional): Attention heads. Defaults to C / 64, at least 1.
        mlp_ratio (float): Width of the MLP as a multiple of C. Defaults to 4.
        drop_rate (float): Dropout in the blocks. Defaults to 0.
        norm_cfg (dict): LayerNorm config. Defaults to ``dict(type='LN', eps=1e-12)``, the authors' epsilon.
        loss (dict): Loss config. Defaults to cross-entropy with label smoothing 0.1.
        init_cfg (dict): Initialization of the linear classifier.
        **kwargs: ``topk`` and ``cal_acc`` of mmpretrain's :class:`ClsHead`.

    Raises:
        ValueError: If ``num_classes`` is not positive or ``num_heads`` does not divide ``in_channels``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_layers: int = 1,
        num_heads: int | None = None,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        norm_cfg: dict = dict(type='LN', eps=1e-12),
        loss: dict = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg: dict | list[dict] | None = dict(type='Normal', std=0.01, override=dict(name='fc')),
        **kwargs,
    ) -> None:
        super().__init__(loss=loss, init_cfg=init_cfg, **kwargs)
        num_heads = max(1, in_channels // _HEAD_DIMS) if num_heads is None else num_heads
        if num_classes < 1:
            raise ValueError(f'num_classes must be at least 1, got {num_classes}')
        if in_channels % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide in_channels={in_channels}')
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.layers = ModuleList(
            TransformerEncoderLayer(
                embed_dims=in_channels,
                num_heads=num_heads,
                feedforward_channels=int(in_channels * mlp_ratio),
                drop_rate=drop_rate,
                norm_cfg=norm_cfg,
            )
            for _ in range(num_layers)
        )
        self.norm = build_norm_layer(norm_cfg, in_channels)
        self.fc = nn.Linear(in_channels, num_classes)

    def aggregate(self, class_tokens: Tensor) -> Tensor:
        """Let the CLS tokens of an image and its crops exchange information.

        Args:
            class_tokens (Tensor): (B, V, C), the image's CLS token first, V = 1 + number of crops.

        Returns:
            Tensor: (B, V, C) after the final LayerNorm.
        """
        for layer in self.layers:
            class_tokens = layer(class_tokens)
        return self.norm(class_tokens)

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Aggregated CLS token; L2-normalised it is the retrieval embedding.

        Args:
            feats (Sequence[Tensor]): The last item holds the class tokens, (B, V, C).

        Returns:
            Tensor: (B, C).
        """
        return self.aggregate(feats[-1])[:, 0]

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Classify.

        Args:
            feats (Sequence[Tensor]): The last item holds the class tokens, (B, V, C).

        Returns:
            Tensor: Logits, (B, num_classes).
        """
        return self.fc(self.pre_logits(feats))
