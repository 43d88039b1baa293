"""Files of all kinds with the same picture: left half red, right half blue."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 40
RED, BLUE = (250, 5, 5), (5, 5, 250)
LEEDS = {1: 'N', 2: (53.0, 47.0, 59.5), 3: 'W', 4: (1.0, 32.0, 57.0)}
"""A block of EXIF data that names a place: 53.79986 degrees north, 1.54917 degrees west."""


def two_colors(mode: str = 'RGB') -> Image.Image:
    """The picture in a mode of Pillow."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, : WIDTH // 2], pixels[:, WIDTH // 2 :] = RED, BLUE
    return Image.fromarray(pixels).convert(mode)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    """An image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def animation() -> bytes:
    """A GIF whose second frame is white."""
    frames = [Image.new('RGB', (WIDTH, HEIGHT), 'white')]
    return encode(two_colors(), 'GIF', save_all=True, append_images=frames)


def turned_by_exif() -> bytes:
    """A JPEG stored lying on its side, which says so in its EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    return encode(two_colors().transpose(Image.Transpose.ROTATE_90), 'JPEG', quality=95, subsampling=0, exif=exif)


def sixteen_bits() -> bytes:
    """A grey PNG of 16 bits: dark left half, bright right half."""
    pixels = np.full((HEIGHT, WIDTH), 10 * 256, np.uint16)
    pixels[:, WIDTH // 2 :] = 200 * 256
    return encode(Image.fromarray(pixels), 'PNG')


def photo_with_exif(base=None, dates=None, place=None, kind='JPEG', color=None) -> bytes:
    """A photo with EXIF data: tags of the first block, of the block with the dates, and of the place."""
    exif = Image.Exif()
    exif.update(base or {})
    exif.get_ifd(0x8769).update(dates or {})
    exif.get_ifd(0x8825).update(place or {})
    return encode(
        two_colors() if color is None else Image.new('RGB', (WIDTH, HEIGHT), color), kind, exif=exif.tobytes()
    )


def colored_files() -> dict[str, bytes]:
    """Red and blue in every kind of file."""
    return {
        'rgb.png': encode(two_colors(), 'PNG'),
        'rgba.png': encode(two_colors('RGBA'), 'PNG'),
        'palette.png': encode(two_colors().quantize(4, dither=Image.Dither.NONE), 'PNG'),
        'rgb.jpg': encode(two_colors(), 'JPEG', quality=95, subsampling=0),
        'cmyk.jpg': encode(two_colors('CMYK'), 'JPEG', quality=95, subsampling=0),
        'exif.jpg': turned_by_exif(),
        'animated.gif': animation(),
        'rgb.webp': encode(two_colors(), 'WEBP', lossless=True),
        'rgb.bmp': encode(two_colors(), 'BMP'),
        'rgb.tiff': encode(two_colors(), 'TIFF'),
        'with bytes after its end.jpg': encode(two_colors(), 'JPEG', quality=95, subsampling=0) + b'\0\0\0',
    }


def unreadable_files() -> dict[str, bytes]:
    """What is no image, or only a part of one."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    jpeg, png = encode(noise, 'JPEG'), encode(noise, 'PNG')
    empty_png = b'\x89PNG\r\n\x1a\n' + struct.pack('>I4sIIBBBBBI', 13, b'IHDR', 0, 0, 8, 2, 0, 0, 0, 0)
    return {
        'empty.jpg': b'',
        'text.jpg': b'<html>404 Not Found</html>',
        'cut off, then an end mark.jpg': jpeg[: len(jpeg) // 2] + b'\xff\xd9',
        'cut off, then zeros.jpg': jpeg[: len(jpeg) // 2] + bytes(len(jpeg) // 2),
        'cut off.jpg': jpeg[: len(jpeg) // 2],
        'cut off.png': png[: len(png) // 2],
        'start only.jpg': jpeg[:4],
        'no pixels.png': empty_png,
        'garbage.png': png[:40] + bytes(len(png) - 48) + png[-8:],
    }


def write_files(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write files; their paths."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]
