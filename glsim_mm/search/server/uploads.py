"""Photos of a request: what they may be, and how they become pixels. Nothing else of them goes further."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...images.decoding import (
    NOT_AN_IMAGE,
    PILLOW_ERRORS,
    WHITE,
    UnreadableImageError,
    decode_image,
    describe_error,
    read_header,
)
from ...images.photos import hash_content
from .settings import Settings

KINDS = {
    **dict.fromkeys(('JPEG', 'MPO'), '.jpg'),
    **dict(PNG='.png', WEBP='.webp', GIF='.gif', BMP='.bmp', TIFF='.tif', HEIF='.heic'),
}
"""Pillow's names of the formats that are taken, with the endings of their files; SVG and programs are not."""

_STARTS = (b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'GIF87a', b'GIF89a', b'BM', b'II*\0', b'MM\0*')
_TAKEN = 'JPEG, PNG, WebP, GIF, BMP, TIFF and HEIC'


class Upload(NamedTuple):
    """A photo of a request.

    Attributes:
        pixels: (H, W, 3) uint8 BGR, upright; of an animation the first frame.
        content_hash: SHA-256 of the file.
        suffix: Ending of files of its format, ``'.jpg'``.
    """

    pixels: np.ndarray
    content_hash: str
    suffix: str


def read_upload(content: bytes, settings: Settings, background: Sequence[int] = WHITE) -> Upload:
    """Decode a photo of a request; its header is looked at before anything is decoded.

    Raises:
        UnreadableImageError: If it is too large, of another format, damaged or no photo.
    """
    if len(content) > settings.max_bytes:
        raise UnreadableImageError(f'the photo has more than {settings.max_bytes >> 20} MiB: send a smaller one')
    is_webp = content[:4] == b'RIFF' and content[8:12] == b'WEBP'
    if not (content.startswith(_STARTS) or is_webp or content[4:8] == b'ftyp'):
        raise UnreadableImageError(f'this is no photo of a kind that is taken: {_TAKEN}')
    try:
        header = read_header(io.BytesIO(content), settings.max_pixels)
    except UnreadableImageError:
        raise
    except PILLOW_ERRORS as error:  # without a header, nothing says how large it is
        reason = 'it is damaged, or no photo' if describe_error(error) == NOT_AN_IMAGE else describe_error(error)
        raise UnreadableImageError(reason) from error
    if header.kind not in KINDS:
        raise UnreadableImageError(f'this is no photo of a kind that is taken: {_TAKEN}')
    pixels = decode_image(content, settings.max_pixels, background)
    return Upload(pixels, hash_content(content), KINDS[header.kind])
