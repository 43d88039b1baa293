"""Image files of all kinds become 8-bit BGR, JPEG at a fraction of the size too; damaged ones an error of one kind."""

import io
import re
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import (
    BLUE,
    HEIGHT,
    RED,
    WIDTH,
    colored_files,
    encode,
    sixteen_bits,
    two_colors,
    unreadable_files,
)
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from glsim_mm.errors import GLSimError
from glsim_mm.images import decoding
from glsim_mm.images.decoding import UnreadableImageError, decode_image, decode_reduced
from glsim_mm.images.image_files import find_unreadable, image_size
from glsim_mm.images.photos import ImageItem, read_photo

COLORED, UNREADABLE = colored_files(), unreadable_files()


@pytest.mark.parametrize('name', COLORED)
def test_every_kind_of_file_gives_the_same_picture(name):
    image = decode_image(COLORED[name])
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    # Palettes, CMYK and JPEG change colours a little, JPEG most where they meet.
    for half, color in (image[:, : WIDTH // 2 - 4], RED), (image[:, WIDTH // 2 + 4 :], BLUE):
        assert np.abs(half.astype(int) - color[::-1]).max() <= 25


@pytest.mark.parametrize('content', [encode(two_colors('L'), 'PNG'), encode(two_colors('1'), 'PNG'), sixteen_bits()])
def test_grey_images_get_three_equal_channels(content):
    image = decode_image(content)
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert (image == image[..., :1]).all()


def test_sixteen_bits_keep_their_brightness():
    image = decode_image(sixteen_bits())
    assert abs(int(image[0, 0, 0]) - 10) <= 1 and abs(int(image[0, -1, 0]) - 200) <= 1


def test_sixteen_bits_keep_their_brightness_where_only_pillow_reads_the_file():
    image = decode_image(sixteen_bits() + b'more')
    assert abs(int(image[0, 0, 0]) - 10) <= 1 and abs(int(image[0, -1, 0]) - 200) <= 1


def ramp(dtype, low, high) -> np.ndarray:
    """Values that rise evenly from left to right, (24, 40)."""
    return np.linspace(low, high, WIDTH)[None].repeat(HEIGHT, 0).astype(dtype)


HIGH_RANGES = {
    '12 bits in 16.tif': encode(Image.fromarray(ramp(np.uint16, 0, 4095)), 'TIFF'),
    '16 bits.png': encode(Image.fromarray(ramp(np.uint16, 0, 65535)), 'PNG'),
    '16 bits, colours.png': cv2.imencode('.png', ramp(np.uint16, 0, 65535)[..., None].repeat(3, 2))[1].tobytes(),
    'floats up to 1.tiff': encode(Image.fromarray(ramp(np.float32, 0, 1)), 'TIFF'),
    'floats up to 255.tiff': encode(Image.fromarray(ramp(np.float32, 0, 255)), 'TIFF'),
    'floats around 0.tiff': encode(Image.fromarray(ramp(np.float32, -3, 5)), 'TIFF'),
    '32 bits.tiff': encode(Image.fromarray(ramp(np.int32, 0, 2e9)), 'TIFF'),
}


@pytest.mark.parametrize('name', HIGH_RANGES)
def test_values_of_more_than_8_bits_are_scaled_by_their_range_and_that_is_told_once(name, caplog):
    decoding._tell_range.cache_clear()
    image = decode_image(HIGH_RANGES[name])
    assert image.dtype == np.uint8 and image.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(image.astype(int) - ramp(float, 0, 255)[..., None]).max() <= 1.5
    assert np.array_equal(image, decode_image(HIGH_RANGES[name]))
    (record,) = caplog.records
    assert 'scaled to 8 bits, here from the range' in record.getMessage()


def test_floats_that_are_no_numbers_are_black():
    pixels = ramp(np.float32, 0, 1)
    pixels[0, :2] = np.nan, -np.inf
    assert decode_image(encode(Image.fromarray(pixels), 'TIFF'))[0, :2].max() == 0


def cutouts() -> dict[str, bytes]:
    """A blue square on a transparent ground, under which other colours are hidden."""
    files = {}
    pixels = np.zeros((24, 40, 4), np.uint8)
    pixels[8:16, 10:30] = (*BLUE, 255)
    for name, color in dict(black=(0, 0, 0), white=(255, 255, 255), red=RED).items():
        pixels[pixels[..., 3] == 0] = (*color, 0)
        image = Image.fromarray(pixels)
        files[f'{name}.png'], files[f'{name}.tif'] = encode(image, 'PNG'), encode(image, 'TIFF')
        files[f'{name}.webp'] = encode(image, 'WEBP', lossless=True, exact=True)
        palette = Image.fromarray(pixels[..., :3]).quantize(4, dither=Image.Dither.NONE)
        files[f'{name}.gif'] = encode(palette, 'GIF', transparency=palette.getpixel((0, 0)))
    return files


@pytest.mark.parametrize('name, content', cutouts().items())
@pytest.mark.parametrize('background', [(255, 255, 255), (10, 20, 200)])
def test_hidden_colours_do_not_show(name, content, background):
    image = decode_image(content, background=background)
    assert image[0, 0].tolist() == list(background[::-1])
    assert np.abs(image[12, 20].astype(int) - BLUE[::-1]).max() <= 8
    assert (image[:8] == background[::-1]).all()


def test_half_transparent_pixels_are_mixed():
    image = Image.new('RGBA', (2, 2), (0, 100, 200, 128))
    assert decode_image(encode(image, 'PNG'))[0, 0].tolist() == [227, 177, 127]
    assert decode_image(encode(Image.new('LA', (2, 2), (0, 128)), 'PNG'))[0, 0].tolist() == [127] * 3
    array = np.asarray(image)[..., [2, 1, 0, 3]]
    for one in image, array:
        assert read_photo(ImageItem(content=one), background=(0, 0, 0)).pixels[0, 0].tolist() == [100, 50, 0]


def test_a_grey_picture_lacks_nothing():
    """Missing parts are of the grey of 128; a picture may be so as well."""
    for grey in Image.new('RGB', (64, 48), (128, 128, 128)), Image.new('L', (64, 48), 128):
        assert (decode_image(encode(grey, 'JPEG')) == 128).all()
        assert (decode_image(encode(grey, 'JPEG', progressive=True) + b'more') == 128).all()


@pytest.mark.parametrize('min_side', [0, 32])
@pytest.mark.parametrize('left', [0.3, 0.6, 0.95])
def test_missing_parts_of_a_jpeg_are_told_at_any_size(left, min_side):
    content = photo(400, 300)
    with pytest.raises(UnreadableImageError, match='a part of the picture is missing'):
        decode_reduced(content[: int(left * len(content))] + b'\xff\xd9', min_side)


def scans(image: Image.Image, **options: object) -> tuple[bytes, list[int]]:
    """A progressive JPEG file, and where each of its scans begins."""
    content = encode(image, 'JPEG', progressive=True, **options)
    return content, [found.start() for found in re.finditer(b'\xff\xda', content)]


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
def test_a_progressive_jpeg_has_all_of_its_scans(mode):
    """Decoders take any number of scans, and show a picture that is blurred without the later ones."""
    image = Image.open(io.BytesIO(photo(160, 120))).convert(mode)
    content, starts = scans(image)
    assert decode_image(content).shape == decode_image(content + b'more').shape == (120, 160, 3)
    assert len(starts) > 4
    for start in starts[1:]:
        with pytest.raises(UnreadableImageError, match='scans that hold its fine detail are missing'):
            decode_image(content[:start] + b'\xff\xd9')
    for restart_interval in (1, 7):
        whole, _ = scans(image, restart_marker_blocks=restart_interval)
        assert np.array_equal(decode_image(whole), decode_image(content))


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG file whose header states a size."""
    content = encode(two_colors(), 'JPEG')
    place = content.index(b'\xff\xc0') + 5
    return content[:place] + struct.pack('>HH', height, width) + content[place + 4 :]


def test_one_limit_holds_everywhere(tmp_path):
    """Photos of phones, 200 megapixels, are below it for all; larger ones are refused before they are decoded."""
    path = tmp_path / 'photo.jpg'
    path.write_bytes(jpeg_of(16320, 12240))
    assert image_size(str(path)) == (16320, 12240)
    path.write_bytes(jpeg_of(20000, 15000))
    reason = '20000 x 15000 pixels are more than the limit of 268435456'
    assert image_size(str(path)).reason == reason
    assert find_unreadable([str(path)])[0].reason == reason
    with pytest.raises(GLSimError, match=reason):
        TRANSFORMS.build(dict(type='LoadImage', on_unreadable='error', min_side=300))(dict(img_path=str(path)))
    with pytest.raises(UnreadableImageError, match=reason):
        read_photo(ImageItem(str(path)))
    with pytest.raises(UnreadableImageError, match='40 x 24 pixels are more than the limit of 100'):
        read_photo(ImageItem(content=COLORED['rgb.png']), max_pixels=100)


def test_one_pixel_is_an_image():
    assert decode_image(encode(Image.new('RGB', (1, 1), 'white'), 'PNG')).tolist() == [[[255, 255, 255]]]


def test_whole_photos_are_decoded_by_opencv():
    content = encode(two_colors(), 'JPEG')
    np.testing.assert_array_equal(decode_image(content), cv2.imdecode(np.frombuffer(content, np.uint8), 1))


@pytest.mark.parametrize('name', UNREADABLE)
def test_damaged_files_are_told(name):
    with pytest.raises(UnreadableImageError) as error:
        decode_image(UNREADABLE[name])
    assert str(error.value) and '\n' not in str(error.value)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(COLORED)), data=st.data())
def test_no_damage_leads_to_another_error(name, data):
    content = bytearray(COLORED[name])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        image = decode_image(content)
    except UnreadableImageError:
        return
    assert image.ndim == 3 and image.shape[2] == 3 and image.size > 0 and image.dtype == np.uint8


def photo(width, height, orientation=None, kind='JPEG'):
    """A smooth picture, darker to the right and below, as a file."""
    x, y = np.meshgrid(np.linspace(0, 120, width), np.linspace(0, 120, height))
    pixels = np.stack([x, y, 240 - x - y], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, exif=exif, **(dict(quality=95) if kind == 'JPEG' else {}))
    return buffer.getvalue()


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 200), st.integers(8, 200), st.integers(0, 120), st.sampled_from([None, 1, 3, 6, 8]))
def test_both_sides_keep_their_least_length(width, height, min_side, orientation):
    content = photo(width, height, orientation)
    whole = decode_image(content)
    image, shape = decode_reduced(content, min_side)
    assert shape == whole.shape[:2]
    (factor,) = (number for number in (1, 2, 4, 8) if image.shape[:2] == tuple(-(-side // number) for side in shape))
    if factor > 1:
        assert min(image.shape[:2]) >= min_side
    if min_side and factor < 8:
        assert min(shape) // (2 * factor) < min_side, 'a smaller size would have done'
    # Other sides are padded to whole blocks before they are reduced.
    if all(side % 8 == 0 for side in shape) and min(image.shape[:2]) >= 16:
        resized = cv2.resize(whole, image.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(image.astype(int) - resized).mean() < 3


def test_nothing_changes_by_default():
    content = photo(300, 200)
    assert np.array_equal(decode_reduced(content, 0)[0], decode_image(content))


def test_other_kinds_are_never_reduced():
    content = photo(300, 200, kind='PNG')
    assert decode_reduced(content, 16)[0].shape == (200, 300, 3)


@pytest.mark.parametrize('content', [b'', photo(300, 200)[:900], photo(300, 200)[:-2], b'\xff\xd8\xff\xd9'])
def test_damaged_files_are_told_at_any_size(content):
    with pytest.raises(UnreadableImageError):
        decode_reduced(content, 32)


def test_boxes_shrink_with_the_image(tmp_path):
    (tmp_path / 'photo.jpg').write_bytes(photo(400, 300, orientation=6))
    load = TRANSFORMS.build(dict(type='LoadImage', min_side=64))
    boxes = np.array([[30, 40, 150, 200]], np.float32)
    results = load(dict(img_path=str(tmp_path / 'photo.jpg'), gt_bboxes=boxes))
    assert results['ori_shape'] == (400, 300) and results['img_shape'] == (100, 75)
    np.testing.assert_allclose(results['gt_bboxes'], boxes / 4)
    whole = TRANSFORMS.build(dict(type='LoadImage'))(dict(img_path=str(tmp_path / 'photo.jpg'), gt_bboxes=boxes))
    assert whole['img_shape'] == (400, 300) and np.array_equal(whole['gt_bboxes'], boxes)
    assert 'min_side=64' in repr(load)


def has_turbojpeg():
    try:
        import turbojpeg

        turbojpeg.TurboJPEG()
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def test_turbojpeg_gives_the_same_pixels_or_a_hint():
    content = photo(300, 200)
    if not has_turbojpeg():
        with pytest.raises(GLSimError, match="decoder='opencv'"):
            TRANSFORMS.build(dict(type='LoadImage', decoder='turbojpeg'))
        return
    assert np.abs(decode_reduced(content, 0, 'turbojpeg')[0].astype(int) - decode_image(content)).max() <= 1
    assert decode_reduced(content, 40, 'turbojpeg')[0].shape == (50, 75, 3)
    assert decode_reduced(photo(300, 200, 6), 0, 'turbojpeg')[0].shape == (300, 200, 3)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(decoder='gpu'), 'opencv, turbojpeg'),
        (dict(min_side=-1), '0 or more'),
        (dict(background='white'), 'red, green and blue'),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(GLSimError, match=message):
        TRANSFORMS.build(dict(type='LoadImage', **options))
