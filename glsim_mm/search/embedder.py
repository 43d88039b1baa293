"""What a model gives to be searched by: one embedding per space, where it looked, and which model it is."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint

from ..apis.photo_pipeline import find_background, find_test_steps
from ..images.decoding import WHITE
from ..models.classifiers import GLSimClassifier
from ..models.utils import hash_weights
from ..ops import centre_box, crop_and_resize
from .base_encoder import AGGREGATED, CENTRE, CONCAT, CROP, GLOBAL, Features

CENTRE_SHARE = 0.65

# What changes training, or where weights came from, and no embedding.
_WITHOUT_EFFECT = frozenset(
    'cal_acc checkpoint_path frozen_stages init_cfg loss pretrained prototype sequence_weights test_cfg topk train_cfg '
    'with_cp'.split()
)


class Embedder:
    """Reads embeddings off a classifier, retriever or self-supervised model of mmpretrain; threads may share it.

    ``Embedder(model)(inputs, ['global']).embeddings['global']`` is (B, C). The spaces of a :class:`GLSimClassifier`
    (arXiv 2407.12891) are:

    - ``'global'``: CLS token of the image; the crop is not encoded if nothing else is wanted
    - ``'aggregated'``: what the head classifies, the aggregated CLS token; the default where the head is trained for
      search
    - ``'crop'``: CLS token of the crop; of several crops, their mean
    - ``'concat'``: CLS tokens of image and crops, each of length 1, one after another, so that its cosine similarity
      is the mean of theirs
    - ``'centre'``: CLS token of the middle of the image, :data:`CENTRE_SHARE` of its height and width, which takes a
      pass of its own, but no selection

    Where the head reads no CLS tokens of crops, ``'crop'`` and ``'concat'`` are missing; without a head, the first.

    Any other model has ``'global'``, the CLS token of a ViT, pooled features of a convolutional network, and
    ``'centre'``.

    Args:
        model: Model of mmpretrain; its weights may be loaded later.

    Attributes:
        module: The part of the model that makes the embeddings.
        description: What messages call it.
        spaces: What it can give, the default first.
        has_regions: Whether :class:`Features` comes with boxes, maps and patches.

    Raises:
        RetrievalError: If the model gives no features.
    """

    def __init__(self, model: nn.Module) -> None:
        encoder = getattr(model, 'image_encoder', None)  # of a retriever
        self.module = encoder if isinstance(encoder, GLSimClassifier) else model
        self.has_regions = isinstance(self.module, GLSimClassifier)
        self.spaces: tuple[str, ...] = (GLOBAL,)
        if self.has_regions and self.module.head is not None:
            is_trained = getattr(self.module.head, 'trains_embedding', True)
            self.spaces = (AGGREGATED, GLOBAL) if is_trained else (GLOBAL, AGGREGATED)
        if self.has_regions and self.module.has_crop_tokens:
            self.spaces = (*self.spaces, CROP, CONCAT)
        backbone = getattr(self.module, 'backbone', None)
        with_backbone = '' if backbone is None else f' with {type(backbone).__name__}'
        self.spaces = (*self.spaces, CENTRE)
        self.description = type(self.module).__name__ + with_backbone
        if not hasattr(self.module, 'extract_feat') and not self._is_timm:
            raise RetrievalError(f'{type(model).__name__} gives no features to search by; use an ImageClassifier')

    def fingerprint(self, cfg: Config, checkpoint: str) -> Fingerprint:
        """Which model made a gallery: SHA-256 of its weights, its config and its test pipeline, hexadecimal.

        Settings that change no embedding (initialisation, frozen stages, losses) do not count; messages name the
        checkpoint.
        """
        background = find_background(cfg)
        steps = [*find_test_steps(cfg), *([] if background == WHITE else [dict(background=background)])]
        preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        return Fingerprint(
            weights=hash_weights(self.module),
            config=_hash(dict(model=cfg.model, data_preprocessor=preprocessor)),
            pipeline=_hash(steps),
            description=f'{self.description}, {Path(checkpoint).name}',
        )

    def __call__(
        self, inputs: Tensor, spaces: Sequence[str], patches: bool = False, classify: bool = False
    ) -> Features:
        """Embed a batch.

        Args:
            inputs: Normalised images, (B, 3, H, W), as large as the pipeline delivers them.
            spaces: What is wanted, of :attr:`spaces`.
            patches: Give the tokens of the selected patches too.
            classify: Give the probabilities of the model's classes too.

        Raises:
            RetrievalError: If the model has no classes, or needs annotated boxes.
        """
        centre = {CENTRE: self.embed_centre(inputs)} if CENTRE in spaces else {}
        if tuple(spaces) == (CENTRE,) and not patches and not classify:
            return Features(centre)
        if not self.has_regions:
            features = self._extract(inputs)
            scores = self._classify(features) if classify else None
            return Features({GLOBAL: _pool(last_stage(features), self.module), **centre}, class_scores=scores)
        if getattr(self.module.neck, 'needs_boxes', False):
            raise RetrievalError(
                f'{type(self.module.neck).__name__} needs annotated boxes, which a photo to search by does not have: '
                'use the config of another selector'
            )
        needs_crop = classify or any(space not in (GLOBAL, CENTRE) for space in spaces)
        class_tokens, regions, tokens = self.module.encode(inputs, crop=needs_crop)
        return Features(
            {space: centre[space] if space in centre else self._embed(space, class_tokens) for space in spaces},
            regions.boxes if regions.boxes.dim() == 2 else regions.boxes[:, 0],
            regions.scores.unflatten(1, regions.grid),
            selected_tokens(tokens, regions.indices, self.module.layout.num_extra_tokens) if patches else None,
            regions.indices if patches else None,
            self._classify((class_tokens,)) if classify else None,
        )

    def embed_centre(self, inputs: Tensor) -> Tensor:
        """Embeddings (B, C) of the middle of normalised images (B, 3, H, W), resized to the network's size."""
        height, width = inputs.shape[-2:]
        x0, y0, x1, y1 = centre_box((height, width), CENTRE_SHARE)
        enlarged = self.module.crop_settings(inputs) if self.has_regions else {}
        if enlarged:
            boxes = torch.tensor([[x0, y0, x1, y1]], device=inputs.device).expand(inputs.shape[0], -1)
            crops = crop_and_resize(inputs, boxes, **enlarged)
        else:  # one box for all: what crop_and_resize does with boxes of their own
            crops = F.interpolate(inputs[..., y0:y1, x0:x1], (height, width), mode='bilinear', align_corners=True)
        if self.has_regions:
            return self.module.encode_crops(crops)
        return _pool(last_stage(self._extract(crops)), self.module)

    @property
    def _is_timm(self) -> bool:
        inner = getattr(self.module, 'model', None)
        return hasattr(inner, 'forward_features') and hasattr(inner, 'forward_head')

    def _extract(self, inputs: Tensor) -> Any:
        if self._is_timm:
            inner = self.module.model
            return inner.forward_head(inner.forward_features(inputs), pre_logits=True)
        try:
            return self.module.extract_feat(inputs)
        except NotImplementedError as error:
            raise RetrievalError(
                f'{type(self.module).__name__} gives no features to search by ({error}); use an ImageClassifier'
            ) from error

    def _embed(self, space: str, class_tokens: Tensor) -> Tensor:
        if space == AGGREGATED:
            return last_stage(self.module.head.pre_logits((class_tokens,)))
        if space == CONCAT:
            return F.normalize(class_tokens.float(), dim=-1).flatten(1)
        return class_tokens[:, 0] if space == GLOBAL else class_tokens[:, 1:].mean(dim=1)

    def _classify(self, features: Any) -> Tensor:
        head = getattr(self.module, 'head', None)
        logits = head(features) if head is not None else None
        if logits is None or logits.shape[-1] != getattr(head, 'num_classes', None):
            raise RetrievalError(
                f'{type(self.module).__name__} classifies nothing: use a classifier, or search a gallery'
            )
        return logits.float().softmax(dim=-1)


def last_stage(features: Tensor | Sequence[Tensor]) -> Tensor:
    """mmpretrain's models give a tuple of stages."""
    while not isinstance(features, Tensor):
        features = features[-1]
    return features


def selected_tokens(tokens: Tensor, indices: Tensor, num_extra_tokens: int) -> Tensor:
    """Tokens (B, O, C) of the patches at ``indices`` (B, O), of all tokens (B, P0 + N, C), P0 of which are no patch."""
    places = indices + num_extra_tokens
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


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
