"""How the tokens of a ViT lie on the image, and tokens as feature maps for detectors and segmenters."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from mmengine.utils import to_2tuple
from mmpretrain.models.peft import LoRAModel
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...errors import GLSimError
from ...ops import global_local_similarity, window_attention


class TokenLayout(NamedTuple):
    """How a raw token sequence (B, num_extra_tokens + N, C) maps to the image.

    Attributes:
        patch_size: Patch height and width in pixels.
        num_extra_tokens: Tokens before the first patch token: the CLS token, then any registers. At least 1.

    Example::

        token_layout(model.backbone).patch_size  # (16, 16)
    """

    patch_size: tuple[int, int]
    num_extra_tokens: int


def unwrap_encoder(backbone: nn.Module) -> nn.Module:
    """The encoder in mmpretrain's ``LoRAModel``, which hides the modules of what it wraps, or the backbone itself."""
    while isinstance(backbone, LoRAModel):
        backbone = backbone.module
    return backbone


def token_layout(backbone: nn.Module) -> TokenLayout:
    """Read patch size and number of leading tokens off a backbone of this project or a token backbone of mmpretrain.

    The backbone, or the one that ``LoRAModel`` wraps, has ``num_extra_tokens`` and either ``patch_size`` or, as every
    ViT of mmpretrain, a ``patch_embed.projection`` convolution. Any other, or one without raw tokens or CLS token, is a
    :class:`GLSimError`.
    """
    backbone = unwrap_encoder(backbone)
    name = type(backbone).__name__
    out_type = getattr(backbone, 'out_type', 'raw')
    if out_type != 'raw':
        raise GLSimError(f"GLSimClassifier needs all tokens of {name}: set out_type='raw' (it is {out_type!r}).")
    num_extra_tokens = getattr(backbone, 'num_extra_tokens', None)
    patch_size = getattr(backbone, 'patch_size', None)
    if patch_size is None:
        projection = getattr(getattr(backbone, 'patch_embed', None), 'projection', None)
        patch_size = getattr(projection, 'stride', None)
    if num_extra_tokens is None or patch_size is None:
        raise GLSimError(
            f'{name} is not a token backbone: GLSimClassifier needs a plain ViT such as GLSimViT, TimmViT or one of '
            "mmpretrain's with out_type='raw'."
        )
    if num_extra_tokens < 1:
        raise GLSimError(f'{name} has no CLS token to compare patches with: use a plain ViT with with_cls_token=True.')
    height, width = to_2tuple(patch_size)
    return TokenLayout((int(height), int(width)), int(num_extra_tokens))


def native_size(backbone: nn.Module) -> tuple[int, int] | None:
    """Height and width in pixels for which a backbone has positions; None where it does not say."""
    encoder = unwrap_encoder(backbone)
    embedding = getattr(getattr(encoder, 'model', None), 'patch_embed', encoder)  # a model of timm
    size = getattr(embedding, 'img_size', None)
    return None if size is None else to_2tuple(size)


def check_image_size(image_size: tuple[int, int], patch_size: tuple[int, int]) -> None:
    """Raise :class:`GLSimError` for an image that does not fill one patch; sizes are height and width in pixels."""
    if image_size[0] < patch_size[0] or image_size[1] < patch_size[1]:
        raise GLSimError(
            f'An image of {image_size[0]}x{image_size[1]} pixels is smaller than one patch of '
            f'{patch_size[0]}x{patch_size[1]}: resize images to at least one patch in the pipeline.'
        )


def tokens_to_map(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patch tokens (B, h * w, C), row by row, as an image (B, C, h, w)."""
    return patches.transpose(1, 2).unflatten(2, grid)


def similarity_map(cls_token: Tensor, patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cosine similarity of the CLS token (B, C) with patch tokens (B, h * w, C) as an image, float32 (B, 1, h, w).

    Both come after the encoder's final norm (arXiv 2407.12891, section 3.2). No gradient flows through it.
    """
    scores = global_local_similarity(cls_token.detach(), patches.detach())
    return scores.unflatten(1, (1, *grid))


def evenly_spaced(num_layers: int, count: int = 4) -> tuple[int, ...]:
    """The last layer of each of ``count`` equal groups of layers, as ViTDet places its global attention."""
    return tuple(sorted({max(0, round(num_layers * (i + 1) / count) - 1) for i in range(count)}))


def windowed_layer(
    layer: nn.Module, x: Tensor, grid: tuple[int, int], window_size: int, num_extra_tokens: int
) -> Tensor:
    """One encoder layer, (B, P0 + h * w, C) in and out, whose patches attend inside windows.

    The layer is called whole, so that its hooks fire and wrapped parts of it run; see
    :func:`glsim_mm.ops.window_attention`.
    """
    with _WindowedAttention(grid, window_size, num_extra_tokens):
        return layer(x)


class _WindowedAttention(TorchFunctionMode):
    """Puts attention inside windows in the place of ``F.scaled_dot_product_attention``, for this thread alone."""

    def __init__(self, grid: tuple[int, int], window_size: int, num_extra_tokens: int) -> None:
        super().__init__()
        self.windows = grid, window_size, num_extra_tokens

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            query, key, value = args
            return window_attention(query, key, value, *self.windows, kwargs.get('dropout_p', 0.0))
        return func(*args, **kwargs)


def check_frozen_stages(frozen_stages: int, num_layers: int) -> None:
    """Raise ``ValueError`` unless a backbone of so many layers can freeze this many of them; -1 is none."""
    if not -1 <= frozen_stages <= num_layers:
        raise ValueError(f'frozen_stages must be -1 to {num_layers}, the number of layers, got {frozen_stages}')


def check_out_indices(out_indices: int | Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Indices of layers, one or several, as ascending numbers from 0; negative ones count from the back."""
    given = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    indices = tuple(index + num_layers if index < 0 else index for index in given)
    if not indices or any(not 0 <= index < num_layers for index in indices) or list(indices) != sorted(set(indices)):
        raise ValueError(f'out_indices must ascend and lie in the {num_layers} layers, got {given}')
    return indices
