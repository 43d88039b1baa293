"""Predictions that encode crops only where they are needed, with one checkpoint.

The ``model`` of these functions is a :class:`GLSimClassifier`, which calls them.
"""

from typing import Any, NamedTuple

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from ...ops import centre_box, crop_and_resize
from ..necks import SelectedRegions
from .crop_policy import unsure


class LatePrediction(NamedTuple):
    """What is found of a batch of B images.

    Attributes:
        logits: (B, K).
        regions: Where the selector looked in every image, whether or not it was encoded.
        again: int64, (n,), the images of which the regions were encoded.
    """

    logits: Tensor
    regions: SelectedRegions
    again: Tensor


def predict_adaptively(model: Any, inputs: Tensor, data_samples: list[DataSample] | None) -> LatePrediction:
    """Predictions of the first pass, and of both for images of which it is not sure."""
    tokens, regions = model.select(inputs, data_samples)
    own = model.of_image(tokens)
    logits = model.head((own,))
    return _look_again(model, logits, own, tokens, regions, unsure(logits, model.test_options.threshold))


def predict_centre_first(model: Any, inputs: Tensor, data_samples: list[DataSample] | None) -> LatePrediction:
    """Predictions of image and middle, and of the region as a third view where these two disagree on the class.

    Image and middle go through the encoder in one batch where they have one size and one CLS token.
    """
    middles = _middles(model, inputs)
    tokens, middle, regions = _select_with(model, inputs, middles, data_samples)
    own = model.of_image(tokens)
    two = torch.cat([own, middle], dim=1)
    classes = [model.head((alone,)).argmax(dim=1) for alone in (own, middle)]
    again = (classes[0] != classes[1]).nonzero()[:, 0]
    return _look_again(model, model.head((two,)), two, tokens, regions, again)


def _look_again(
    model: Any, logits: Tensor, views: Tensor, tokens: Tensor, regions: SelectedRegions, again: Tensor
) -> LatePrediction:
    """Encode the regions of some images, beside the views (B, V, C) that logits (B, K) rest on."""
    if len(again):
        joining = model.joining(tokens[again], regions.indices[again], regions.crops[again])
        sequence = torch.cat([views[again], joining], dim=1)
        logits = logits.index_copy(0, again, model.head((sequence,)).to(logits.dtype))
    return LatePrediction(logits, regions, again)


def _middles(model: Any, inputs: Tensor) -> Tensor:
    """The middle of every image, (B, 3, S_h, S_w)."""
    size = inputs.shape[-2], inputs.shape[-1]
    box = torch.tensor([centre_box(size, model.test_options.share)], device=inputs.device)
    settings: dict[str, Any] = dict(size=size) | model.crop_settings(inputs)
    settings['size'] = getattr(model.neck, 'crop_size', None) or settings['size']
    return crop_and_resize(inputs, box.expand(inputs.shape[0], -1), **settings)


def _select_with(
    model: Any, inputs: Tensor, crops: Tensor, data_samples: list[DataSample] | None
) -> tuple[Tensor, Tensor, SelectedRegions]:
    """Tokens of the images, class tokens (B, 1, C) of the crops, and regions."""
    images = model.first_look(inputs)
    if model.encodes_crops_alike and images.shape == crops.shape and not model.neck.needs_attention:
        tokens, of_crops = model.backbone(torch.cat([images, crops]))[-1].chunk(2)
        return tokens, model.of_image(of_crops), model.select_by(tokens, inputs, None, data_samples)
    tokens, regions = model.select(inputs, data_samples)
    return tokens, model.encode_crops(crops)[:, None], regions
