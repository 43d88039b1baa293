"""A Vision Transformer's weights under timm's names, the form in which all layouts meet."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import GLSimError, name_some

_BLOCK = re.compile(r'blocks\.(\d+)\.(.+)')
_IN_EVERY_BLOCK = ('norm1.weight', 'attn.proj.weight', 'norm2.weight', 'mlp.fc2.weight')
_CHANNELS_PER_HEAD = 64
_HEADS = {1280: 16, 1408: 16, 1664: 16}  # ViT-H, ViT-g and ViT-G, those of the literature whose heads are not 64 wide
_MODES = ('bicubic', 'bilinear')


class VitWeights(NamedTuple):
    """Weights of one encoder.

    >>> read_backbone('dinov2_vits14_pretrain.pth').layout
    'dinov2'

    Attributes:
        tensors: float32, names of timm's ``VisionTransformer`` (or ``Eva``, for DINOv3); a linear classifier as
            ``head.weight`` (K, C) and ``head.bias`` (K,).
        layout: Where the names came from, for example ``'dinov2'``.
        left_out: Names in the file that are no part of the encoder.
    """

    tensors: dict[str, Tensor]
    layout: str
    left_out: list[str]


class VitDescription(NamedTuple):
    """What the shapes of an encoder's weights say about it.

    >>> describe(build_vit_b16().state_dict()).embed_dims
    768
    """

    embed_dims: int
    num_layers: int
    num_heads: int  # a guess, as weights cannot tell: C / 64 (16 for ViT-H, ViT-g and ViT-G)
    feedforward_channels: int  # width of the MLP's hidden layer
    patch_size: tuple[int, int]  # height and width in pixels
    grid: tuple[int, int] | None  # rows and columns of the position embedding; None without one, or without a square
    num_registers: int
    has_cls_token: bool
    has_layer_scale: bool
    has_pre_norm: bool  # a LayerNorm before the first block (CLIP)
    has_patch_bias: bool
    has_qkv_bias: bool  # of queries and values
    is_gated: bool  # the MLP is a SwiGLU
    num_classes: int  # outputs of the linear classifier, 0 without one


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Say in the message of a :class:`GLSimError` which file it is about."""
    try:
        yield
    except GLSimError as error:
        raise GLSimError(f'{source}: {error}') from error


