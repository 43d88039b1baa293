"""What a model gives to be searched by: one embedding per space, where it looked, and which model it is."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint

from ..apis.photo_pipeline import Step
from ..models.classifiers import GLSimClassifier
from ..models.utils import hash_weights
from .base_encoder import AGGREGATED, CONCAT, CROP, GLOBAL, Features

# What changes training, or where weights came from, and no embedding.
_WITHOUT_EFFECT = frozenset(
    'cal_acc checkpoint_path frozen_stages init_cfg loss pretrained prototype sequence_weights test_cfg topk train_cfg '
    'with_cp'.split()
)


class Embedder(ABC):
    """Reads embeddings off one kind of model; :func:`find_embedder` knows which.

    ``find_embedder(model)(inputs, ['global'], patches=False).embeddings['global']`` is (B, C).

    Attributes:
        module: The part of the model that makes them.
        spaces: What it can give, the default first.
        defaults: What a gallery holds unless told otherwise.
        has_regions: Whether :class:`Features` comes with boxes, maps and patches.
    """

    spaces: tuple[str, ...]
    defaults: tuple[str, ...]
    has_regions: bool

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @abstractmethod
    def __call__(self, inputs: Tensor, spaces: Sequence[str], patches: bool, classify: bool = False) -> Features:
        """Embed a batch; threads may share the model.

        Args:
            inputs: Normalised images, (B, 3, H, W).
            spaces: What is wanted, of :attr:`spaces`.
            patches: Give the tokens of the selected patches too.
            classify: Give the probabilities of the model's classes too.

        Raises:
            RetrievalError: If the model has no such patches or classes.
        """

    def _classify(self, features: Any) -> Tensor:
        head = getattr(self.module, 'head', None)
        logits = head(features) if head is not None else None
        if logits is None or logits.shape[-1] != getattr(head, 'num_classes', None):
            raise RetrievalError(
                f'{type(self.module).__name__} classifies nothing: use a classifier, or search a gallery'
            )
        return logits.float().softmax(dim=-1)


class GLSimEmbedder(Embedder):
    """Embeddings of a :class:`GLSimClassifier` (arXiv 2407.12891).

    - ``'aggregated'``: what the head classifies, the aggregated CLS token
    - ``'global'``: CLS token of the image; the crop is not encoded if nothing else is wanted
    - ``'crop'``: CLS token of the crop; of several crops, their mean
    - ``'concat'``: CLS tokens of image and crops, each of length 1, one after another, so that its cosine similarity
      is the mean of theirs
    """

    spaces = (AGGREGATED, GLOBAL, CROP, CONCAT)
    defaults = (AGGREGATED, GLOBAL, CROP)
    has_regions = True

    def __call__(self, inputs: Tensor, spaces: Sequence[str], patches: bool, classify: bool = False) -> Features:
        """See the base class."""
        if getattr(self.module.neck, 'needs_boxes', False):
            raise RetrievalError(
                f'{type(self.module.neck).__name__} needs annotated boxes, which a photo to search by does not have: '
                'use the config of another selector'
            )
        needs_crop = classify or any(space != GLOBAL for space in spaces)
        class_tokens, regions, tokens = self.module.encode(inputs, crop=needs_crop)
        embeddings = {space: self._embed(space, class_tokens) for space in spaces}
        return Features(
            embeddings,
            regions.boxes if regions.boxes.dim() == 2 else regions.boxes[:, 0],
            regions.scores.unflatten(1, regions.grid),
            self._patches(tokens, regions.indices) if patches else None,
            self._classify((class_tokens,)) if classify else None,
        )

    def _embed(self, space: str, class_tokens: Tensor) -> Tensor:
        if space == AGGREGATED:
            return _last(self.module.head.pre_logits((class_tokens,)))
        if space == CONCAT:
            return F.normalize(class_tokens.float(), dim=-1).flatten(1)
        return class_tokens[:, 0] if space == GLOBAL else class_tokens[:, 1:].mean(dim=1)

    def _patches(self, tokens: Tensor, indices: Tensor) -> Tensor:
        places = indices + self.module.layout.num_extra_tokens
        return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


class PlainEmbedder(Embedder):
    """The one embedding of any other model: CLS token of a ViT, pooled features of a convolutional network."""

    spaces = defaults = (GLOBAL,)
    has_regions = False

    def __init__(self, module: nn.Module, extract: Callable[[Tensor], Any]) -> None:
        super().__init__(module)
        self._extract = extract

    def __call__(self, inputs: Tensor, spaces: Sequence[str], patches: bool, classify: bool = False) -> Features:
        """See the base class."""
        try:
            features = self._extract(inputs)
        except NotImplementedError as error:
            raise RetrievalError(
                f'{type(self.module).__name__} gives no features to search by ({error}); use an ImageClassifier'
            ) from error
        scores = self._classify(features) if classify else None
        return Features({GLOBAL: _pool(_last(features), self.module)}, class_scores=scores)


def find_embedder(model: nn.Module) -> Embedder:
    """How embeddings are read off a classifier, retriever or self-supervised model of mmpretrain.

    Raises:
        RetrievalError: If the model gives no features.
    """
    encoder = getattr(model, 'image_encoder', None)  # of a retriever
    if isinstance(encoder, GLSimClassifier):
        return GLSimEmbedder(encoder)
    if isinstance(model, GLSimClassifier):
        return GLSimEmbedder(model)
    inner = getattr(model, 'model', None)
    if hasattr(inner, 'forward_features') and hasattr(inner, 'forward_head'):  # of timm
        return PlainEmbedder(model, lambda inputs: inner.forward_head(inner.forward_features(inputs), pre_logits=True))
    if not hasattr(model, 'extract_feat'):
        raise RetrievalError(f'{type(model).__name__} gives no features to search by; use an ImageClassifier')
    return PlainEmbedder(model, model.extract_feat)


def fingerprint_of(module: nn.Module, cfg: Config, steps: Sequence[Step], description: str = '') -> Fingerprint:
    """Which model made a gallery: SHA-256 of its weights, its config and its test pipeline, hexadecimal.

    Settings that change no embedding (initialisation, frozen stages, losses) do not count.

    Args:
        module: What makes the embeddings, with its weights.
        cfg: Its config.
        steps: Test pipeline, without loading.
        description: What messages call the model.
    """
    preprocessor = cfg.get('data_preprocessor') or {}
    return Fingerprint(
        weights=hash_weights(module),
        config=_hash(dict(model=cfg.model, data_preprocessor=cfg.model.get('data_preprocessor') or preprocessor)),
        pipeline=_hash(list(steps)),
        description=description,
    )


def _last(features: Tensor | Sequence[Tensor]) -> Tensor:
    """mmpretrain's models give a tuple of stages."""
    while not isinstance(features, Tensor):
        features = features[-1]
    return features


def _pool(features: Tensor, module: nn.Module) -> Tensor:
    """One vector per image of tokens (B, L, C), a feature map (B, C, h, w) or vectors (B, C)."""
    if features.dim() == 2:
        return features
    if features.dim() == 4:
        return features.mean(dim=(2, 3))
    if features.dim() != 3:
        raise RetrievalError(
            f'{type(module).__name__} gives features of shape {tuple(features.shape)}, which are no vectors; use a '
            'model whose neck pools them'
        )
    extra = getattr(getattr(module, 'backbone', None), 'num_extra_tokens', 1)
    return features[:, 0] if extra else features.mean(dim=1)


def _hash(settings: Any) -> str:
    return hashlib.sha256(json.dumps(_plain(settings), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Settings in types that JSON knows; names of registered classes stand for the classes themselves."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if key not in _WITHOUT_EFFECT}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return getattr(value, '__name__', None) or repr(value)
