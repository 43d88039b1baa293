"""TransFG's contrastive loss, and the linear classifier that is trained with it."""

import torch
import torch.nn.functional as F
from mmpretrain.models.heads import VisionTransformerClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from .aggregator_head import hard_labels


def contrastive_loss(features: Tensor, labels: Tensor, margin: float = 0.4) -> Tensor:
    """Pull features of one class together and push those of other classes below a cosine similarity of ``margin``.

    Over all pairs of a batch, features (B, C) and labels (B,), with s the cosine similarity: 1 - s for a pair of one
    class, max(s - margin, 0) for others, summed and divided by B, as in the authors' ``con_loss`` (arXiv 2103.07976;
    github.com/TACJu/TransFG, models/modeling.py). The result is a float32 scalar.
    """
    # Autocast would lower the product, and 1 - s of near-equal features needs the digits.
    with torch.autocast(device_type=features.device.type, enabled=False):
        features = F.normalize(features.float(), dim=1)
        similarity = features @ features.T
    same_class = labels[:, None] == labels[None, :]
    pairs = torch.where(same_class, 1 - similarity, (similarity - margin).clamp(min=0))
    return pairs.sum() / len(features)


@MODELS.register_module()
class PartContrastiveHead(VisionTransformerClsHead):
    """mmpretrain's ViT head with TransFG's contrastive loss on the CLS token (arXiv 2103.07976).

    Pairs are formed within a process's batch; for ``margin`` see :func:`contrastive_loss`, for other arguments
    mmpretrain's :class:`VisionTransformerClsHead`.

    Example::

        head=dict(type='PartContrastiveHead', num_classes=200, in_channels=768)
    """

    def __init__(self, *args, margin: float = 0.4, contrastive_weight: float = 1.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.margin = margin
        self.contrastive_weight = contrastive_weight

    def loss(self, feats: tuple[Tensor, ...], data_samples: list[DataSample], **kwargs) -> dict[str, Tensor]:
        """Classification ``loss`` and the weighted ``loss_contrastive`` of CLS tokens (B, C), the last item."""
        labels = hard_labels(data_samples, self)
        losses = super().loss(feats, data_samples, **kwargs)
        losses['loss_contrastive'] = self.contrastive_weight * contrastive_loss(feats[-1], labels, self.margin)
        return losses
