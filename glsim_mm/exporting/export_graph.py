"""The part of a model that becomes a graph: from pixels to logits, embeddings and regions."""

from mmpretrain.models import ImageClassifier
from torch import Tensor, nn

from ..errors import GLSimError
from ..models.classifiers import GLSimClassifier
from ..search.embedder import last_stage


class ExportGraph(nn.Module):
    """A classifier from raw pixels, both passes and the crop in one.

    ``ExportGraph(model.eval())(pixels)`` gives what :attr:`outputs` names.

    Args:
        model: :class:`GLSimClassifier`, or mmpretrain's :class:`ImageClassifier` with a ViT.
        classify: Give logits too.

    Attributes:
        outputs: Names of what :meth:`forward` returns, in order.

    Raises:
        GLSimError: If the model cannot be one graph.
    """

    def __init__(self, model: nn.Module, classify: bool = True) -> None:
        super().__init__()
        _check(model)
        self.model = model
        self.has_regions = isinstance(model, GLSimClassifier)
        has_classes = getattr(model.head, 'num_classes', None) is not None
        if classify and not has_classes:
            raise GLSimError(f'{type(model.head).__name__} classifies nothing: export it with --what embedding')
        self.classify = classify
        names = (['logits'] if classify else []) + ['embedding']
        self.outputs = tuple(names + (['class_tokens', 'selected_boxes', 'similarity_map'] if self.has_regions else []))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Everything that the file gives.

        Args:
            pixels: RGB values of 0 to 255, float32, (B, 3, H, W).

        Returns:
            float32, named by :attr:`outputs`: logits (B, K), embedding (B, D), class tokens (B, 1 + R, C), boxes (B, R,
            4) in pixels of the input, similarity map (B, h, w).
        """
        inputs = self._normalize(pixels)
        if not self.has_regions:
            features = self.model.extract_feat(inputs)
            embedding = last_stage(features)
            return (self.model.head(features), embedding) if self.classify else (embedding,)
        # The crop is left out where the model is set to leave it out.
        class_tokens, regions = self.model.encode(inputs, crop=self.model.test_options.crop != 'off')[:2]
        embedding = self.model.head.pre_logits((class_tokens,))
        # The aggregator is not run twice: its output is what the classifier reads.
        logits = (self._classifier(embedding, class_tokens),) if self.classify else ()
        boxes = regions.boxes if regions.boxes.dim() == 3 else regions.boxes[:, None]
        maps = regions.scores.unflatten(1, regions.grid)
        return (*logits, embedding, class_tokens, boxes.float(), maps)

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
