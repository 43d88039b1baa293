"""Classifier that is also trained on what its attention contributes."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ..necks import PooledAttention
from .aggregator_head import hard_labels


@MODELS.register_module()
class CounterfactualHead(ClsHead):
    """Linear classifier with the losses of CAL (arXiv 2108.08728, and the authors' train_distributed.py).

    With y the logits of the attended features and y' those of the counterfactual, the loss of raw images and two
    augmented versions of them is ``CE(y_raw) / 3 + CE(y_augmented) * 2/3 + effect_weight * CE(y - y') +
    center_weight * ||f - c||^2``: the effect of attention, of all three versions, must itself tell the class, and
    features f of raw images stay near the centre c of their class, a moving average of normalised features.

    Images of one class in a batch move its centre by the mean of their steps, and the images of all processes move it;
    the authors' code keeps one of the steps, and a separate centre in each process.

    Args:
        num_classes: At least 1.
        in_channels: Length M * C of the pooled features.
        feature_scale: Multiplies features before the classifier; they have norm 1.
        center_momentum: Share of the difference by which a class's centre follows, in (0, 1].
        effect_weight: Weight of the effect's loss.
        center_weight: Weight of the centre loss.
        loss: Classification loss, by default cross-entropy.
        init_cfg: Initialization config of mmengine; None for torch's of a linear layer, as in the authors' code.

    Example::

        head=dict(type='CounterfactualHead', num_classes=200, in_channels=32 * 2048)
    """

    centers: Tensor

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feature_scale: float = 100.0,
        center_momentum: float = 0.05,
        effect_weight: float = 1.0,
        center_weight: float = 1.0,
        loss: dict = dict(type='CrossEntropyLoss', loss_weight=1.0),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(loss=loss, init_cfg=init_cfg)
        if num_classes < 1:
            raise ValueError(f'num_classes must be at least 1, got {num_classes}')
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.feature_scale = feature_scale
        self.center_momentum = center_momentum
        self.effect_weight = effect_weight
        self.center_weight = center_weight
        self.fc = nn.Linear(in_channels, num_classes, bias=False)
        self.register_buffer('centers', torch.zeros(num_classes, in_channels))

    def pre_logits(self, feats: PooledAttention) -> Tensor:
        """Attended features, (B, M * C), rows of norm 1."""
        return feats.features

    def forward(self, feats: PooledAttention) -> Tensor:
        """Logits of the attended features, (B, num_classes)."""
        return self.fc(feats.features * self.feature_scale)

    def effect(self, feats: PooledAttention) -> Tensor:
        """What attention adds to the logits: (B, num_classes), factual minus counterfactual."""
        return self(feats) - self.fc(feats.counterfactual * self.feature_scale)

    def loss(  # type: ignore[override]
        self, feats: PooledAttention, augmented: PooledAttention, data_samples: list[DataSample]
    ) -> dict[str, Tensor]:
        """Losses of a batch and its augmented versions; moves the centres when training.

        ``feats`` are the pooled features of the B raw images, ``augmented`` those of n * B augmented ones, all of one
        augmentation before the next. Gives ``loss_raw``, ``loss_augmented``, ``loss_effect`` and ``loss_center``.
        """
        labels = hard_labels(data_samples, self)
        augmented_labels = labels.repeat(len(augmented.features) // len(labels))
        effects = torch.cat([self.effect(feats), self.effect(augmented)])
        distances = feats.features - F.normalize(self.centers[labels], dim=1)
        losses = dict(
            loss_raw=self._classification_loss(self(feats), labels) / 3,
            loss_augmented=self._classification_loss(self(augmented), augmented_labels) * 2 / 3,
            loss_effect=self._classification_loss(effects, torch.cat([labels, augmented_labels])) * self.effect_weight,
            loss_center=distances.square().sum() / len(labels) * self.center_weight,
        )
        if self.training:
            self._move_centers(feats.features.detach(), labels)
        return losses

    def predict_from_logits(self, logits: Tensor, data_samples: list[DataSample] | None = None) -> list[DataSample]:
        """Fill data samples, or new ones, with ``pred_score`` (num_classes,) and ``pred_label`` (1,)."""
        return self._get_predictions(logits, data_samples)

    def _classification_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.loss_module(logits, labels, avg_factor=len(logits))

    @torch.no_grad()
    def _move_centers(self, features: Tensor, labels: Tensor) -> None:
        features, labels = torch.cat(all_gather(features)), torch.cat(all_gather(labels))
        steps = features - F.normalize(self.centers[labels], dim=1)
        same_class = (labels[:, None] == labels[None, :]).sum(dim=1, keepdim=True)
        self.centers.index_add_(0, labels, self.center_momentum * steps / same_class)
