"""Files of weights from one project's names to another's."""

import argparse
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from torch import Tensor

from ..errors import GLSimError
from .addresses import load_whole, parse_address, read_address, read_backbone
from .authors_config import official_config, official_settings
from .authors_names import to_official
from .publishing import check_target, replace_with, write_checkpoint
from .vit_weights import position_tokens, resize_position_embedding

TARGETS = ('mmpretrain', 'timm', 'glsim')


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

    Returns:
        What was done.

    Raises:
        GLSimError: If the source cannot be read, or there is no place for it in the target's layout.
    """
    if to not in TARGETS:
        raise ValueError(f'to must be one of {", ".join(TARGETS)}, got {to!r}')
    target = check_target(target)
    address = _with_layout(source, layout)
    if to == 'timm':
        return _convert_to_timm(address, target, img_size, mode, keep_head)
    checkpoint = load_whole(address)
    state_dict, meta = dict(checkpoint['state_dict']), dict(checkpoint['meta'])
    if img_size is not None:
        state_dict = _resized(
            state_dict, 'backbone.pos_embed', 'backbone.patch_embed.projection.weight', img_size, mode
        )
    left_out = list(meta.pop('left_out', ()))
    if not keep_head:
        left_out += [name for name in state_dict if name.startswith('head.')]
        state_dict = {name: tensor for name, tensor in state_dict.items() if not name.startswith('head.')}
    if to == 'glsim':
        return _write_glsim(dict(checkpoint, state_dict=state_dict), target, meta, left_out, model)
    write_checkpoint(target, state_dict, meta, checkpoint['unread'])
    return Converted(target, meta['layout'], len(state_dict), left_out, meta)


def write_official_config(source: str, target: str | Path, layout: str = 'glsim') -> Path:
    """Write the config of one of the authors' GLSim checkpoints.

    Args:
        source: The checkpoint.
        target: ``.py`` file.
        layout: Its layout.

    Returns:
        The file.

    Raises:
        GLSimError: If the checkpoint is none of the authors', or the file cannot be written.
    """
    if layout != 'glsim':
        raise GLSimError(
            f"{source} is in {layout} layout: only the authors' GLSim checkpoints say how to build a model"
        )
    checkpoint = read_address(source)
    tensors = {name.removeprefix('model.'): tensor for name, tensor in checkpoint.tensors.items()}
    text = Config(official_config(checkpoint.settings, tensors)).pretty_text
    return replace_with(Path(target), lambda partial: partial.write_text(text, encoding='utf-8'))


def _with_layout(source: str, layout: str | None) -> str:
    """The address with the layout in it."""
    if layout is None:
        return source
    parsed = parse_address(source)
    if parsed is None:
        raise GLSimError(f'{source} has a scheme already; download the file and give its path')
    return f'{layout}://{parsed.target}'


def _convert_to_timm(
    address: str, target: Path, img_size: tuple[int, int] | None, mode: str, keep_head: bool
) -> Converted:
    weights = read_backbone(address)
    tensors = dict(weights.tensors)
    if img_size is not None:
        if 'pos_embed' not in tensors:
            raise GLSimError(f'{address} has no position embedding to resize; leave the image size out')
        tensors = _resized(tensors, 'pos_embed', 'patch_embed.proj.weight', img_size, mode)
    dropped = [] if keep_head else [name for name in tensors if name.startswith('head.')]
    tensors = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    meta = dict(layout=weights.layout, source=address)
    if target.suffix == '.pth':  # timm's own files hold nothing but tensors
        replace_with(target, lambda partial: partial.write_bytes(_saved(tensors)))
    else:
        write_checkpoint(target, tensors)
    return Converted(target, weights.layout, len(tensors), [*weights.left_out, *dropped], meta)


def _write_glsim(
    checkpoint: Mapping[str, Any], target: Path, meta: dict, left_out: list[str], model: Mapping[str, Any] | None
) -> Converted:
    named = {**to_official(checkpoint['state_dict']), **(checkpoint.get('unread') or {})}
    tensors = {f'model.{name}': tensor for name, tensor in named.items()}
    settings = meta.get('settings')
    model = model or meta.get('model')
    if not settings:
        if not isinstance(model, Mapping):
            raise GLSimError(
                "the authors' layout needs O and similarity, which weights do not tell; give the config of the model"
            )
        settings = official_settings(model, tensors)
    meta = dict(layout=meta['layout'], source=meta['source'], settings=dict(settings))
    if target.suffix == '.pth':
        content = dict(config=argparse.Namespace(**settings), model=tensors)
        replace_with(target, lambda partial: partial.write_bytes(_saved(content)))
    else:
        write_checkpoint(target, tensors, meta)
    return Converted(target, meta['layout'], len(tensors), left_out, meta)


def _saved(content: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save({name: _contiguous(value) for name, value in content.items()}, buffer)
    return buffer.getvalue()


def _contiguous(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone().contiguous()  # a view would be saved with all of its storage
    return {name: _contiguous(item) for name, item in value.items()} if isinstance(value, dict) else value


def _resized(
    tensors: dict[str, Tensor], name: str, patches: str, img_size: tuple[int, int], mode: str
) -> dict[str, Tensor]:
    """The tensors with the position embedding of another image size."""
    positions, (height, width) = tensors[name], tensors[patches].shape[-2:]
    if img_size[0] % height or img_size[1] % width:
        raise GLSimError(
            f'{img_size[0]}x{img_size[1]} pixels are no whole number of patches of {height}x{width}; choose multiples'
        )
    num_leading, grid = position_tokens(positions.shape[1], True, 0)
    if grid is None:
        raise GLSimError(f'{name} has {positions.shape[1]} entries, no square grid; it cannot be resized')
    new_grid = (img_size[0] // height, img_size[1] // width)
    return dict(tensors, **{name: resize_position_embedding(positions, grid, new_grid, num_leading, mode)})
