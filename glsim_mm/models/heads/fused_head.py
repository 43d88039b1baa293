"""Heads on the sum of unit-length class tokens: without parameters of their own, or with a residual adapter."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...errors import GLSimError
from .aggregator_head import hard_labels, not_in_classifier
from .embedding_head import gather_batches

_LOSSES = ('CosineCrossEntropyLoss', 'MetricLearningLoss')


@MODELS.register_module()
class CosineCrossEntropyLoss(nn.Module):
    """Cross-entropy of scaled cosine similarities between embeddings and a learned vector per class.

    Source: NormFace, arXiv 1704.06369, section 3.3; without a margin. It has the interface of
    :class:`MetricLearningLoss`, but needs no library.

    Args:
        num_classes: Classes of the training images. A head fills it in.
        embedding_size: Length of an embedding. A head fills it in.
        scale: Factor of the similarities, above 0.
        loss_weight: Factor.

    Raises:
        GLSimError: If ``num_classes`` is missing or ``scale`` not positive.
    """

    has_classes = True

    def __init__(
        self,
        num_classes: int | None = None,
        embedding_size: int | None = None,
        scale: float = 16.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not num_classes or not embedding_size:
            raise GLSimError('CosineCrossEntropyLoss has a vector per class: set num_classes of the head')
        if scale <= 0:
            raise GLSimError(f'model.head.loss.scale must be above 0, got {scale}')
        self.weight = nn.Parameter(torch.randn(num_classes, embedding_size) * embedding_size**-0.5)
        self.scale = scale
        self.loss_weight = loss_weight

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss, float32, of a batch of embeddings (B, D) with labels, int64 (B,)."""
        return self.loss_weight * F.cross_entropy(self.classify(embeddings), labels)

    def classify(self, embeddings: Tensor) -> Tensor:
        """Scaled cosine similarity to each class, float32 (B, num_classes)."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.scale * F.normalize(embeddings.float(), dim=-1) @ F.normalize(self.weight.float(), dim=-1).T


@MODELS.register_module()
class FusedHead(ClsHead):
    """Reads the sum of the class tokens of image and crops, each scaled to length 1, as the embedding.

    In place of :class:`AggregatorHead` there is nothing to train but the encoder and the class vectors of the loss, so
    that what the encoder knows of other classes is not lost on the way. The embedding is the space that galleries call
    ``global+crop``.

    Args:
        num_classes: Classes of the training images; losses without class vectors need none.
        in_channels: Width C of the class tokens.
        loss: Config of :class:`CosineCrossEntropyLoss` or :class:`MetricLearningLoss`.
        init_cfg: Initialization config of mmengine.
        **kwargs: ``topk`` and ``cal_acc`` of mmpretrain's :class:`ClsHead`.

    Raises:
        GLSimError: If the loss needs ``num_classes``, or is none on embeddings.

    Example::

        head=dict(type='FusedHead', num_classes=100, in_channels=384)  # loss=dict(type='CosineCrossEntropyLoss')
    """

    needs_alone = False
    needs_loss = True

    def __init__(
        self,
        num_classes: int | None = None,
        in_channels: int = 768,
        loss: dict | None = dict(type='CosineCrossEntropyLoss'),
        init_cfg: dict | list[dict] | None = None,
        **kwargs,
    ) -> None:
        name = str((loss or {}).get('type')).rpartition('.')[2]
        has_loss = name in _LOSSES
        if not has_loss and (loss is not None or self.needs_loss):
            raise GLSimError(f'{type(self).__name__} needs loss.type {" or ".join(_LOSSES)}, got {name}')
        sizes = dict(num_classes=num_classes, embedding_size=in_channels)
        module = MODELS.build(dict(loss or {}), default_args=sizes) if has_loss else nn.Identity()
        super().__init__(loss=module, init_cfg=init_cfg, **kwargs)
        self.has_loss = has_loss
        self.num_classes = num_classes
        self.in_channels = self.embedding_dims = in_channels

    @property
    def classifies(self) -> bool:
        """Whether predictions have classes, for metrics that judge them."""
        return self.has_loss and self.loss_module.has_classes

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Embeddings (B, C) of length 1 of class tokens (B, V, C), the last item."""
        if feats[-1].dim() != 3:
            raise not_in_classifier(self)
        return F.normalize(F.normalize(feats[-1].float(), dim=-1).sum(dim=1), dim=-1)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Logits (B, num_classes) by the loss's class vectors; without any, the embeddings (B, C)."""
        embeddings = self.pre_logits(feats)
        return self.loss_module.classify(embeddings) if self.classifies else embeddings

    def loss(self, feats: Sequence[Tensor], data_samples: list[DataSample], **kwargs) -> dict[str, Tensor]:
        """``loss`` of class tokens (B, V, C), the last item, with one label each."""
        return dict(loss=self.loss_module(self.pre_logits(feats), hard_labels(data_samples, self)))

    def _get_predictions(self, cls_score: Tensor, data_samples: list[DataSample] | None) -> list[DataSample]:
        if self.classifies:
            return super()._get_predictions(cls_score, data_samples)
        return [DataSample() for _ in cls_score] if data_samples is None else data_samples


