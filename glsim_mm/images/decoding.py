"""Image files of any common kind as 8-bit BGR, JPEG files also at a half, a quarter or an eighth of their size."""

import io
import struct
import zlib
from functools import cache
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

from ..errors import GLSimError, one_line

_JPEG_START, _JPEG_END = b'\xff\xd8', b'\xff\xd9'
_PNG_START, _PNG_END = b'\x89PNG', b'IEND\xaeB`\x82'
# What Pillow's decoders raise on damaged files.
PILLOW_ERRORS = (
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

DECODERS = ('opencv', 'turbojpeg')
_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_ORIENTATION = 0x0112  # EXIF tag
_TURNED = (5, 6, 7, 8)  # its values that exchange width and height


class UnreadableImageError(ValueError):
    """A file, or its bytes, cannot be used as an image; the message says why, without the path."""


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
    # OpenCV fills the missing part of a file that was cut off with grey; Pillow reports it.
    image = None if _is_cut_off(content) else _decode(content)
    return _decode_with_pillow(content) if image is None else image


def decode_reduced(content: bytes, min_side: int, decoder: str = 'opencv') -> tuple[np.ndarray, tuple[int, int]]:
    """Decode an image file, a JPEG at the smallest size that leaves both sides long enough.

    libjpeg scales in the cosine transform, so that most pixels are never made. A reduced image is close to the mean
    over blocks of pixels, and differs a little from a full one that is resized.

    Args:
        content: The file, see :func:`decode_image`.
        min_side: Least height and width in pixels after reduction; 0 never reduces.
        decoder: ``'opencv'`` or ``'turbojpeg'``, which gives the same pixels.

    Returns:
        (h, w, 3) uint8, BGR, upright; and height and width of the whole image.

    Raises:
        UnreadableImageError: If the content is empty, damaged, cut off or no image.
        GLSimError: If TurboJPEG is asked for and not installed.
    """
    whole = _upright_jpeg(content) if min_side > 0 or decoder == 'turbojpeg' else None
    # A file that was cut off, or has bytes behind its end, is for decode_image to judge.
    if whole is not None and content.endswith(_JPEG_END):
        shape, is_turned = whole
        factor = _factor(shape, min_side)
        if factor > 1 or decoder == 'turbojpeg':
            image = _decode(content, factor, 'opencv' if is_turned else decoder)
            if image is not None:
                return image, shape
    image = decode_image(content)
    return image, image.shape[:2]


def check_decoder(decoder: str) -> None:
    """Raise :class:`GLSimError` unless ``decoder`` is one of :data:`DECODERS` and installed."""
    if decoder not in DECODERS:
        raise GLSimError(f'LoadImage: decoder must be one of {", ".join(DECODERS)}, got {decoder!r}')
    if decoder == 'turbojpeg':
        _turbojpeg()


def _is_cut_off(content: bytes) -> bool:
    """Whether a JPEG or PNG file does not end as such files do; bytes after the end make Pillow decide too."""
    if content.startswith(_JPEG_START):
        return not content.endswith(_JPEG_END)
    return content.startswith(_PNG_START) and not content.endswith(_PNG_END)


def _decode_with_pillow(content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return np.ascontiguousarray(np.asarray(_to_rgb(ImageOps.exif_transpose(image)))[..., ::-1])
    except MemoryError as error:
        raise UnreadableImageError('not enough memory') from error
    except PILLOW_ERRORS as error:
        raise UnreadableImageError(one_line(error) or type(error).__name__) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith('I'):  # 16 bits, which convert() would clip
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert('RGB')
    return image.convert('RGB')


def _factor(shape: tuple[int, int], min_side: int) -> int:
    """The largest reduction that leaves both sides at least ``min_side``; sides are rounded up."""
    if min_side <= 0:
        return 1
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or -(-min(shape) // factor) >= min_side)


def _upright_jpeg(content: bytes) -> tuple[tuple[int, int], bool] | None:
    """Height and width of a JPEG as it will be shown, and whether it is turned; None for other files."""
    try:
        with Image.open(io.BytesIO(content), formats=['JPEG']) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return ((width, height) if orientation in _TURNED else (height, width)), orientation != 1


def _decode(content: bytes, factor: int = 1, decoder: str = 'opencv') -> np.ndarray | None:
    """An image, 1, 2, 4 or 8 times smaller if it is a JPEG; None where Pillow has to say what is wrong."""
    try:
        if decoder == 'turbojpeg':
            library, bgr = _turbojpeg()
            return library.decode(content, bgr, scaling_factor=(1, factor))
        return cv2.imdecode(np.frombuffer(content, np.uint8), _FLAGS[factor])
    except (OSError, ValueError, cv2.error):  # damaged, or more pixels than OpenCV allows
        return None


@cache
def _turbojpeg() -> tuple[Any, int]:
    """The library, opened once per process."""
    try:
        from turbojpeg import TJPF_BGR, TurboJPEG

        return TurboJPEG(), TJPF_BGR
    except (ImportError, OSError, RuntimeError) as error:
        raise GLSimError(
            "LoadImage: decoder='turbojpeg' needs the package PyTurboJPEG and libjpeg-turbo of a matching version; "
            "install them, or use decoder='opencv', which is as fast"
        ) from error
