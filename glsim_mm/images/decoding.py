"""Image files of any common kind as 8-bit BGR, JPEG files also at a half, a quarter or an eighth of their size.

Training, statistics, predictions and search all read files with these functions, so they agree on what is readable.
"""

import io
import logging
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import GLSimError, one_line
from .photo_folders import INSTALL_HEIF

LOGGER = logging.getLogger('glsim_mm.images')

MAX_PIXELS = 1 << 28
"""Pixels of the largest image that is decoded, 268 million: those of any phone, 768 MiB as 8-bit BGR."""

MAX_ASPECT = 500
"""The largest ratio of sides: enlarging the short side of a longer image would make it huge."""

WHITE = (255, 255, 255)
NOT_AN_IMAGE = 'not an image, or of a format that Pillow does not know'

# Pillow's own limit, one per process, is below the 200 megapixels of some phones; read_header applies ours.
if Image.MAX_IMAGE_PIXELS is not None:
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, 2 * MAX_PIXELS)

_PNG_START, _PNG_END = b'\x89PNG', b'IEND\xaeB`\x82'
_HEIF_START = b'ftyp'
_HEIF_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')
_JPEG_END = b'\xff\xd9'
_JPEG_MARKER = re.compile(rb'\xff+([^\x00\xd0-\xd7\xff])')  # neither a stuffed byte nor a restart of the scan
_JPEG_SCAN = 0xDA
_JPEG_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_PROGRESSIVE_FRAMES = (0xC2, 0xCA)
_JPEG_KINDS = ('JPEG', 'MPO')
_JPEG_GREY = 128  # of the blocks for which a JPEG file has no data
_FILLER = bytes(range(1, 250)) * 4  # taken for data by a scan that lacks some, and ignored by one that is complete
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
    1: cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_ORIENTATION = 0x0112  # EXIF tag
_TURNED = (5, 6, 7, 8)  # its values that exchange width and height


class UnreadableImageError(ValueError):
    """A file, or its bytes, cannot be used as an image; the message says why, without the path."""


class ImageHeader(NamedTuple):
    """What an image file says of itself before it is decoded.

    Attributes:
        kind: Pillow's name of the format.
        mode: Pillow's name of the kind of pixels.
        shape: Height and width in pixels, turned as the EXIF data says.
        is_turned: Whether the pixels are stored in another orientation.
        is_transparent: Whether pixels can be transparent.
        stored_shape: Height and width as the pixels are stored, before they are turned.
    """

    kind: str
    mode: str
    shape: tuple[int, int]
    is_turned: bool
    is_transparent: bool
    stored_shape: tuple[int, int]


