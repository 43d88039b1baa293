"""The part of a model that becomes a graph: from pixels to logits, embeddings and regions."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from retrieval.whitening import Whitening

from ..errors import GLSimError
from ..models.classifiers import GLSimClassifier
from ..search.base_encoder import AGGREGATED, CENTRE, CROP, GLOBAL
from ..search.embedder import Embedder, last_stage, selected_tokens


class MapLayer(nn.Module):
    """A map of a gallery (B, D) to (B, M), as :meth:`retrieval.whitening.Whitening.apply` computes it."""

    def __init__(self, whitening: Whitening) -> None:
        super().__init__()
        self.normalize = whitening.normalize
        self.linear = _linear(whitening.matrix, whitening.bias)
        self.residual: nn.Module | None = None
        if whitening.residual is not None:
            first, first_bias, second, second_bias = whitening.residual
            self.residual = nn.Sequential(_linear(first, first_bias), nn.ReLU(), _linear(second, second_bias))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map embeddings."""
        if self.normalize:
            embeddings = F.normalize(embeddings, dim=-1)
        if self.residual is not None:
            embeddings = F.normalize(embeddings + self.residual(embeddings), dim=-1)
        return self.linear(embeddings)


def _linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict(dict(weight=torch.from_numpy(weight), bias=torch.from_numpy(bias)))
    return layer


class MetricLayer(nn.Module):
    """Embeddings as a space of a gallery compares them, of length 1 for cosine similarity.

    Args:
        sources: What of the model's embeddings is compared, as :class:`~glsim_mm.search.embedder.Embedder` names it; of
            several, the sum, each scaled to length 1.
        transform: The map of the space.
        own: Maps of the sources that have one.
        is_cosine: Whether the gallery compares by cosine similarity.
        about: What the file says of it.
    """

    def __init__(
        self,
        sources: Sequence[str],
        transform: Whitening,
        own: Mapping[str, Whitening] | None = None,
        is_cosine: bool = True,
        about: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.sources, self.is_cosine, self.about = tuple(sources), is_cosine, dict(about or {})
        self.own = nn.ModuleDict({name: MapLayer(one) for name, one in (own or {}).items()})
        self.last = MapLayer(transform)

    def forward(self, embedding: Tensor, class_tokens: Tensor | None, centre: Tensor | None = None) -> Tensor:
        """Map the model's embedding (B, D), class tokens (B, 1 + R, C) or centre (B, C), whichever it is, to (B, M)."""
        found = []
        for name in self.sources:
            view = _read_view(name, embedding, class_tokens, centre)
            found.append(self.own[name](view) if name in self.own else view)
        whole = found[0]
        if len(found) > 1:
            whole = torch.stack([F.normalize(view, dim=-1) for view in found]).sum(dim=0)
        whole = self.last(whole)
        return F.normalize(whole, dim=-1) if self.is_cosine else whole


def _read_view(space: str, embedding: Tensor, class_tokens: Tensor | None, centre: Tensor | None) -> Tensor:
    """As :class:`~glsim_mm.search.embedder.Embedder` does; ``'global'`` of a plain model is its embedding."""
    if space == CENTRE and centre is not None:
        return centre
    if class_tokens is None or space == AGGREGATED:
        return embedding
    if space == GLOBAL:
        return class_tokens[:, 0]
    return class_tokens[:, 1:].mean(dim=1) if space == CROP else F.normalize(class_tokens, dim=-1).flatten(1)


class ExportGraph(nn.Module):
    """A classifier from raw pixels, both passes and the crop in one.

    ``ExportGraph(model.eval())(pixels)`` gives what :attr:`outputs` names.

    Args:
        model: :class:`GLSimClassifier`, also without head, as pretrained encoders are; or mmpretrain's
            :class:`ImageClassifier` with a ViT.
        classify: Give logits too.
        metric: Give embeddings as a gallery compares them too.
        centre: Give embeddings of the centre of the images too, one more pass.

    Attributes:
        outputs: Names of what :meth:`forward` returns, in order.

    Raises:
        GLSimError: If the model cannot be one graph.
    """

    def __init__(
        self, model: nn.Module, classify: bool = True, metric: MetricLayer | None = None, centre: bool = False
    ) -> None:
        super().__init__()
        _check(model)
        self.model = model
        self.has_regions = isinstance(model, GLSimClassifier)
        if classify and getattr(model.head, 'num_classes', None) is None:
            what = type(model if model.head is None else model.head).__name__
            raise GLSimError(f'{what} classifies nothing: export it with --what embedding')
        self.classify = classify
        names = (['logits'] if classify else []) + ['embedding']
        names += (
            ['class_tokens', 'selected_boxes', 'similarity_map', 'patches', 'patch_places'] if self.has_regions else []
        )
        self.metric = metric
        self.embedder = Embedder(model) if centre or (metric is not None and CENTRE in metric.sources) else None
        names += [CENTRE] if self.embedder is not None else []
        self.outputs = tuple(names + (['metric'] if metric is not None else []))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Everything that the file gives.

        Args:
            pixels: RGB values of 0 to 255, float32, (B, 3, H, W).

        Returns:
            float32, named by :attr:`outputs`: logits (B, K), embedding (B, D), class tokens (B, 1 + R, C), boxes (B, R,
            4) in pixels of the input, similarity map (B, h, w), patches (B, O, C) and their numbers (B, O), centre
            (B, C), metric (B, M).
        """
        inputs = self._normalize(pixels)
        found = self._embed(inputs)
        if self.embedder is not None:
            found = (*found, self.embedder.embed_centre(inputs))
        if self.metric is None:
            return found
        named = dict(zip(self.outputs, found))
        return (*found, self.metric(named['embedding'], named.get('class_tokens'), named.get(CENTRE)))

    def _embed(self, inputs: Tensor) -> tuple[Tensor, ...]:
        if not self.has_regions:
            features = self.model.extract_feat(inputs)
            embedding = last_stage(features)
            return (self.model.head(features), embedding) if self.classify else (embedding,)
        # The crop is left out where the model is set to leave it out.
        class_tokens, regions, tokens = self.model.encode(inputs, crop=self.model.test_options.crop != 'off')
        embedding = class_tokens[:, 0] if self.model.head is None else self.model.head.pre_logits((class_tokens,))
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
    if not isinstance(model, ImageClassifier) or (model.head is None and not isinstance(model, GLSimClassifier)):
        raise GLSimError(f'{type(model).__name__} cannot be exported: give the config of a classifier with a head')
    neck = model.neck
    if getattr(neck, 'needs_boxes', False):
        raise GLSimError(f'{type(neck).__name__} needs annotated boxes, which photos do not have: use another selector')
    if getattr(neck, 'needs_attention', False):
        raise GLSimError(f'{type(neck).__name__} needs attention matrices, which exported graphs do not have')
    if isinstance(model, GLSimClassifier) and model.test_options.crop not in ('always', 'off'):
        raise GLSimError(
            "a graph cannot leave crops out image by image: set model.test_cfg.crop to 'always' or 'off', for example "
            'with --cfg-options'
        )
