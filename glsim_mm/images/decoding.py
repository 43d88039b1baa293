"""Image files of any common kind as 8-bit BGR."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image, ImageOps

_JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_PNG_START, _PNG_END = b'\x89PNG', b'IEND\xaeB`\x82'
# What Pillow's decoders raise on damaged files, besides OSError.
_PILLOW_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    MemoryError,
    AttributeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class UnreadableImageError(ValueError):
    """The bytes are no image, or only a part of one."""


def decode_image(content: bytes) -> np.ndarray:
    """Decode an image file: turned as its EXIF data says, the first frame of animations, transparency dropped.

    Args:
        content: The file: JPEG (CMYK too), PNG, GIF, WebP, BMP, TIFF or whatever else OpenCV or Pillow read, with 1 to
            4 channels of 1, 8 or 16 bits.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        UnreadableImageError: If the content is empty, damaged, cut off or no image.
    """
    if not content:
        raise UnreadableImageError('the file is empty')
    # OpenCV fills the missing part of a file that was cut off with grey; Pillow tells.
    image = None if _is_cut_off(content) else _decode_with_opencv(content)
    return _decode_with_pillow(content) if image is None else image


def _is_cut_off(content: bytes) -> bool:
    """Whether a JPEG or PNG file does not end as such files do; bytes after the end make Pillow decide too."""
    if content.startswith(_JPEG_START):
        return not content.endswith(_JPEG_END)
    return content.startswith(_PNG_START) and not content.endswith(_PNG_END)


def _decode_with_opencv(content: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # e.g. more pixels than OpenCV allows
        return None


def _decode_with_pillow(content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            pixels = np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except _PILLOW_ERRORS as error:
        raise UnreadableImageError(' '.join(str(error).split()) or type(error).__name__) from error
    return np.ascontiguousarray(pixels[..., ::-1])


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith('I'):  # 16 bits, which convert() would clip
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert('RGB')
    return image.convert('RGB')
