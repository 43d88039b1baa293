"""The two passes of GLSim: image, selected region, both."""

import torch
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ..necks import SelectedRegions
from ..utils import check_attention, record_attention, token_layout


@MODELS.register_module()
class GLSimClassifier(ImageClassifier):
    """Encodes an image, crops the region its selector finds, encodes the crop, and classifies both CLS tokens.

    Source: arXiv 2407.12891, section 3. Takes the arguments of mmpretrain's :class:`ImageClassifier`.

    Args:
        backbone (dict): Encoder that returns raw tokens: ``GLSimViT``, ``TimmViT`` or any ViT of mmpretrain with
            ``out_type='raw'`` and a CLS token.
        neck (dict): Region selector, ``GLSimSelector`` by default. The encoder's attention is recorded only for
            selectors that ask for it.
        head (dict): ``AggregatorHead`` or another head over class tokens (B, V, C).
        **kwargs: ``train_cfg``, ``data_preprocessor``, ``pretrained`` and ``init_cfg`` of the parent.

    Raises:
        GLSimError: If the backbone does not return raw tokens with a CLS token.
    """

    STAGES = ('backbone', 'selector', 'neck', 'pre_logits')

    def __init__(self, backbone: dict, neck: dict | None = None, head: dict | None = None, **kwargs) -> None:
        super().__init__(backbone, neck or dict(type='GLSimSelector'), head, **kwargs)
        self.layout = token_layout(self.backbone)

    def extract_feat(self, inputs: Tensor, stage: str = 'neck') -> tuple[Tensor, ...] | SelectedRegions | Tensor:
        """Features of one stage.

        Args:
            inputs (Tensor): Normalised images, (B, 3, H, W), both sides at least one patch.
            stage (str): ``'backbone'``: the encoder's tuple, last item raw tokens (B, P0 + N, C); ``'selector'``:
                :class:`SelectedRegions`; ``'neck'``: tuple with the class tokens (B, 2, C) of image and crop;
                ``'pre_logits'``: aggregated CLS token (B, C). Defaults to ``'neck'``.

        Returns:
            tuple[Tensor] | SelectedRegions | Tensor: As ``stage`` says.

        Raises:
            ValueError: If ``stage`` is unknown.
            GLSimError: If the image is smaller than one patch.
        """
        if stage not in self.STAGES:
            raise ValueError(f'stage must be one of {", ".join(self.STAGES)}, got {stage!r}')
        if stage == 'backbone':
            return self.backbone(inputs)
        class_tokens, regions = self.encode(inputs, crop=stage != 'selector')
        if stage == 'selector':
            return regions
        return (class_tokens,) if stage == 'neck' else self.head.pre_logits((class_tokens,))

    def encode(
        self, inputs: Tensor, crop: bool = True, data_samples: list[DataSample] | None = None
    ) -> tuple[Tensor | None, SelectedRegions]:
        """Both passes of the encoder.

        Args:
            inputs (Tensor): Normalised images, (B, 3, H, W).
            crop (bool): Encode the crop too. Defaults to True.
            data_samples (list[DataSample], optional): One per image; only for selectors that need annotated boxes,
                which they take from ``gt_bboxes``.

        Returns:
            tuple[Tensor | None, SelectedRegions]: Class tokens (B, 2, C) of image and crop (None without ``crop``)
            and the selected regions.

        Raises:
            GLSimError: If the selector needs attention or boxes that are not there.
        """
        boxes = _annotated_boxes(data_samples, inputs.device) if self.neck.needs_boxes else None
        if self.neck.needs_attention:
            with record_attention() as attention:
                tokens = self.backbone(inputs)[-1]
            check_attention(attention, self.backbone, tokens, type(self.neck).__name__)
        else:
            attention, tokens = None, self.backbone(inputs)[-1]
        regions = self.neck(tokens, inputs, self.layout, attention, boxes)
        if not crop:
            return None, regions
        return torch.stack([tokens[:, 0], self._encode_crops(regions.crops)], dim=1), regions

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs (Tensor): Normalised images, (B, 3, H, W).
            data_samples (list[DataSample]): One per image, with labels.

        Returns:
            dict[str, Tensor]: Losses of the head by name.
        """
        class_tokens, _ = self.encode(inputs, data_samples=data_samples)
        return self.head.loss((class_tokens,), data_samples)

    def predict(self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs) -> list[DataSample]:
        """Classify images and say where the model looked.

        Args:
            inputs (Tensor): Normalised images, (B, 3, H, W).
            data_samples (list[DataSample], optional): One per image; filled and returned.
            **kwargs: Passed to the head's ``predict``.

        Returns:
            list[DataSample]: With ``pred_score`` (K,), ``pred_label`` (1,), ``selected_box`` (4,) float32
            ``x0, y0, x1, y1`` in pixels of the network input, and ``similarity_map`` (h, w) float32 scores, the
            largest of which were selected.
        """
        class_tokens, regions = self.encode(inputs, data_samples=data_samples)
        samples = self.head.predict((class_tokens,), data_samples, **kwargs)
        maps = regions.scores.unflatten(1, regions.grid)
        for sample, box, similarity_map in zip(samples, regions.boxes.float(), maps):
            sample.set_field(box, 'selected_box')
            sample.set_field(similarity_map, 'similarity_map')
        return samples

    def _encode_crops(self, crops: Tensor) -> Tensor:
        """CLS tokens (B, C) of the crops; a backbone may treat crops in its own way through ``encode_crops``."""
        if hasattr(self.backbone, 'encode_crops'):
            return self.backbone.encode_crops(crops)
        return self.backbone(crops)[-1][:, 0]


def _annotated_boxes(data_samples: list[DataSample] | None, device: torch.device) -> Tensor | None:
    """Box around each image's annotated boxes, float32 (B, 4); None if an image has none."""
    if not data_samples or not all('gt_bboxes' in sample for sample in data_samples):
        return None
    boxes = [torch.as_tensor(sample.gt_bboxes, dtype=torch.float32).reshape(-1, 4) for sample in data_samples]
    if any(len(box) == 0 for box in boxes):
        return None
    enclosing = [torch.cat([box[:, :2].amin(dim=0), box[:, 2:].amax(dim=0)]) for box in boxes]
    return torch.stack(enclosing).to(device)
