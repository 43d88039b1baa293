"""Files that are no photos, or too large, are refused before they are decoded."""

import hashlib
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from counting_model import write_photo
from PIL import Image

from glsim_mm.images.decoding import read_header
from glsim_mm.images.photos import ImageItem, UnreadableImageError, read_photo
from glsim_mm.search import Encoder


def png_of(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that says it has these sides."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b'\0' * 100)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')


def gif_of(width: int, height: int) -> bytes:
    """A GIF file of one pixel that says its screen has these sides."""
    buffer = io.BytesIO()
    Image.new('P', (1, 1)).save(buffer, 'gif')
    content = bytearray(buffer.getvalue())
    content[6:10] = struct.pack('<HH', width, height)
    return bytes(content)


@pytest.mark.parametrize(
    'content',
    [png_of(100_000, 100_000), png_of(2**31 - 1, 2**31 - 1), png_of(16_400, 16_400), gif_of(65_535, 65_535)],
    ids=['png', 'largest png', 'just above the limit', 'gif'],
)
def test_image_bombs_are_not_decoded(content, tmp_path):
    (tmp_path / 'bomb').write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UnreadableImageError, match='limit'):
        read_photo(ImageItem(str(tmp_path / 'bomb')))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_very_long_photos_are_refused(tmp_path):
    Image.new('RGB', (2000, 3)).save(tmp_path / 'long.png')
    with pytest.raises(UnreadableImageError, match='2000 x 3 pixels, one side is over 500 times the other'):
        read_photo(ImageItem(str(tmp_path / 'long.png')))
    Image.new('RGB', (1500, 3)).save(tmp_path / 'wide.png')
    assert read_photo(ImageItem(str(tmp_path / 'wide.png'))).pixels.shape == (3, 1500, 3)


def test_own_limit():
    assert read_header(io.BytesIO(png_of(100, 100)), 10_000).shape == (100, 100)
    with pytest.raises(UnreadableImageError, match='100 x 101 pixels are more than the limit of 10000'):
        read_header(io.BytesIO(png_of(100, 101)), 10_000)


def test_a_bomb_among_photos_is_listed(tiny_model, photos, encoder):
    (photos / 'bomb.png').write_bytes(png_of(100_000, 100_000))
    encoded = encoder.encode(photos)
    assert len(encoded) == 10
    ((_, path, reason),) = encoded.errors
    assert path.endswith('bomb.png') and 'limit' in reason
    small = Encoder(*tiny_model[:2], device='cpu', max_pixels=100).encode(photos)
    assert len(small) == 0 and len(small.errors) == 11


@pytest.mark.parametrize('name', ['missing.jpg', 'folder', 'with\0null.jpg', 'empty.jpg', 'cut.jpg', 'text.jpg'])
def test_files_that_are_no_photos(tmp_path, name):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'empty.jpg').write_bytes(b'')
    (tmp_path / 'text.jpg').write_text('hello')
    photo = write_photo(tmp_path / 'whole.jpg', np.random.default_rng(0)).read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(photo[: len(photo) // 2])
    with pytest.raises(UnreadableImageError, match=r'\w'):
        read_photo(ImageItem(str(tmp_path / name)))


def test_hash_is_that_of_the_file(tmp_path):
    path = write_photo(tmp_path / 'photo.png', np.random.default_rng(0))
    photo = read_photo(ImageItem(str(path)))
    assert photo.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(photo.pixels, read_photo(ImageItem(content=Image.open(path))).pixels)
