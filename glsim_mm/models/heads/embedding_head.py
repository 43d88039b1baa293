"""Losses of metric learning, and the head that they train to make embeddings: similar images lie close together."""

import inspect
from collections.abc import Sequence
from types import ModuleType

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_rank, get_world_size
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from ...errors import GLSimError
from .aggregator_head import AggregatorHead, hard_labels

_CLASS_OPTIONS = ('num_classes', 'embedding_size')


@MODELS.register_module()
class MetricLearningLoss(nn.Module):
    """A loss of pytorch-metric-learning on embeddings and labels, in mixed precision and over all processes.

    Losses with a vector per class (``ArcFaceLoss``, ``SubCenterArcFaceLoss``, ``ProxyAnchorLoss``) keep it as a
    parameter: an optimizer that gets the model's parameters trains it, checkpoints hold it. The library casts these
    parameters to the type of the embeddings, so the loss is computed in float32 whatever autocast says.

    In a distributed run the loss is that of the batches of all processes together, as if one process had them all; see
    :func:`gather_batches`. Class vectors get the gradient of the whole batch. (The library's ``DistributedLossWrapper``
    multiplies the loss, and so the gradient of class vectors too.) Each process needs equally many images per batch.

    Args:
        name: Class in ``pytorch_metric_learning.losses``, for example ``'ArcFaceLoss'``, ``'SupConLoss'`` or
            ``'MultiSimilarityLoss'``.
        num_classes: Classes of the training images, for losses with a vector per class. A head fills it in.
        embedding_size: Length of an embedding, for the same losses.
        miner: ``name`` of a class in ``pytorch_metric_learning.miners`` and its arguments; it picks the pairs or
            triplets that count. None for all.
        gather: Compute the loss over the batches of all processes.
        loss_weight: Factor.
        **options: Other arguments of the loss, for example ``margin``.

    Raises:
        GLSimError: If there is no such loss or miner, an argument does not fit it, or it needs ``num_classes``.
        ImportError: If pytorch-metric-learning is not installed.

    Example::

        loss=dict(type='MetricLearningLoss', name='MultiSimilarityLoss', miner=dict(name='MultiSimilarityMiner'))
    """

    def __init__(
        self,
        name: str,
        num_classes: int | None = None,
        embedding_size: int | None = None,
        miner: dict | None = None,
        gather: bool = True,
        loss_weight: float = 1.0,
        **options,
    ) -> None:
        super().__init__()
        library = _import_library()
        kind = _find_class(library.losses, name)
        if set(_CLASS_OPTIONS) <= _arguments(kind):
            if num_classes is None or embedding_size is None:
                raise GLSimError(f'{name} has a vector per class: set num_classes of the head')
            options.update(num_classes=num_classes, embedding_size=embedding_size)
        self.loss = _build(kind, options)
        miner = dict(miner or {})
        self.miner = _build(_find_class(library.miners, miner.pop('name', '')), miner) if miner else None
        self.gather = gather
        self.loss_weight = loss_weight

    @property
    def has_classes(self) -> bool:
        """Whether the loss has class vectors to classify by."""
        return hasattr(self.loss, 'get_logits')

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Loss, float32, of a batch of embeddings (B, D) with labels, int64 (B,)."""
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.float()
            if self.gather and get_world_size() > 1:
                embeddings, labels = gather_batches(embeddings, labels)
            chosen = self.miner(embeddings, labels) if self.miner is not None else None
            return self.loss(embeddings, labels, chosen) * self.loss_weight

    def classify(self, embeddings: Tensor) -> Tensor:
        """How well embeddings (B, D) fit each class, float32 (B, num_classes); only where :attr:`has_classes`."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.loss.get_logits(embeddings.float())


