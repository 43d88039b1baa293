"""Counterfactual attention learning: a convolutional peer of GLSim that crops where its attention maps point."""

import torch
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ...ops import attention_crop_boxes, crop_and_resize, drop_attended, sample_attention_maps


@MODELS.register_module()
class CALClassifier(ImageClassifier):
    """CAL (arXiv 2108.08728) for fine-grained classification; takes the arguments of mmpretrain's ``ImageClassifier``.

    In training, one attention map of each image gives a crop and another a part to drop, both drawn at random; raw,
    cropped and dropped images go through the same network. In testing, the mean attention map gives crops, and the
    logits of image and crops are averaged. The defaults are the authors': in testing those of their validation
    (``train_distributed.py``); their multi-crop inference (``infer.py``) is
    ``test_crops=((0.3, 0.1), (0.2, 0.1), (0.1, 0.05)), test_flip=True``.

    The authors report the better of the predictions from logits and from the effect of attention, judged on the test
    images; this class predicts from logits.

    Args:
        backbone: Convolutional encoder; its last feature map is used.
        neck: ``BilinearAttentionPooling``.
        head: ``CounterfactualHead``.
        crop_thresholds: Range of the threshold of training crops, drawn uniformly for each image, as a share of the
            map's maximum.
        crop_padding: Widening of training crops on each side as a share of the image.
        drop_thresholds: Range of the threshold from which pixels are dropped.
        test_crops: Threshold and padding of each crop in testing; empty for none.
        test_flip: Average with the mirrored image and its crops.
        **kwargs: ``train_cfg``, ``data_preprocessor``, ``pretrained`` and ``init_cfg`` of the parent.

    Example::

        model = dict(
            type='CALClassifier',
            backbone=dict(type='ResNet', depth=101),
            neck=dict(type='BilinearAttentionPooling', in_channels=2048),
            head=dict(type='CounterfactualHead', num_classes=200, in_channels=32 * 2048),
        )
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        crop_thresholds: tuple[float, float] = (0.4, 0.6),
        crop_padding: float = 0.1,
        drop_thresholds: tuple[float, float] = (0.2, 0.5),
        test_crops: tuple[tuple[float, float], ...] = ((0.1, 0.05),),
        test_flip: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(backbone, neck, head, **kwargs)
        self.crop_thresholds = crop_thresholds
        self.crop_padding = crop_padding
        self.drop_thresholds = drop_thresholds
        self.test_crops = test_crops
        self.test_flip = test_flip

    def forward(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = 'tensor'
    ) -> Tensor | dict[str, Tensor] | list[DataSample]:
        """As the parent's; ``mode='tensor'`` gives the averaged logits (B, K) of image and crops."""
        if mode == 'tensor':
            return self.classify(inputs)[0]
        return super().forward(inputs, data_samples, mode)

    @torch.no_grad()
    def augment(self, images: Tensor, attention: Tensor) -> Tensor:
        """Crop images (B, 3, H, W) to what one of their maps (B, M, h, w) points at, and drop what another points at.

        Returns (2 B, 3, H, W), crops first.
        """
        size = (images.shape[-2], images.shape[-1])
        for_crop, for_drop = sample_attention_maps(attention, 2).unbind(dim=1)
        boxes = attention_crop_boxes(for_crop, size, _uniform(self.crop_thresholds, images), self.crop_padding)
        dropped = drop_attended(images, for_drop, _uniform(self.drop_thresholds, images))
        return torch.cat([crop_and_resize(images, boxes, size), dropped])

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Losses by name of a batch of normalised images (B, 3, H, W), each with one label."""
        pooled = self.extract_feat(inputs)
        augmented = self.extract_feat(self.augment(inputs, pooled.attention))
        return self.head.loss(pooled, augmented, data_samples)

    def classify(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Average the logits of normalised images (B, 3, H, W) and their crops.

        Returns:
            Logits (B, K); mean attention map, float32 (B, h, w); and crop boxes, int64 (B, R, 4), ``x0, y0, x1, y1`` in
            pixels of the input, one for each of ``test_crops``.
        """
        logits, attention, boxes = self._classify_view(inputs)
        if self.test_flip:
            logits = (logits + self._classify_view(inputs.flip(dims=(-1,)))[0]) / 2
        return logits, attention, boxes

    def predict(self, inputs: Tensor, data_samples: list[DataSample] | None = None) -> list[DataSample]:
        """Classify normalised images (B, 3, H, W) and say where the model looked; data samples are filled and returned.

        They have ``pred_score`` (K,), ``pred_label`` (1,), ``similarity_map`` (h, w) float32, the mean attention map
        (the name under which GLSim models give what they select by), and, if there are crops, ``selected_box`` (4,)
        float32 ``x0, y0, x1, y1`` of the first in pixels of the network input; ``selected_boxes`` (R, 4) if there are
        several.
        """
        logits, attention, boxes = self.classify(inputs)
        samples = self.head.predict_from_logits(logits, data_samples)
        for sample, attention_map, image_boxes in zip(samples, attention, boxes.float()):
            sample.set_field(attention_map, 'similarity_map')
            if len(image_boxes) > 0:
                sample.set_field(image_boxes[0], 'selected_box')
            if len(image_boxes) > 1:
                sample.set_field(image_boxes, 'selected_boxes')
        return samples

    def _classify_view(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = (images.shape[-2], images.shape[-1])
        pooled = self.extract_feat(images)
        attention = pooled.attention.detach().float().mean(dim=1)
        boxes = images.new_zeros((len(images), len(self.test_crops), 4), dtype=torch.int64)
        logits = self.head(pooled)
        for index, (threshold, padding) in enumerate(self.test_crops):
            boxes[:, index] = attention_crop_boxes(attention, size, threshold, padding)
            logits = logits + self.head(self.extract_feat(crop_and_resize(images, boxes[:, index], size)))
        return logits / (1 + len(self.test_crops)), attention, boxes


def _uniform(interval: tuple[float, float], images: Tensor) -> Tensor:
    """A random number in the interval for each image, float32 (B,)."""
    low, high = interval
    return low + (high - low) * torch.rand(len(images), device=images.device)
