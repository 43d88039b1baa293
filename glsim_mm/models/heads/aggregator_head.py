"""Fuses the CLS tokens of an image and its crops and classifies the result."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.model import ModuleList
from mmpretrain.models.heads import ClsHead
from mmpretrain.models.utils import build_norm_layer
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...errors import GLSimError
from ..utils import class_token_of, regularise_branches
from .aggregator_layers import build_layers

POOLINGS = ('first', 'avg', 'max')
SEQUENCES = ('both', 'image', 'crop')
_HEAD_DIMS = 64


@MODELS.register_module()
class AggregatorHead(ClsHead):
    """Pre-norm ViT blocks over the sequence of CLS tokens, LayerNorm, and a linear classifier on the first token.

    The sequence has no position embedding: the image's own CLS token is told from the crops' by being the one that is
    read out (arXiv 2407.12891, section 3.4). The paper's head needs the first two arguments alone;
    docs/studies/ablations.md tells what the others were compared for.

    Args:
        num_classes: At least 1.
        in_channels: Width C of the encoder's tokens.
        num_layers: Number of ViT blocks.
        num_heads: Attention heads. Defaults to C / 64, at least 1.
        mlp_ratio: Width of the MLP as a multiple of C.
        drop_rate: Dropout of the outputs of both branches of every block and inside the MLP, as in mmpretrain's ViT.
        drop_path_rate: Stochastic depth: how often a branch of a block is dropped, in [0, 1). The authors give the
            aggregator the rate of their encoder.
        branch_drop_rate: Dropout, in [0, 1), of the outputs of both branches of every block and nowhere else, as the
            authors have it.
        norm_cfg: LayerNorm config, by default with the authors' epsilon.
        final_norm: LayerNorm behind the blocks: that of ``norm_cfg``, none, or the config of another one.
        layer_cfgs: Other arguments of mmpretrain's ViT block, for example ``layer_scale_init_value``.
        all_tokens: Aggregate all tokens of the image and of its crops, not only their CLS tokens.
        pooling: How the tokens become one: ``'first'`` is classified; or the logits of all tokens are averaged
            (``'avg'``), or the largest of them taken (``'max'``).
        representation_size: Width of blocks, norm and classifier, to which a linear layer leads from ``in_channels``.
            Defaults to ``in_channels``.
        layer_type: ``'transformer'`` for ViT blocks; ``'conv'`` or ``'depthwise_conv'`` for a convolution over the
            sequence, which takes the place of all blocks.
        sequence_length: Tokens in the sequence, for a convolution: with ``out_type='tokens'`` of the selector 1 +
            ``top_o``, with a crop 2.
        token_drop_rate: How often the attention of a block misses a token in training, in [0, 1); never the first.
        loss: Loss config, by default cross-entropy with label smoothing 0.1.
        sequence_weights: Weights of the losses on three sequences: ``'both'``, the CLS tokens of image and crops, the
            paper's; ``'image'``, the image's alone, which teaches the head to do without a crop (``test_cfg.crop`` of
            :class:`GLSimClassifier`); ``'crop'``, each crop's alone, which makes crops training images of their own, as
            augmentation (arXiv 2605.18700). Those left out weigh 0. Defaults to ``dict(both=1)``.
        init_cfg: Initialization of the linear classifier.
        **kwargs: ``topk`` and ``cal_acc`` of mmpretrain's :class:`ClsHead`.

    Raises:
        ValueError: If ``num_classes`` is not positive, ``num_heads`` does not divide the width, a rate is out of range,
            there are two kinds of dropout, or arguments do not fit each other.
        GLSimError: If ``sequence_weights`` names another sequence, is negative, or has no positive weight.

    Example::

        head=dict(type='AggregatorHead', num_classes=200, in_channels=768)

    Attributes:
        trains_embedding: Whether what it aggregates is trained for search. A classifier's learns the training classes,
            and finds others worse than the encoder's CLS token does (docs/studies/search.md).
    """

    trains_embedding = False

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        num_layers: int = 1,
        num_heads: int | None = None,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        branch_drop_rate: float = 0.0,
        norm_cfg: dict = dict(type='LN', eps=1e-12),
        final_norm: bool | dict = True,
        layer_cfgs: dict = dict(),
        all_tokens: bool = False,
        pooling: str = 'first',
        representation_size: int | None = None,
        layer_type: str = 'transformer',
        sequence_length: int | None = None,
        token_drop_rate: float = 0.0,
        loss: dict = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        sequence_weights: dict[str, float] | None = None,
        init_cfg: dict | list[dict] | None = dict(type='Normal', std=0.01, override=dict(name='fc')),
        **kwargs,
    ) -> None:
        super().__init__(loss=loss, init_cfg=init_cfg, **kwargs)
        width = representation_size or in_channels
        num_heads = max(1, width // _HEAD_DIMS) if num_heads is None else num_heads
        if num_classes < 1:
            raise ValueError(f'num_classes must be at least 1, got {num_classes}')
        if width % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide in_channels={width}')
        if pooling not in POOLINGS:
            raise ValueError(f'pooling must be one of {", ".join(POOLINGS)}, got {pooling!r}')
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.all_tokens = all_tokens
        self.pooling = pooling
        self.sequence_length = sequence_length
        self.sequence_weights = _check_weights(sequence_weights or dict(both=1.0))
        if all_tokens and (sequence_length is not None or self.needs_alone):
            raise ValueError('all_tokens goes neither with sequence_length nor with sequence_weights')
        self.reducer = nn.Identity() if width == in_channels else nn.Linear(in_channels, width)
        layers = build_layers(
            layer_type,
            num_layers,
            width,
            sequence_length,
            token_drop_rate,
            norm_cfg,
            num_heads=num_heads,
            feedforward_channels=int(width * mlp_ratio),
            drop_rate=drop_rate,
            **layer_cfgs,
        )
        self.layers = ModuleList(layers)
        regularise_branches(self.layers, drop_path_rate, branch_drop_rate)
        last_norm = final_norm if isinstance(final_norm, Mapping) else norm_cfg
        self.norm = build_norm_layer(last_norm, width) if final_norm else nn.Identity()
        self.fc = nn.Linear(width, num_classes)

    @property
    def needs_alone(self) -> bool:
        """Whether the CLS token of an image or a crop alone is a sequence of its own in training."""
        return any(weight > 0 for name, weight in self.sequence_weights.items() if name != 'both')

    def aggregate(self, tokens: Tensor) -> Tensor:
        """Let the tokens of a sequence, (B, V, C), exchange information: (B, V, D), of a convolution (B, 1, D)."""
        tokens = self.reducer(tokens)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens)

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Aggregated CLS token (B, D) of a sequence (B, V, C), the last item; of length 1 it is the embedding.

        D is C, or ``representation_size``. With ``pooling='avg'`` it is the mean of the tokens. With ``'max'`` it is
        the first token, because no one vector has the logits.
        """
        if self.pooling == 'avg':
            return self.aggregate(feats[-1]).mean(dim=1)
        tokens = self.reducer(feats[-1])
        if not self.layers:
            return self.norm(tokens[:, 0])
        for layer in self.layers[:-1]:
            tokens = layer(tokens)
        # Nothing reads the last layer's other tokens.
        return self.norm(class_token_of(self.layers[-1], tokens))[:, 0]

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Logits (B, num_classes) of a sequence (B, V, C), the last item; anything else is a :class:`GLSimError`."""
        if feats[-1].dim() != 3:
            raise not_in_classifier(self)
        if self.pooling == 'max':
            return self.fc(self.aggregate(feats[-1])).amax(dim=1)
        return self.fc(self.pre_logits(feats))

    def loss(self, feats: Sequence[Tensor], data_samples: list[DataSample], **kwargs) -> dict[str, Tensor]:
        """Losses of a sequence (B, V, C), the last item, with labels or with scores (K,) of mixed ones.

        ``loss`` is that on the whole sequence, ``loss_image`` and ``loss_crop`` are those on the others, each weighted;
        with ``cal_acc`` there are the accuracies of the first of them.
        """
        losses: dict[str, Tensor] = {}
        for name, tokens in split_sequences(feats[-1], self.sequence_weights).items():
            repeated = [sample for sample in data_samples for _ in range(len(tokens) // len(data_samples))]
            found = super().loss((tokens,), repeated, **kwargs)
            key = 'loss' if name == 'both' else f'loss_{name}'
            losses[key] = self.sequence_weights[name] * found.pop('loss')
            losses = {**found, **losses}
        return losses


def not_in_classifier(head: nn.Module) -> GLSimError:
    """What is wrong with such a head in mmpretrain's ``ImageClassifier``."""
    return GLSimError(
        f'{type(head).__name__} fuses the CLS tokens of an image and its crop, and ImageClassifier makes no crop: set '
        "model.type='GLSimClassifier' with model.backbone.out_type='raw', or model.head.type='LinearClsHead' with "
        "model.backbone.out_type='cls_token' for a plain ViT."
    )