class ResidualAdapter(BaseModule):
    """A perceptron whose output is added to unit vectors (B, C), zero at first; of length 1 again.

    It computes what :class:`retrieval.whitening.Residual` does.
    """

    def __init__(self, channels: int, hidden: int | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(channels, hidden or channels)
        self.second = nn.Linear(hidden or channels, channels)
        nn.init.normal_(self.first.weight, std=(2 / channels) ** 0.5)
        for zero in (self.first.bias, self.second.weight, self.second.bias):
            nn.init.zeros_(zero)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Adapted embeddings (B, C)."""
        return F.normalize(embeddings + self.second(F.relu(self.first(embeddings))), dim=-1)


@MODELS.register_module()
class AdapterHead(FusedHead):
    """:class:`FusedHead` with a residual adapter behind the sum, trained by local triplets and a preserving term.

    A triplet is an image, the nearest of its class and the nearest of another class in the batch; it has no gradient
    once it keeps the margin, and the adapter begins as the identity (Euclidean Geodesic Alignment, arXiv 2605.05674).
    Batches need several images of a class: use ``ClassBalancedBatchSampler``. On stored vectors of a gallery,
    ``glsim metric fit GALLERY --kind adapter`` trains the same in seconds.

    Args:
        hidden_dims: Width of the hidden layer; None for C.
        margin: By how much the cosine similarity of the class must exceed that of another.
        preserve: Weight of the mean of 1 - cosine similarity of an embedding before and behind the adapter.
        triplet_weight: Weight of the triplets, which are those of the batches of all processes together.
        loss: A loss on the adapted embeddings besides, as of :class:`FusedHead`; None for the triplets alone.
        **kwargs: Arguments of :class:`FusedHead`.

    Example::

        head=dict(type='AdapterHead', in_channels=384)
    """

    needs_loss = False

    def __init__(
        self,
        num_classes: int | None = None,
        in_channels: int = 768,
        hidden_dims: int | None = None,
        margin: float = 0.1,
        preserve: float = 1.0,
        triplet_weight: float = 1.0,
        loss: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(num_classes, in_channels, loss, **kwargs)
        self.adapter = ResidualAdapter(in_channels, hidden_dims)
        self.margin, self.preserve, self.triplet_weight = margin, preserve, triplet_weight

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Adapted embeddings (B, C) of length 1 of class tokens (B, V, C), the last item."""
        return self.adapter(super().pre_logits(feats))

    def loss(self, feats: Sequence[Tensor], data_samples: list[DataSample], **kwargs) -> dict[str, Tensor]:
        """``loss_triplet`` and ``loss_preserve`` of class tokens (B, V, C), and ``loss`` if there is one besides."""
        before = super().pre_logits(feats)
        after = self.adapter(before)
        labels = hard_labels(data_samples, self)
        everywhere = gather_batches(after, labels) if get_world_size() > 1 else (after, labels)
        losses = dict(
            loss_triplet=self.triplet_weight * local_triplets(*everywhere, self.margin),
            loss_preserve=self.preserve * (1 - (before * after).sum(dim=-1)).mean(),
        )
        if self.has_loss:
            losses['loss'] = self.loss_module(after, labels)
        return losses


def local_triplets(embeddings: Tensor, labels: Tensor, margin: float = 0.1) -> Tensor:
    """Mean hinge of unit vectors (B, C): the nearest of another class must be farther by a margin than that of the own.

    Images that have no other of their class in the batch count 0, as do batches of one class.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        similar = embeddings.float() @ embeddings.float().T
    same = labels[:, None] == labels
    own = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    closest = similar.masked_fill(~own, -torch.inf).amax(dim=1)
    intruder = similar.masked_fill(same, -torch.inf).amax(dim=1)
    hinge = (margin + intruder - closest).clamp(min=0)
    return torch.where(own.any(dim=1) & ~same.all(dim=1), hinge, 0).mean()
