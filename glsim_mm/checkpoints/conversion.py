"""Files of weights from one project's names to another's."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from torch import Tensor

from ..errors import GLSimError
from ..output_files import write_file
from .addresses import load_whole, parse_address, read_backbone
from .authors_config import official_config, official_settings
from .authors_names import to_official
from .publishing import check_target, own_memory, write_checkpoint, write_torch
from .vit_weights import position_tokens, resize_position_embedding

_TARGETS = ('mmpretrain', 'timm', 'glsim')


class Converted(NamedTuple):
    """What a conversion did.

    >>> convert_file('dinov2_vits14_pretrain.pth', 'glsim.safetensors').left_out
    ['mask_token']

    Attributes:
        file: The file that was written.
        layout: Layout of the source.
        num_tensors: Tensors in the file.
        left_out: Names of the source's tensors that are not in the file.
        meta: What was written beside the tensors.
    """

    file: Path
    layout: str
    num_tensors: int
    left_out: list[str]
    meta: dict[str, Any]


def convert_file(
    source: str,
    target: str | Path,
    to: str = 'mmpretrain',
    layout: str | None = None,
    img_size: tuple[int, int] | None = None,
    mode: str = 'bicubic',
    keep_head: bool = True,
    model: Mapping[str, Any] | None = None,
) -> Converted:
    """Read weights of any layout and write them under other names, float32.

    Args:
        source: A path, ``SCHEME://FILE`` or ``timm://NAME``.
        target: ``.pth`` or ``.safetensors``.
        to: ``'mmpretrain'``: names of ``GLSimClassifier`` with ``GLSimViT``; ``'timm'``: the encoder, for timm and
            ``TimmViT``; ``'glsim'``: the authors' code.
        layout: Layout of the source. By default its names tell.
        img_size: Height and width in pixels to resize the position embedding for.
        mode: How: ``'bicubic'`` with anti-aliasing as timm, or ``'bilinear'`` as ``GLSimViT``.
        keep_head: Keep a linear classifier on the CLS token, if there is one.
        model: ``model`` of the config, which the authors' layout needs for O and similarity; not needed where the
            source came from the authors.

    Raises:
        GLSimError: If the source cannot be read, or there is no place for it in the target's layout.
    """
    if to not in _TARGETS:
        raise ValueError(f'to must be one of {", ".join(_TARGETS)}, got {to!r}')
    target = check_target(target)
    address = _with_layout(source, layout)
    meta: dict[str, Any]
    if to == 'timm':
        tensors, kind, left_out = read_backbone(address)
        if 'norm.weight' not in tensors and 'fc_norm.weight' not in tensors:
            raise GLSimError(
                f"{address} has no final LayerNorm, as some models of GLSim's authors, and timm's models have one; "
                'convert it to the names of this project'
            )
        meta, unread = dict(layout=kind, source=address), {}
        positions, patches = 'pos_embed', 'patch_embed.proj.weight'
    else:
        whole = load_whole(address)
        tensors, meta, unread = whole['state_dict'], whole['meta'], whole['unread']
        left_out = meta.pop('left_out', [])
        positions, patches = 'backbone.pos_embed', 'backbone.patch_embed.projection.weight'
        if meta['layout'] == 'glsim-timm':
            positions, patches = 'backbone.model.pos_embed', 'backbone.model.patch_embed.proj.weight'
    if img_size is not None:
        if positions not in tensors:
            raise GLSimError(f'{address} has no position embedding to resize; leave the image size out')
        patch_size = tuple(tensors[patches].shape[-2:])
        tensors = {**tensors, positions: _resize(tensors[positions], positions, patch_size, img_size, mode)}
        meta = _of_size(meta, img_size)
    if not keep_head:
        left_out = [*left_out, *(name for name in tensors if name.startswith('head.'))]
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith('head.')}
    if to == 'glsim':
        tensors = {f'model.{name}': tensor for name, tensor in {**to_official(tensors), **unread}.items()}
        meta = dict(layout=meta['layout'], source=meta['source'], settings=_authors_settings(tensors, meta, model))
        unread = {}
    if to == 'glsim' and target.suffix == '.pth':
        write_torch(target, dict(config=argparse.Namespace(**meta['settings']), model=own_memory(tensors)))
    elif to == 'timm' and target.suffix == '.pth':  # timm's own files hold nothing but tensors
        write_torch(target, own_memory(tensors))
    else:
        write_checkpoint(target, tensors, None if to == 'timm' else meta, unread)
    return Converted(target, meta['layout'], len(tensors), left_out, meta)


def write_official_config(done: Converted, target: str | Path) -> Path:
    """Write the config, a ``.py`` file, of one of the authors' GLSim checkpoints that was converted.

    Raises:
        GLSimError: If it was not in their layout, or the file cannot be written.
    """
    if not {'settings', 'model'} <= set(done.meta):
        raise GLSimError(
            f"{done.meta['source']} is in {done.layout} layout: only the authors' GLSim checkpoints say how to build a "
            'model'
        )
    text = Config(official_config(done.meta['settings'], done.meta['model'])).pretty_text
    return write_file(target, text)


def _of_size(meta: dict[str, Any], img_size: tuple[int, int]) -> dict[str, Any]:
    """What is written beside the tensors of a model for another image size, height and width in pixels.

    The authors' model takes square images only, and their sizes before cropping belong to the image size.
    """
    if 'model' not in meta:
        return meta
    height, width = img_size
    if height != width:
        raise GLSimError(f"the authors' models take square images, got {height}x{width}; give one side")
    model = dict(meta['model'], backbone=dict(meta['model']['backbone'], img_size=height))
    settings = dict(meta['settings'], image_size=height, resize_size=None, test_resize_size=None)
    return dict(meta, model=model, settings=settings)


def _with_layout(source: str, layout: str | None) -> str:
    """The address with the layout in it."""
    if layout is None:
        return source
    parsed = parse_address(source)
    if parsed is None:
        raise GLSimError(f'{source} has a scheme already; download the file and give its path')
    return f'{layout}://{parsed.target}'


def _authors_settings(tensors: Mapping[str, Tensor], meta: dict, model: Mapping[str, Any] | None) -> dict[str, Any]:
    """The authors' command line: the one that came with the weights, else that of the model's config."""
    model = model or meta.get('model')
    if meta.get('settings'):
        return dict(meta['settings'])
    if not isinstance(model, Mapping):
        raise GLSimError(
            "the authors' layout needs O and similarity, which weights do not tell; give the config of the model"
        )
    return official_settings(model, tensors)


def _resize(positions: Tensor, name: str, patch_size: tuple[int, ...], img_size: tuple[int, int], mode: str) -> Tensor:
    """The position embedding of another image size; sizes are height and width in pixels."""
    height, width = patch_size
    if img_size[0] % height or img_size[1] % width:
        raise GLSimError(
            f'{img_size[0]}x{img_size[1]} pixels are no whole number of patches of {height}x{width}; choose multiples'
        )
    num_leading, grid = position_tokens(positions.shape[1])
    if grid is None:
        raise GLSimError(f'{name} has {positions.shape[1]} entries, no square grid; it cannot be resized')
    new_grid = (img_size[0] // height, img_size[1] // width)
    return resize_position_embedding(positions, grid, new_grid, num_leading, mode)
