"""The part of a model that becomes a graph: from pixels to logits, embeddings and regions."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from retrieval.whitening import Whitening

from ..errors import GLSimError
from ..models.classifiers import GLSimClassifier
from ..search.base_encoder import CONCAT, CROP, GLOBAL
from ..search.embedder import last_stage, selected_tokens


class MetricLayer(nn.Module):
    """Embeddings as a space of a gallery compares them, of length 1 for cosine similarity.

    Args:
        space: What of the model's embeddings is compared, as :class:`~glsim_mm.search.embedder.Embedder` names it.
        transforms: Maps of the gallery, in the order in which they are applied.
        is_cosine: Whether the gallery compares by cosine similarity.
        about: What the file says of it.
    """

    def __init__(
        self,
        space: str,
        transforms: Sequence[Whitening],
        is_cosine: bool = True,
        about: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.space, self.is_cosine, self.about = space, is_cosine, dict(about or {})
        self.normalized = [one.normalize for one in transforms]
        self.layers = nn.ModuleList()
        for one in transforms:
            layer = nn.Linear(one.input_dimension, one.output_dimension)
            layer.load_state_dict(dict(weight=torch.from_numpy(one.matrix), bias=torch.from_numpy(one.bias)))
            self.layers.append(layer)

    def forward(self, embedding: Tensor, class_tokens: Tensor | None) -> Tensor:
        """Map the model's embedding (B, D) or class tokens (B, 1 + R, C), whichever it is, to (B, M)."""
        found = embedding
        if class_tokens is not None and self.space == GLOBAL:
            found = class_tokens[:, 0]
        elif class_tokens is not None and self.space == CROP:
            found = class_tokens[:, 1:].mean(dim=1)
        elif class_tokens is not None and self.space == CONCAT:
            found = F.normalize(class_tokens, dim=-1).flatten(1)
        for normalize, layer in zip(self.normalized, self.layers):
            found = layer(F.normalize(found, dim=-1) if normalize else found)
        return F.normalize(found, dim=-1) if self.is_cosine else found


class ExportGraph(nn.Module):
    """A classifier from raw pixels, both passes and the crop in one.

    ``ExportGraph(model.eval())(pixels)`` gives what :attr:`outputs` names.

    Args:
        model: :class:`GLSimClassifier`, or mmpretrain's :class:`ImageClassifier` with a ViT.
        classify: Give logits too.
        metric: Give embeddings as a gallery compares them too.

    Attributes:
        outputs: Names of what :meth:`forward` returns, in order.

    Raises:
        GLSimError: If the model cannot be one graph.
    """

    def __init__(self, model: nn.Module, classify: bool = True, metric: MetricLayer | None = None) -> None:
        super().__init__()
        _check(model)
        self.model = model
        self.has_regions = isinstance(model, GLSimClassifier)
        has_classes = getattr(model.head, 'num_classes', None) is not None
        if classify and not has_classes:
            raise GLSimError(f'{type(model.head).__name__} classifies nothing: export it with --what embedding')
        self.classify = classify
        names = (['logits'] if classify else []) + ['embedding']
        names += (
            ['class_tokens', 'selected_boxes', 'similarity_map', 'patches', 'patch_places'] if self.has_regions else []
        )
        self.metric = metric
        self.outputs = tuple(names + (['metric'] if metric is not None else []))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Everything that the file gives.

        Args:
            pixels: RGB values of 0 to 255, float32, (B, 3, H, W).

        Returns:
            float32, named by :attr:`outputs`: logits (B, K), embedding (B, D), class tokens (B, 1 + R, C), boxes (B, R,
            4) in pixels of the input, similarity map (B, h, w), patches (B, O, C) and their numbers (B, O), metric
            (B, M).
        """
        found = self._embed(pixels)
        if self.metric is None:
            return found
        named = dict(zip(self.outputs, found))
        return (*found, self.metric(named['embedding'], named.get('class_tokens')))

    def _embed(self, pixels: Tensor) -> tuple[Tensor, ...]:
        inputs = self._normalize(pixels)
        if not self.has_regions:
            features = self.model.extract_feat(inputs)
            embedding = last_stage(features)
            return (self.model.head(features), embedding) if self.classify else (embedding,)
        # The crop is left out where the model is set to leave it out.
        class_tokens, regions, tokens = self.model.encode(inputs, crop=self.model.test_options.crop != 'off')
        embedding = self.model.head.pre_logits((class_tokens,))
        # The aggregator is not run twice: its output is what the classifier reads.
        logits = (self._classifier(embedding, class_tokens),) if self.classify else ()
        boxes = regions.boxes if regions.boxes.dim() == 3 else regions.boxes[:, None]
        maps = regions.scores.unflatten(1, regions.grid)
        patches = selected_tokens(tokens, regions.indices, self.model.layout.num_extra_tokens)
        return (*logits, embedding, class_tokens, boxes.float(), maps, patches, regions.indices.float())

    def _classifier(self, embedding: Tensor, sequence: Tensor) -> Tensor:
        head = self.model.head
        if getattr(head, 'pooling', 'first') == 'max':  # the embedding does not tell the logits
            return head((sequence,))
        return head.fc(embedding) if hasattr(head, 'fc') else head.loss_module.classify(embedding)

    def _normalize(self, pixels: Tensor) -> Tensor:
        preprocessor = self.model.data_preprocessor
        if not preprocessor.to_rgb:  # trained on BGR
            pixels = pixels.flip(1)
        return (pixels - preprocessor.mean) / preprocessor.std if preprocessor._enable_normalize else pixels


def _check(model: nn.Module) -> None:
    if not isinstance(model, ImageClassifier) or model.head is None:
        raise GLSimError(f'{type(model).__name__} cannot be exported: give the config of a classifier with a head')
    neck = model.neck
    if getattr(neck, 'needs_boxes', False):
        raise GLSimError(f'{type(neck).__name__} needs annotated boxes, which photos do not have: use another selector')
    if getattr(neck, 'needs_attention', False):
        raise GLSimError(f'{type(neck).__name__} needs attention matrices, which exported graphs do not have')
    if isinstance(model, GLSimClassifier) and model.test_options.crop == 'adaptive':
        raise GLSimError(
            "a graph cannot leave crops out image by image: set model.test_cfg.crop to 'always' or 'off', for example "
            'with --cfg-options'
        )