def describe(tensors: Mapping[str, Tensor]) -> VitDescription:
    """Read the architecture off the shapes of an encoder's weights, which have timm's names."""
    num_layers = check_blocks(tensors, needs_norm=False)
    embed_dims, *_, patch_height, patch_width = tensors['patch_embed.proj.weight'].shape
    hidden = tensors['blocks.0.mlp.fc2.weight'].shape[1]
    num_registers = tensors['reg_token'].shape[1] if 'reg_token' in tensors else 0
    has_cls_token = 'cls_token' in tensors
    grid = None
    if 'pos_embed' in tensors:
        grid = position_tokens(tensors['pos_embed'].shape[1], has_cls_token, num_registers)[1]
    return VitDescription(
        embed_dims=embed_dims,
        num_layers=num_layers,
        num_heads=_HEADS.get(embed_dims, max(1, embed_dims // _CHANNELS_PER_HEAD)),
        feedforward_channels=hidden,
        patch_size=(patch_height, patch_width),
        grid=grid,
        num_registers=num_registers,
        has_cls_token=has_cls_token,
        has_layer_scale='blocks.0.ls1.gamma' in tensors or 'blocks.0.gamma_1' in tensors,
        has_pre_norm='norm_pre.weight' in tensors,
        has_patch_bias='patch_embed.proj.bias' in tensors,
        has_qkv_bias='blocks.0.attn.qkv.bias' in tensors or 'blocks.0.attn.q_bias' in tensors,
        is_gated='blocks.0.mlp.fc1.weight' not in tensors or is_fused_gate(tensors),
        num_classes=len(tensors['head.weight']) if 'head.weight' in tensors else 0,
    )


def is_fused_gate(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the first layer of the MLPs holds a SwiGLU's gate and input in one, so that it is twice as wide."""
    first = tensors.get('blocks.0.mlp.fc1.weight')
    return first is not None and first.shape[0] == 2 * tensors['blocks.0.mlp.fc2.weight'].shape[1]


def position_tokens(
    num_tokens: int, has_cls_token: bool = True, num_registers: int = 0
) -> tuple[int, tuple[int, int] | None]:
    """How many leading entries of a position embedding are no patches, and the square grid of the rest.

    timm stores positions with or without the CLS token's and the registers', and does not say which. Without a square
    the CLS token's alone is leading, and the grid is None.
    """
    for num_leading in dict.fromkeys((int(has_cls_token), 0, int(has_cls_token) + num_registers)):
        side = math.isqrt(max(0, num_tokens - num_leading))
        if side and side * side == num_tokens - num_leading:
            return num_leading, (side, side)
    return int(has_cls_token), None


def check_blocks(tensors: Mapping[str, Tensor], needs_norm: bool = True) -> int:
    """Number of blocks, after a check that stem and final norm are there and all blocks hold the same tensors."""
    found = [match for match in map(_BLOCK.fullmatch, tensors) if match]
    if not found:
        raise GLSimError('the weights hold no blocks of a Vision Transformer; get the file of a plain ViT')
    indices = {int(match[1]) for match in found}
    num_layers = len(indices)
    gap = next((i for i in range(num_layers) if i not in indices), None)
    if gap is not None:  # told before any list is as long as a damaged file's largest number
        raise GLSimError(f"the weights lack blocks.{gap} (in timm's names); get the complete file")
    suffixes = dict.fromkeys([*_IN_EVERY_BLOCK, *(match[2] for match in found)])
    wanted = ['patch_embed.proj.weight', *(f'blocks.{i}.{suffix}' for i in range(num_layers) for suffix in suffixes)]
    missing = [name for name in wanted if name not in tensors]
    if needs_norm and 'norm.weight' not in tensors and 'fc_norm.weight' not in tensors:
        missing.append('norm.weight')
    if missing:
        raise GLSimError(f"the weights lack {name_some(missing)} (in timm's names); get the complete file")
    return num_layers


def resize_position_embedding(
    positions: Tensor,
    grid: tuple[int, int],
    new_grid: tuple[int, int],
    num_leading: int = 1,
    mode: str = 'bicubic',
) -> Tensor:
    """Interpolate the patches' positions; those of CLS token and registers are kept.

    Args:
        positions: (1, ``num_leading`` + h * w, C), patches row by row.
        grid: Rows h and columns w of ``positions``.
        new_grid: Rows and columns wanted, of any aspect ratio.
        num_leading: Entries before the first patch.
        mode: ``'bicubic'`` with anti-aliasing, as timm does on loading, or ``'bilinear'`` without, as ``GLSimViT``
            does.

    Returns:
        (1, ``num_leading`` + rows * columns, C), the dtype of ``positions``.
    """
    if mode not in _MODES:
        raise ValueError(f'mode must be one of {", ".join(_MODES)}, got {mode!r}')
    if positions.shape[1] != num_leading + grid[0] * grid[1]:
        raise GLSimError(
            f'the position embedding has {positions.shape[1] - num_leading} patches, not {grid[0]} x {grid[1]}; '
            'give the grid that it was made for'
        )
    if grid == new_grid:
        return positions
    leading, patches = positions[:, :num_leading], positions[:, num_leading:]
    image = patches.float().unflatten(1, grid).permute(0, 3, 1, 2)
    resized = functional.interpolate(image, size=new_grid, mode=mode, align_corners=False, antialias=mode == 'bicubic')
    flat = resized.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat([leading, flat], dim=1)