def gather_batches(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The batches of all W processes, in the order of their ranks: (W * B, D) and labels (W * B,).

    Gradients flow to the process's own embeddings alone, multiplied by W: averaged over processes, as data-parallel
    training does, they are those of the whole batch.
    """
    world_size = get_world_size()
    parts = all_gather(embeddings.detach().contiguous())
    own = embeddings.clone()
    if own.requires_grad:
        own.register_hook(lambda gradient: gradient * world_size)
    parts[get_rank()] = own
    return torch.cat(parts), torch.cat(all_gather(labels))


def _import_library() -> ModuleType:
    try:
        import pytorch_metric_learning.losses
        import pytorch_metric_learning.miners
    except ModuleNotFoundError:
        raise ImportError('MetricLearningLoss needs a library: pip install pytorch-metric-learning') from None
    return pytorch_metric_learning


def _find_class(module: ModuleType, name: str) -> type:
    kind = getattr(module, name, None)
    if not inspect.isclass(kind):
        raise GLSimError(f'{module.__name__} has no {name!r}; take a name from its documentation')
    return kind


def _arguments(kind: type) -> set[str]:
    """Names of the arguments of a class and its bases, which get them as ``**kwargs``."""
    return {name for base in kind.__mro__[:-1] for name in inspect.signature(base).parameters}


def _build(kind: type, options: dict) -> nn.Module:
    try:
        return kind(**options)
    except (TypeError, KeyError) as error:
        raise GLSimError(f'{kind.__name__} does not take {sorted(options)} ({error}); correct the config') from error


@MODELS.register_module()
class EmbeddingHead(AggregatorHead):
    """GLSim's aggregator, whose token 0, projected if asked for, is trained as an embedding.

    Takes the place of :class:`AggregatorHead` in a config; there is no linear classifier. With a loss that has class
    vectors (ArcFace, Proxy-Anchor) the head classifies by them, otherwise results have no ``pred_score``.

    Args:
        num_classes: Classes of the training images; losses without class vectors need none.
        in_channels: Width C of the CLS tokens.
        embedding_dims: Width D of the embedding; a linear layer makes it. None for the aggregated token itself, D = C.
        normalize: Scale embeddings to length 1.
        loss: Config of :class:`MetricLearningLoss`.
        init_cfg: Initialization config of mmengine; None for torch's of a linear layer.
        **kwargs: The parent's other arguments, without ``sequence_weights``.

    Raises:
        GLSimError: If the loss needs ``num_classes``, is not a loss on embeddings, ``sequence_weights`` are given, or
            ``pooling`` is ``'max'``.
        ValueError: If a size is not positive or ``num_heads`` does not divide ``in_channels``.

    Example::

        head=dict(type='EmbeddingHead', num_classes=100, in_channels=384, embedding_dims=128)
    """

    trains_embedding = True

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
        if kwargs.get('pooling') == 'max':
            raise GLSimError("no one vector has the logits of model.head.pooling='max': take 'first' or 'avg'.")
        width = kwargs.get('representation_size') or in_channels
        dims = embedding_dims or width
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
        self.projection = nn.Identity() if embedding_dims is None else nn.Linear(width, embedding_dims)

    @property
    def classifies(self) -> bool:
        """Whether predictions have classes, for metrics that judge them."""
        return self.loss_module.has_classes

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Embeddings (B, D), with ``normalize`` of length 1, of class tokens (B, V, C), the last item."""
        embeddings = self.projection(super().pre_logits(feats))
        return F.normalize(embeddings, dim=-1) if self.normalize else embeddings

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Logits (B, num_classes) by the loss's class vectors; without any, the embeddings (B, D)."""
        embeddings = self.pre_logits(feats)
        return self.loss_module.classify(embeddings) if self.loss_module.has_classes else embeddings

    def loss(self, feats: Sequence[Tensor], data_samples: list[DataSample], **kwargs) -> dict[str, Tensor]:
        """``loss`` of class tokens (B, V, C), the last item, with one label each."""
        return dict(loss=self.loss_module(self.pre_logits(feats), hard_labels(data_samples, self)))

    def _get_predictions(self, cls_score: Tensor, data_samples: list[DataSample] | None) -> list[DataSample]:
        if self.loss_module.has_classes:
            return super()._get_predictions(cls_score, data_samples)
        return [DataSample() for _ in cls_score] if data_samples is None else data_samples
