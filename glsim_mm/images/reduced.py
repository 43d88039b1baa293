"""JPEG files decoded at a half, a quarter or an eighth of their size, which their format makes cheap."""

import io
from functools import cache
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ..errors import GLSimError
from .decoding import decode_image

DECODERS = ('opencv', 'turbojpeg')
_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_ORIENTATION = 0x0112  # EXIF tag
_TURNED = (5, 6, 7, 8)  # its values that exchange width and height


def decode_reduced(content: bytes, min_side: int, decoder: str = 'opencv') -> tuple[np.ndarray, tuple[int, int]]:
    """Decode an image file, a JPEG at the smallest size that leaves both sides long enough.

    libjpeg scales in the cosine transform, so that most pixels are never made. A reduced image is close to the mean
    over blocks of pixels, and differs a little from a full one that is resized.

    Args:
        content: The file, see :func:`glsim_mm.images.decoding.decode_image`.
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
    if whole is not None and content.endswith(b'\xff\xd9'):
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


def _decode(content: bytes, factor: int, decoder: str) -> np.ndarray | None:
    try:
        if decoder == 'turbojpeg':
            library, bgr = _turbojpeg()
            return library.decode(content, bgr, scaling_factor=(1, factor))
        return cv2.imdecode(np.frombuffer(content, np.uint8), _FLAGS[factor])
    except (OSError, ValueError, cv2.error):  # Pillow tells what is wrong
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