def read_header(file: str | Path | BinaryIO, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read the header of an image file.

    Raises:
        UnreadableImageError: If it states more pixels than ``max_pixels``, or sides of very different length.
        OSError: If there is no such file, or Pillow does not know its format; or another of :data:`PILLOW_ERRORS`.
    """
    try:
        with open_photo(file) as image:
            width, height = image.size
            _check_size(width, height, max_pixels)
            orientation = read_exif_data(image).get(_ORIENTATION, 1)
            is_transparent = _is_transparent(image)
            kind, mode = image.format or '', image.mode
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError(str(error).partition(',')[0]) from error
    shape = (width, height) if orientation in _TURNED else (height, width)
    return ImageHeader(kind, mode, shape, orientation != 1, is_transparent, (height, width))


def decode_image(content: bytes, max_pixels: int = MAX_PIXELS, background: Sequence[int] = WHITE) -> np.ndarray:
    """Decode an image file: turned as its EXIF data says, and the first frame of animations.

    ::

        pixels = decode_image(Path('wren.png').read_bytes(), background=(128, 128, 128))

    Args:
        content: The file: JPEG (CMYK too), PNG, GIF, WebP, BMP, TIFF or whatever else OpenCV or Pillow read, with 1 to
            4 channels. Channels of 16 bits or floats are scaled by their range: that of the least of 8, 10, 12, 14 and
            16 bits that holds all values, or 0 to 1, 255 or 65535, or else from the least to the greatest value.
        max_pixels: Files with more are refused before they are decoded.
        background: Red, green and blue, 0 to 255, behind transparent pixels.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        UnreadableImageError: If the content is empty, damaged, cut off, too large or no image.
    """
    return _decode_file(content, 0, 'opencv', max_pixels, background)[0]


def decode_reduced(
    content: bytes, min_side: int, decoder: str = 'opencv', background: Sequence[int] = WHITE
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode an image file, a JPEG at the smallest size that leaves both sides long enough.

    libjpeg scales in the cosine transform, so that most pixels are never made. A reduced image is close to the mean
    over blocks of pixels, and differs a little from a full one that is resized.

    Args:
        content: The file, see :func:`decode_image`.
        min_side: Least height and width in pixels after reduction; 0 never reduces.
        decoder: ``'opencv'`` or ``'turbojpeg'``, which gives the same pixels.
        background: See :func:`decode_image`.

    Returns:
        (h, w, 3) uint8, BGR, upright; and height and width of the whole image.

    Raises:
        UnreadableImageError: If the content is empty, damaged, cut off, too large or no image.
        GLSimError: If TurboJPEG is asked for and not installed.
    """
    return _decode_file(content, min_side, decoder, MAX_PIXELS, background)


def describe_error(error: Exception) -> str:
    """Why a file cannot be used, without its name, from one of :data:`PILLOW_ERRORS`."""
    if isinstance(error, MemoryError):
        return 'not enough memory'
    if isinstance(error, UnidentifiedImageError):  # whose message names a stream
        return NOT_AN_IMAGE
    return getattr(error, 'strerror', None) or one_line(error) or type(error).__name__


def compose(pixels: np.ndarray, background: Sequence[int] = WHITE) -> np.ndarray:
    """Lay pixels (H, W, 4) uint8 BGRA on a background of red, green and blue; (H, W, 3) uint8 BGR."""
    alpha = pixels[..., 3:].astype(np.uint16)
    behind = np.array(background[::-1], np.uint16)
    return ((pixels[..., :3] * alpha + behind * (255 - alpha) + 127) // 255).astype(np.uint8)


def image_to_bgr(image: Image.Image, background: Sequence[int] = WHITE) -> np.ndarray:
    """A Pillow image as :func:`decode_image` gives that of a file."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(('I', 'F')):
        return np.repeat(_to_eight_bits(np.asarray(image))[..., None], 3, axis=2)
    if _is_transparent(image):
        return compose(np.asarray(image.convert('RGBA'))[..., [2, 1, 0, 3]], background)
    return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])


def check_decoder(decoder: str) -> None:
    """Raise :class:`GLSimError` unless ``decoder`` is one of :data:`DECODERS` and installed."""
    if decoder not in DECODERS:
        raise GLSimError(f'LoadImage: decoder must be one of {", ".join(DECODERS)}, got {decoder!r}')
    if decoder == 'turbojpeg':
        _turbojpeg()


def open_photo(file: str | Path | BinaryIO) -> Image.Image:
    """Open a file with Pillow; HEIC needs another package, which is loaded when the first such file comes.

    Raises:
        UnreadableImageError: If that package is not there.
        OSError: If there is no such file, or Pillow does not know its format; or another of :data:`PILLOW_ERRORS`.
    """
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if not _is_heif(file):
            raise
        _register_heif()
    try:
        return Image.open(file)
    except UnidentifiedImageError as error:
        raise UnreadableImageError('a HEIC file that is damaged, or has pictures of an unknown kind') from error


def _is_heif(file: str | Path | BinaryIO) -> bool:
    """Whether a file is HEIC or another kind of HEIF, whatever its ending."""
    if isinstance(file, (str, Path)):
        with open(file, 'rb') as opened:
            start = opened.read(12)
    else:
        file.seek(0)
        start = file.read(12)
        file.seek(0)
    return start[4:8] == _HEIF_START and start[8:12] in _HEIF_BRANDS


@cache
def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError:
        raise UnreadableImageError(f'a HEIC file; to read them: {INSTALL_HEIF}') from None
    register_heif_opener()


def read_exif_data(image: Image.Image) -> Image.Exif:
    """EXIF data of an opened file, as far as it stands before the picture."""
    if image.format != 'PNG':
        return image.getexif()
    exif = Image.Exif()  # getexif of a PNG decodes the whole picture, in search of data behind it
    exif.load(image.info.get('exif', b''))
    return exif


def _is_transparent(image: Image.Image) -> bool:
    return 'transparency' in image.info or image.getbands()[-1] in 'Aa'


def check_background(background: Sequence[int]) -> tuple[int, int, int]:
    """A background as a tuple; :class:`GLSimError` unless it is three whole numbers of 0 to 255."""
    values = tuple(background) if isinstance(background, Sequence) else ()
    if len(values) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in values):
        raise GLSimError(f'LoadImage: background must be red, green and blue of 0 to 255, got {background!r}')
    return values


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UnreadableImageError(f'{width} x {height} pixels are more than the limit of {max_pixels}')
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UnreadableImageError(f'of {width} x {height} pixels, one side is over {MAX_ASPECT} times the other')


def _decode_file(
    content: bytes, min_side: int, decoder: str, max_pixels: int, background: Sequence[int]
) -> tuple[np.ndarray, tuple[int, int]]:
    """An image, and height and width that it has unless it is reduced."""
    if not content:
        raise UnreadableImageError('the file is empty')
    try:
        header = read_header(io.BytesIO(content), max_pixels)
    except UnreadableImageError:
        raise
    except PILLOW_ERRORS:  # the decoders say what is wrong, or know the format
        header = ImageHeader('', '', (0, 0), False, False, (0, 0))
    image = None
    if header.kind in _JPEG_KINDS:
        factor = _factor(header.shape, min_side)
        image = _decode_jpeg(content, header, factor, 'opencv' if header.is_turned else decoder)
        if image is not None and factor > 1:
            return image, header.shape
    elif not header.is_transparent and not header.mode.startswith(('I', 'F')) and not _is_cut_off_png(content):
        image = _decode(content)
    if image is None:
        image = _decode_with_pillow(content, background)
    if not header.kind:
        _check_size(image.shape[1], image.shape[0], max_pixels)
    return image, image.shape[:2]


def _decode_jpeg(content: bytes, header: ImageHeader, factor: int, decoder: str) -> np.ndarray | None:
    """A JPEG file that is complete; decoders fill what is missing with grey, and say so only on standard error."""
    end = len(content) - len(_JPEG_END) if content.endswith(_JPEG_END) else _find_jpeg_end(content)
    if end is None:
        raise UnreadableImageError('the file is cut off: it has no end')
    if _lacks_scans(content):
        raise UnreadableImageError('the file is damaged: the scans that hold its fine detail are missing')
    image = _decode(content, factor, decoder)
    if image is not None:
        corners = image[:: max(1, len(image) - 1), :: max(1, image.shape[1] - 1)]
        if header.mode == 'CMYK' or (corners == _JPEG_GREY).all(axis=-1).any():
            filled = _decode(content[:end] + _FILLER + content[end:], factor, decoder)
            if filled is None or not np.array_equal(image, filled):
                raise UnreadableImageError('the file is damaged: a part of the picture is missing')
    return image


def _find_jpeg_end(content: bytes) -> int | None:
    """Where the end mark of a JPEG file stands, behind which there may be more; None if it has none."""
    return next((start for marker, start, _ in _jpeg_segments(content) if marker == _JPEG_END[1]), None)


def _lacks_scans(content: bytes) -> bool:
    """Whether a progressive JPEG file ends before the scans that refine what others began, or has only some parts."""
    components, bits_left = b'', {}
    for marker, start, end in _jpeg_segments(content):
        body = content[start + 4 : end]
        if marker in _JPEG_FRAMES:
            if marker not in _PROGRESSIVE_FRAMES:
                return False
            components = body[6::3]
        elif marker == _JPEG_SCAN and body:
            first, last, bits = body[-3:]
            places = product(body[1 : 1 + 2 * body[0] : 2], range(first, last + 1))
            bits_left.update(dict.fromkeys(places, bits & 15))
        elif marker == _JPEG_END[1]:
            break
    # Encoders may leave out fine detail of the colours that is zero, but neither the means nor the brightness.
    needed = [*product(components, (0,)), *product(components[:1], (1,))]
    return any(bits_left.values()) or any(place not in bits_left for place in needed)


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker of each segment of a JPEG file, where it stands, and the end of what it says of its own length.

    Marks inside of a segment, such as those of a preview, do not count.
    """
    position = 2
    while found := _JPEG_MARKER.search(content, position):
        marker, position = found[1][0], found.end()
        if marker not in (0x01, _JPEG_END[1]):  # which alone have no length
            position += int.from_bytes(content[position : position + 2], 'big')
        yield marker, found.end() - 2, position


def _is_cut_off_png(content: bytes) -> bool:
    """OpenCV fills the missing part of a file that was cut off; Pillow reports it, and reads on if there is more."""
    return content.startswith(_PNG_START) and not content.endswith(_PNG_END)


def _decode_with_pillow(content: bytes, background: Sequence[int]) -> np.ndarray:
    try:
        with open_photo(io.BytesIO(content)) as image:
            image.load()
            return image_to_bgr(image, background)
    except PILLOW_ERRORS as error:
        raise UnreadableImageError(describe_error(error)) from error


def _to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Values of more than 8 bits, or floats, scaled by their range, which is told once."""
    finite = values[np.isfinite(values)] if values.dtype.kind == 'f' else values
    low, high = (finite.min().item(), finite.max().item()) if finite.size else (0, 0)
    if values.dtype.kind != 'f' and low >= 0 and high < 1 << 16:
        bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 1 << bits)
        _tell_range(f'0 to {(1 << bits) - 1}')
        return (values >> (bits - 8)).astype(np.uint8)
    top = next((top for top in (1, 255, 65535) if high <= top), None) if low >= 0 else None
    if top is None:
        _tell_range('their least to their greatest value')
    else:
        low, high = 0, top
        _tell_range(f'0 to {top}')
    scaled = (np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-30)
    return np.round(255 * scaled).astype(np.uint8)


@cache
def _tell_range(values: str) -> None:
    LOGGER.warning('images with more than 8 bits per channel are scaled to 8 bits, here from the range %s', values)


def _factor(shape: tuple[int, int], min_side: int) -> int:
    """The largest reduction that leaves both sides at least ``min_side``; sides are rounded up."""
    if min_side <= 0:
        return 1
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or -(-min(shape) // factor) >= min_side)


def _decode(content: bytes, factor: int = 1, decoder: str = 'opencv') -> np.ndarray | None:
    """An image, 1, 2, 4 or 8 times smaller if it is a JPEG; None where Pillow has to say what is wrong."""
    try:
        if decoder == 'turbojpeg':
            library, bgr = _turbojpeg()
            return library.decode(content, bgr, scaling_factor=(1, factor))
        image = cv2.imdecode(np.frombuffer(content, np.uint8), _FLAGS[factor])
    except (OSError, ValueError, cv2.error):  # damaged, or more pixels than OpenCV allows
        return None
    if image is None or image.dtype == np.uint8:
        return image
    return _to_eight_bits(image)


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