def split_sequences(class_tokens: Tensor, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Sequences of positive weight, made of the CLS tokens (B, V, C) of images and their R = V - 1 crops.

    They are ``'both'`` (B, V, C), ``'image'`` (B, 1, C), ``'crop'`` (B * R, 1, C), an image's crops one after another.
    """
    sequences = dict(both=class_tokens, image=class_tokens[:, :1], crop=class_tokens[:, 1:].flatten(0, 1)[:, None])
    return {name: sequences[name] for name in SEQUENCES if weights.get(name, 0) > 0}


def _check_weights(weights: Mapping[str, float]) -> dict[str, float]:
    unknown = set(weights) - set(SEQUENCES)
    if unknown or min(weights.values()) < 0 or max(weights.values()) <= 0:
        raise GLSimError(
            f'model.head.sequence_weights must give {", ".join(SEQUENCES)}, or some of them, weights of 0 or more, one '
            f'of them positive; got {dict(weights)}'
        )
    return dict(weights)


def hard_labels(data_samples: list[DataSample], head: nn.Module) -> Tensor:
    """One label per image, int64 (B,)."""
    if 'gt_score' in data_samples[0]:
        raise GLSimError(
            f'{type(head).__name__} needs one label per image: remove mixup and cutmix from train_cfg.augments.'
        )
    return torch.cat([sample.gt_label for sample in data_samples])
