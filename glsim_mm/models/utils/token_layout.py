"""What a selector must know of a backbone's token sequence."""

from typing import NamedTuple

from torch import nn

from ...errors import GLSimError


class TokenLayout(NamedTuple):
    """How a raw token sequence (B, num_extra_tokens + N, C) maps to the image.

    Attributes:
        patch_size: Patch height and width in pixels.
        num_extra_tokens: Tokens before the first patch token: the CLS token, then any registers. At least 1.
    """

    patch_size: tuple[int, int]
    num_extra_tokens: int


def token_layout(backbone: nn.Module) -> TokenLayout:
    """Read the layout off a backbone of this project or a token backbone of mmpretrain.

    Args:
        backbone: Has ``num_extra_tokens`` and either ``patch_size`` or a ``patch_embed.projection`` convolution, as
            every ViT of mmpretrain has.

    Returns:
        Patch size and number of leading tokens.

    Raises:
        GLSimError: If the backbone does not return raw tokens with a CLS token and equal patches.
    """
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
    return TokenLayout(_pair(patch_size), int(num_extra_tokens))


def check_image_size(image_size: tuple[int, int], patch_size: tuple[int, int]) -> None:
    """Refuse an image that does not fill one patch.

    Args:
        image_size: Height and width in pixels.
        patch_size: Patch height and width in pixels.

    Raises:
        GLSimError: If either side of the image is smaller than the patch.
    """
    if image_size[0] < patch_size[0] or image_size[1] < patch_size[1]:
        raise GLSimError(
            f'An image of {image_size[0]}x{image_size[1]} pixels is smaller than one patch of '
            f'{patch_size[0]}x{patch_size[1]}: resize images to at least one patch in the pipeline.'
        )


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
