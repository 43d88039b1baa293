"""The two passes of GLSim: image, selected region (or several), both."""

from contextlib import nullcontext
from math import ceil, prod
from typing import Any

import torch
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ...compat.linear_kernels import use_fast_linear
from ...errors import GLSimError
from ...ops import patch_grid, shrink
from ..necks import SelectedRegions
from ..utils import (
    AttentionRecord,
    check_attention,
    native_size,
    record_attention,
    reuse_mlp_buffers,
    token_layout,
    unwrap_encoder,
)
from .crop_policy import AMP_TYPES, read_test_options
from .late_crops import predict_adaptively, predict_centre_first
from .part_checks import check_glsim_parts, check_parts
from .second_look import read_second_look

_LATE = dict(adaptive=predict_adaptively, centre_first=predict_centre_first)


@MODELS.register_module()
class GLSimClassifier(ImageClassifier):
    """Encodes an image, crops the region its selector finds, encodes the crop, and classifies both CLS tokens.

    Source: arXiv 2407.12891, section 3. Takes the arguments of mmpretrain's :class:`ImageClassifier`.

    Args:
        backbone: Encoder that returns raw tokens: ``GLSimViT``, ``TimmViT`` or any ViT of mmpretrain with
            ``out_type='raw'`` and a CLS token.
        neck: Region selector, ``GLSimSelector`` by default. The encoder's attention is recorded only for selectors that
            ask for it.
        head: ``AggregatorHead`` or another head over a sequence of tokens (B, V, C), the image's CLS token first. Its
            other tokens are those of the crops, or what ``out_type`` of the selector and ``all_tokens`` of the head
            say.
        second_look: How many times the network's size the pipeline delivers, so that crops show more than the first
            pass saw, and how much of it the first pass sees; see :class:`SecondLook`.
        test_cfg: When the crop is encoded in :meth:`predict`, and in which precision; see :class:`TestOptions`.
        **kwargs: ``train_cfg``, ``data_preprocessor``, ``pretrained`` and ``init_cfg`` of the parent.

    Raises:
        GLSimError: If the backbone does not return raw tokens with a CLS token, neck or head do not fit it or each
            other, the selector classifies other classes than the head, or ``second_look`` or ``test_cfg`` is out of
            range.

    Attributes:
        layout: Patch size in pixels of the images that the model takes, and number of leading tokens.

    Example::

        model = dict(
            type='GLSimClassifier',
            backbone=dict(type='GLSimViT', arch='vit-base', img_size=224, patch_size=16),
            head=dict(type='AggregatorHead', num_classes=200, in_channels=768),
        )
    """

    STAGES = ('backbone', 'selector', 'neck', 'pre_logits')

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        second_look: dict | None = None,
        test_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(backbone, neck or dict(type='GLSimSelector'), head, **kwargs)
        self.test_options = read_test_options(test_cfg)
        self.second_look = read_second_look(second_look)
        self.layout = self.second_look.frame(token_layout(self.backbone))
        check_glsim_parts(self)
        use_fast_linear(self)
        reuse_mlp_buffers(self)
        self._all_tokens = getattr(self.head, 'all_tokens', False)
        self._has_own_features = hasattr(self.backbone, 'image_features')
        self._out_type = getattr(self.neck, 'out_type', 'crops')
        self._check_sequence()
        found, expected = (getattr(module, 'num_classes', None) for module in (self.neck, self.head))
        if None not in (found, expected) and found != expected:
            raise GLSimError(
                f'The selector has {found} classes, the head {expected}: set model.neck.num_classes={expected}.'
            )

    @property
    def has_crop_tokens(self) -> bool:
        """Whether the head's sequence is the paper's, one CLS token of the image and of each crop."""
        return self._out_type == 'crops' and not self._all_tokens

    def _check_sequence(self) -> None:
        """Refuse settings of which one would pass over the other."""
        out_type, head = self._out_type, self.head
        if out_type != 'crops' and self.second_look.scale != 1:
            raise GLSimError(f'model.neck.out_type={out_type!r} makes no crop: set model.second_look.scale=1.')
        if out_type != 'crops' and (self.test_options.crop != 'always' or getattr(head, 'needs_alone', False)):
            raise GLSimError(
                f'model.neck.out_type={out_type!r} makes no crop: remove model.test_cfg.crop and '
                'model.head.sequence_weights.'
            )
        if out_type == 'tokens' and self._all_tokens:
            raise GLSimError("model.neck.out_type='tokens' and model.head.all_tokens exclude each other: remove one.")
        if self._all_tokens and self.test_options.crop == 'centre_first':
            raise GLSimError("model.test_cfg.crop='centre_first' needs a head of CLS tokens: remove head.all_tokens.")
        if self._all_tokens and getattr(self.backbone, 'merged_tokens', 0):
            raise GLSimError('model.head.all_tokens needs every token: set model.backbone.merged_tokens=0.')
        found = getattr(head, 'sequence_length', None)
        if found is not None:
            views = len(self.neck.scales) * self.neck.num_regions
            expected = 1 + dict(none=0, tokens=max(self.neck.scales), crops=views)[out_type]
            if found != expected:
                raise GLSimError(
                    f'The head takes {found} tokens, but gets {expected}: set model.head.sequence_length={expected}.'
                )

    def extract_feat(self, inputs: Tensor, stage: str = 'neck') -> tuple[Tensor, ...] | SelectedRegions | Tensor:
        """Features of one stage, of normalised images (B, 3, H, W), as large as the pipeline delivers them.

        ``'backbone'`` gives the encoder's tuple of the first pass, last item raw tokens (B, P0 + N, C); ``'selector'``
        :class:`SelectedRegions`; ``'neck'`` a tuple with the head's sequence, for the paper's the class tokens (B, 1 +
        R, C) of image and crops, of a model in eval mode with ``test_cfg.crop='off'`` that of the image alone;
        ``'pre_logits'`` the aggregated CLS token (B, C) of the sequence. Another stage is a ``ValueError``.
        """
        if stage not in self.STAGES:
            raise ValueError(f'stage must be one of {", ".join(self.STAGES)}, got {stage!r}')
        if stage == 'backbone':
            return self.backbone(self.first_look(inputs))
        if stage == 'selector':
            return self.encode(inputs, crop=False)[1]
        if self.test_options.crop == 'off' and not self.training:
            sequence = self.of_image(self.backbone(self.first_look(inputs))[-1])
        else:
            sequence = self.encode(inputs)[0]
        return (sequence,) if stage == 'neck' else self.head.pre_logits((sequence,))

    def first_look(self, inputs: Tensor) -> Tensor:
        """What the first pass sees (B, 3, h, w) of the images (B, 3, H, W) that the pipeline delivers.

        Raises:
            GLSimError: If they are not as large as ``second_look`` says.
        """
        if not self.second_look.reduces:
            return inputs
        delivered = inputs.shape[-2], inputs.shape[-1]
        self.second_look.check_delivered(delivered, native_size(self.backbone))
        return shrink(inputs, self.second_look.first_size(delivered))

    def crop_settings(self, inputs: Tensor) -> dict[str, Any]:
        """``size`` and ``samples`` of :func:`glsim_mm.ops.crop_and_resize` for crops of images (B, 3, H, W)."""
        scale, delivered = self.second_look.scale, (inputs.shape[-2], inputs.shape[-1])
        return {} if scale == 1 else dict(size=self.second_look.network_size(delivered), samples=ceil(scale))

    def encode(
        self, inputs: Tensor, crop: bool = True, data_samples: list[DataSample] | None = None
    ) -> tuple[Tensor, SelectedRegions, Tensor]:
        """Both passes of the encoder.

        Args:
            inputs: Normalised images, (B, 3, H, W), as large as the pipeline delivers them.
            crop: Encode the crop too, or take what stands in its place.
            data_samples: One per image; only for selectors that need annotated boxes, which they take from
                ``gt_bboxes``.

        Returns:
            The head's sequence, the paper's being the class tokens (B, 1 + R, C) of image and crops, R = 1 unless the
            selector is told otherwise, without ``crop`` that of the image alone; the selected regions; and all tokens
            (B, P0 + N, C) of the image.

        Raises:
            GLSimError: If the selector needs attention or boxes that are not there.
        """
        tokens, regions = self.select(inputs, data_samples)
        return self._sequence(tokens, regions, crop), regions, tokens

    def select(self, inputs: Tensor, data_samples: list[DataSample] | None) -> tuple[Tensor, SelectedRegions]:
        """Tokens (B, P0 + N, C) of the images, and what the selector selects by them."""
        images, attention = self.first_look(inputs), None
        if self.neck.needs_attention:
            with record_attention() as attention:
                tokens = self.backbone(images)[-1]
            check_attention(attention, self.backbone, tokens, type(self.neck).__name__)
        elif self._all_tokens or hasattr(self.neck, 'loss') or not hasattr(self.backbone, 'encode_images'):
            tokens = self.backbone(images)[-1]
        else:  # no loss reads the patch tokens
            tokens = self.backbone.encode_images(images)
        return tokens, self.select_by(tokens, inputs, attention, data_samples)

    def select_by(
        self, tokens: Tensor, inputs: Tensor, attention: AttentionRecord | None, data_samples: list[DataSample] | None
    ) -> SelectedRegions:
        """What the selector selects in images by tokens that were computed already."""
        boxes = annotated_boxes(data_samples, inputs.device) if self.neck.needs_boxes else None
        return self.neck(tokens, inputs, self.layout, attention, boxes, **self.crop_settings(inputs))

    @property
    def encodes_crops_alike(self) -> bool:
        """Whether the encoder makes the same of a picture, be it the image or a crop of it."""
        encoder = unwrap_encoder(self.backbone)
        return getattr(encoder, 'crop_cls_token', None) is None and not getattr(encoder, 'merged_tokens', 0)

    def _sequence(self, tokens: Tensor, regions: SelectedRegions, crop: bool = True) -> Tensor:
        """What the head reads (B, V, C) of images with tokens (B, P0 + N, C), the image's CLS token first."""
        own = self.of_image(tokens)
        if not crop or self._out_type == 'none':
            return own
        return torch.cat([own, self.joining(tokens, regions.indices, regions.crops)], dim=1)

    def of_image(self, tokens: Tensor) -> Tensor:
        """The part of the sequence (B, L, C) that one view gives, of its tokens (B, P0 + N, C); no registers."""
        if not self._all_tokens:
            return self.backbone.image_features(tokens)[:, None] if self._has_own_features else tokens[:, :1]
        return torch.cat([tokens[:, :1], tokens[:, self.layout.num_extra_tokens :]], dim=1)

    def joining(self, tokens: Tensor, indices: Tensor, crops: Tensor) -> Tensor:
        """What joins the image in the sequence: selected tokens (B, O, C), or those of the crops (B, R * L, C)."""
        if self._out_type == 'tokens':
            patches = tokens[:, self.layout.num_extra_tokens :].detach()
            return patches.gather(1, indices[..., None].expand(-1, -1, patches.shape[-1]))
        crops = crops if crops.dim() == 5 else crops[:, None]
        flat = crops.flatten(0, 1)
        if not self._all_tokens:
            views = self.encode_crops(flat)[:, None]
        elif hasattr(self.backbone, 'encode_crops'):  # a backbone may treat crops in its own way
            views = self.of_image(self.backbone(flat, is_crop=True)[-1])
        else:
            views = self.of_image(self.backbone(flat)[-1])
        return views.unflatten(0, crops.shape[:2]).flatten(1, 2)

    def encode_crops(self, crops: Tensor) -> Tensor:
        """CLS tokens (B, C) of crops (B, 3, S_h, S_w), wherever they were cut out."""
        if hasattr(self.backbone, 'encode_crops'):
            return self.backbone.encode_crops(crops)
        return self.backbone(crops)[-1][:, 0]

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        """Losses of normalised images (B, 3, H, W) as delivered, with labels: the head's, and those of a selector."""
        check_parts(self, needs_head=True)
        tokens, regions = self.select(inputs, data_samples)
        losses = self.head.loss((self._sequence(tokens, regions),), data_samples)
        if hasattr(self.neck, 'loss'):
            losses.update(self.neck.loss(tokens, regions, data_samples))
        return losses

    def predict(self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs) -> list[DataSample]:
        """Classify normalised images (B, 3, H, W) and say where the model looked; data samples are filled and returned.

        They have ``pred_score`` (K,), ``pred_label`` (1,), ``selected_box`` (4,) float32 ``x0, y0, x1, y1`` in pixels
        of ``inputs``, ``similarity_map`` (h, w) float32 scores, the largest of which were selected, and
        ``patch_size`` (height, width) in pixels. A selector of R > 1 regions leaves the first of them there and all in
        ``selected_boxes`` (R, 4). ``passes`` (float) is what it cost, in passes over an image of the network's size.
        Where ``test_cfg.crop`` is not ``'always'``, ``crop_encoded`` (bool) tells whether the prediction rests on the
        crop too.
        """
        check_parts(self, needs_head=True)
        options = self.test_options
        with nullcontext() if options.amp is None else torch.autocast(inputs.device.type, AMP_TYPES[options.amp]):
            if options.crop in _LATE:
                logits, regions, again = _LATE[options.crop](self, inputs, data_samples)
                samples, encoded = self.head._get_predictions(logits, data_samples), set(again.tolist())
            else:
                tokens, regions = self.select(inputs, data_samples)
                sequence = self._sequence(tokens, regions, crop=options.crop != 'off')
                samples = self.head.predict((sequence,), data_samples, **kwargs)
                encoded = set(range(len(samples))) if options.crop == 'always' else set()
        first, crop = self._count_passes(inputs)
        first += crop * (options.crop == 'centre_first')
        num_crops = regions.boxes[..., 0].numel() // len(samples) if self._out_type == 'crops' else 0
        for number, sample in enumerate(samples):
            passes = first + crop * num_crops * (number in encoded)
            sample.set_field(passes, 'passes', field_type='metainfo')
            if options.crop != 'always':
                sample.set_field(number in encoded, 'crop_encoded', field_type='metainfo')
        return self.show_regions(samples, regions)

    def _count_passes(self, inputs: Tensor) -> tuple[float, float]:
        """Patches of the first pass, and of a crop, as shares of those of an image of the network's size."""
        patch_size = token_layout(self.backbone).patch_size
        delivered = inputs.shape[-2], inputs.shape[-1]
        network = self.second_look.network_size(delivered)
        sizes = self.second_look.first_size(delivered), getattr(self.neck, 'crop_size', None) or network
        whole, first, crop = (prod(patch_grid(size, patch_size)) for size in (network, *sizes))
        return first / whole, crop / whole

    def show_regions(self, samples: list[DataSample], regions: SelectedRegions) -> list[DataSample]:
        """Leave on each sample where the model looked: the fields of :meth:`predict` that are not the head's."""
        maps = regions.scores.unflatten(1, regions.grid)
        boxes = regions.boxes.float()
        boxes = boxes[:, None] if boxes.dim() == 2 else boxes
        for sample, of_image, similarity_map in zip(samples, boxes, maps):
            sample.set_field(of_image[0], 'selected_box')
            sample.set_field(similarity_map, 'similarity_map')
            sample.set_field(self.layout.patch_size, 'patch_size', field_type='metainfo')
            if len(of_image) > 1:
                sample.set_field(of_image, 'selected_boxes')
        return samples


def annotated_boxes(data_samples: list[DataSample] | None, device: torch.device) -> Tensor | None:
    """Box around each image's ``gt_bboxes``, (n, 4) in pixels, float32 (B, 4); None if an image has no box."""
    if not data_samples or not all('gt_bboxes' in sample for sample in data_samples):
        return None
    boxes = [torch.as_tensor(sample.gt_bboxes, dtype=torch.float32).reshape(-1, 4) for sample in data_samples]
    if any(len(box) == 0 for box in boxes):
        return None
    enclosing = [torch.cat([box[:, :2].amin(dim=0), box[:, 2:].amax(dim=0)]) for box in boxes]
    return torch.stack(enclosing).to(device)
