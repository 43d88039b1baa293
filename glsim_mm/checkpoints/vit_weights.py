"""A Vision Transformer's weights under timm's names, the form in which all layouts meet."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import GLSimError

_BLOCK = re.compile(r'blocks\.(\d+)\.(.+)')
_STEM = ('patch_embed.proj.weight',)
_IN_EVERY_BLOCK = ('norm1.weight', 'attn.proj.weight', 'norm2.weight', 'mlp.fc2.weight')
_CHANNELS_PER_HEAD = 64
_HEADS = {1280: 16, 1408: 16}  # ViT-H and ViT-g, the two of the literature whose heads are not 64 wide


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

    Attributes:
        num_heads: A guess: C / 64 (16 for ViT-H and ViT-g), which weights cannot tell.
        feedforward_channels: Width of the MLP's hidden layer.
        patch_size: Height and width in pixels.
        grid: Rows and columns of the position embedding; None if it has none, or if its length is no square.
        has_pre_norm: Whether there is a LayerNorm before the first block (CLIP).
        has_qkv_bias: Whether queries and values have a bias.
        is_gated: Whether the MLP is a SwiGLU.
        num_classes: Outputs of the linear classifier, 0 without one.
    """

    embed_dims: int
    num_layers: int
    num_heads: int
    feedforward_channels: int
    patch_size: tuple[int, int]
    grid: tuple[int, int] | None
    num_registers: int
    has_cls_token: bool
    has_layer_scale: bool
    has_pre_norm: bool
    has_patch_bias: bool
    has_qkv_bias: bool
    is_gated: bool
    num_classes: int


def describe(tensors: Mapping[str, Tensor]) -> VitDescription:
    """Read the architecture off the shapes of an encoder's weights.

    Args:
        tensors: Weights under timm's names.

    Raises:
        GLSimError: If a tensor is missing; the sentence names it, not the file.
    """
    num_layers = check_blocks(tensors)
    patches = tensors['patch_embed.proj.weight']
    hidden, gated = _hidden_width(tensors)
    num_registers = tensors['reg_token'].shape[1] if 'reg_token' in tensors else 0
    has_cls_token = 'cls_token' in tensors
    embed_dims = int(patches.shape[0])
    head = tensors.get('head.weight')
    return VitDescription(
        embed_dims=embed_dims,
        num_layers=num_layers,
        num_heads=_HEADS.get(embed_dims, max(1, embed_dims // _CHANNELS_PER_HEAD)),
        feedforward_channels=hidden,
        patch_size=(int(patches.shape[-2]), int(patches.shape[-1])),
        grid=_square_grid(tensors, has_cls_token, num_registers),
        num_registers=num_registers,
        has_cls_token=has_cls_token,
        has_layer_scale='blocks.0.ls1.gamma' in tensors or 'blocks.0.gamma_1' in tensors,
        has_pre_norm='norm_pre.weight' in tensors,
        has_patch_bias='patch_embed.proj.bias' in tensors,
        has_qkv_bias='blocks.0.attn.qkv.bias' in tensors or 'blocks.0.attn.q_bias' in tensors,
        is_gated=gated,
        num_classes=0 if head is None else int(head.shape[0]),
    )


def position_tokens(num_tokens: int, has_cls_token: bool, num_registers: int) -> tuple[int, tuple[int, int] | None]:
    """How many leading entries of a position embedding are no patches, and the grid of the rest.

    timm stores positions with or without the CLS token's and the registers', and says nowhere which.

    Args:
        num_tokens: Length of the position embedding.
        has_cls_token: Whether the model has a CLS token.
        num_registers: Register tokens of the model.

    Returns:
        Leading entries and the square grid; without a square the CLS token's alone and None.
    """
    for num_leading in dict.fromkeys((int(has_cls_token), 0, int(has_cls_token) + num_registers)):
        side = math.isqrt(max(0, num_tokens - num_leading))
        if side and side * side == num_tokens - num_leading:
            return num_leading, (side, side)
    return int(has_cls_token), None


def with_cls_position(tensors: Mapping[str, Tensor]) -> Tensor:
    """Position embedding (1, 1 + N, C) of a model with a CLS token, which adds nothing to one that had no position."""
    positions = tensors['pos_embed']
    num_leading, grid = position_tokens(positions.shape[1], True, 0)
    if grid is None or num_leading == 1:
        return positions
    return torch.cat([torch.zeros_like(tensors['cls_token']), positions], dim=1)


def check_blocks(tensors: Mapping[str, Tensor]) -> int:
    """Check that stem, final norm and blocks are there, and each block holds what any of them holds.

    Args:
        tensors: Weights under timm's names.

    Returns:
        Number of blocks.

    Raises:
        GLSimError: If a tensor is missing.
    """
    found = [match for match in map(_BLOCK.fullmatch, tensors) if match]
    if not found:
        raise GLSimError('the weights hold no blocks of a Vision Transformer; get the file of a plain ViT')
    indices = {int(match[1]) for match in found}
    num_layers = len(indices)
    gap = next((i for i in range(num_layers) if i not in indices), None)
    if gap is not None:  # told before any list is as long as a damaged file's largest number
        raise GLSimError(f"the weights lack blocks.{gap} (in timm's names); get the complete file")
    suffixes = dict.fromkeys([*_IN_EVERY_BLOCK, *(match[2] for match in found)])
    wanted = [*_STEM, *(f'blocks.{i}.{suffix}' for i in range(num_layers) for suffix in suffixes)]
    missing = [name for name in wanted if name not in tensors]
    if 'norm.weight' not in tensors and 'fc_norm.weight' not in tensors:
        missing.append('norm.weight')
    if missing:
        raise GLSimError(f"the weights lack {_name_some(missing)} (in timm's names); get the complete file")
    return num_layers


def _hidden_width(tensors: Mapping[str, Tensor]) -> tuple[int, bool]:
    """Width of the MLP's hidden layer, and whether it is gated."""
    hidden = int(tensors['blocks.0.mlp.fc2.weight'].shape[1])
    first = tensors.get('blocks.0.mlp.fc1.weight')
    return hidden, first is None or int(first.shape[0]) == 2 * hidden


def _square_grid(tensors: Mapping[str, Tensor], has_cls_token: bool, num_registers: int) -> tuple[int, int] | None:
    if 'pos_embed' not in tensors:
        return None
    return position_tokens(tensors['pos_embed'].shape[1], has_cls_token, num_registers)[1]


def _name_some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f'{names[0]} and {len(names) - 1} more tensors'


MODES = ('bicubic', 'bilinear')


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
        num_leading: Entries before the first patch. Defaults to 1, the CLS token's.
        mode: ``'bicubic'`` with anti-aliasing, as timm does on loading, or ``'bilinear'`` without, as ``GLSimViT``
            does.

    Returns:
        (1, ``num_leading`` + rows * columns, C), the dtype of ``positions``.

    Raises:
        ValueError: If ``mode`` is unknown.
        GLSimError: If ``positions`` do not have that grid.
    """
    if mode not in MODES:
        raise ValueError(f'mode must be one of {", ".join(MODES)}, got {mode!r}')
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
