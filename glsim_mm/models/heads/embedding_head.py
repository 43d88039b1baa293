"""Head that is trained to make embeddings: what is alike lies close together."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...errors import GLSimError
from ..losses import MetricLearningLoss
from .aggregator_head import AggregatorHead


@MODELS.register_module()
class EmbeddingHead(AggregatorHead):
    """GLSim's aggregator, whose token 0, projected if asked for, is trained as an embedding.

    Takes the place of :class:`AggregatorHead` in a config; there is no linear classifier. With a loss that has class
    vectors (ArcFace, Proxy-Anchor) the head classifies by them, otherwise results have no ``pred_score``.

    Args:
        num_classes: Classes of the training images; losses without class vectors need none.
        in_channels: Width C of the CLS tokens. Defaults to 768, ViT-B's.
        embedding_dims: Width D of the embedding; a linear layer makes it. Defaults to None, the aggregated token
            itself, D = C.
        normalize: Scale embeddings to length 1.
        loss: Config of :class:`MetricLearningLoss`. Defaults to ArcFace.
        init_cfg: Initialization config of mmengine. Defaults to None, torch's of a linear layer.
        **kwargs: ``num_layers``, ``num_heads``, ``mlp_ratio``, ``drop_rate`` and ``norm_cfg`` of the parent.

    Raises:
        GLSimError: If the loss needs ``num_classes``, is not a loss on embeddings, or ``sequence_weights`` are given.
        ValueError: If a size is not positive or ``num_heads`` does not divide ``in_channels``.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        in_channels: int = 768,
        embedding_dims: int | None = None,
        normalize: bool = True,
        loss: dict = dict(type='MetricLearningLoss', name='ArcFaceLoss'),
        init_cfg: dict | list[dict] | None = None,
        **kwargs,
    ) -> None:
        if 'sequence_weights' in kwargs:
            raise GLSimError('EmbeddingHead is trained on both CLS tokens only: remove model.head.sequence_weights.')
        if embedding_dims is not None and embedding_dims < 1:
            raise ValueError(f'embedding_dims must be at least 1, got {embedding_dims}')
        dims = in_channels if embedding_dims is None else embedding_dims
        module = MODELS.build(dict(loss), default_args=dict(num_classes=num_classes, embedding_size=dims))
        if not isinstance(module, MetricLearningLoss):
            raise GLSimError(f'EmbeddingHead needs loss.type MetricLearningLoss, got {type(module).__name__}')
        super().__init__(
            1 if num_classes is None else num_classes, in_channels, loss=module, init_cfg=init_cfg, **kwargs
        )
        del self.fc  # unused parameters stop data-parallel training
        self.num_classes = num_classes  # type: ignore[assignment]
        self.embedding_dims = dims
        self.normalize = normalize
        self.projection = nn.Identity() if embedding_dims is None else nn.Linear(in_channels, embedding_dims)

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Embeddings.

        Args:
            feats: The last item holds the class tokens, (B, V, C).

        Returns:
            (B, D), of length 1 with ``normalize``.
        """
        embeddings = self.projection(super().pre_logits(feats))
        return F.normalize(embeddings, dim=-1) if self.normalize else embeddings

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Classify by the loss's class vectors, if it has any.

        Args:
            feats: The last item holds the class tokens, (B, V, C).

        Returns:
            Logits (B, num_classes); without class vectors the embeddings, (B, D).
        """
        embeddings = self.pre_logits(feats)
        return self.loss_module.classify(embeddings) if self.loss_module.has_classes else embeddings

    def loss(self, feats: Sequence[Tensor], data_samples: list[DataSample], **kwargs) -> dict[str, Tensor]:
        """Loss of a batch.

        Args:
            feats: The last item holds the class tokens, (B, V, C).
            data_samples: B samples with one label each.
            **kwargs: Not used.

        Returns:
            ``loss``.

        Raises:
            GLSimError: If labels are mixed.
        """
        if 'gt_score' in data_samples[0]:
            raise GLSimError(
                'EmbeddingHead needs one label per image: remove mixup and cutmix from train_cfg.augments.'
            )
        labels = torch.cat([sample.gt_label for sample in data_samples])
        return dict(loss=self.loss_module(self.pre_logits(feats), labels))

    def _get_predictions(self, cls_score: Tensor, data_samples: list[DataSample] | None) -> list[DataSample]:
        if self.loss_module.has_classes:
            return super()._get_predictions(cls_score, data_samples)
        return [DataSample() for _ in cls_score] if data_samples is None else data_samples
