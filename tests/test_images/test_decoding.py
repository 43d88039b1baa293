"""Image files of all kinds become 8-bit BGR, JPEG at a fraction of the size too; damaged ones an error of one kind."""

import io

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
from glsim_mm.images.decoding import UnreadableImageError, decode_image, decode_reduced

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
    'options, message', [(dict(decoder='gpu'), 'opencv, turbojpeg'), (dict(min_side=-1), '0 or more')]
)
def test_options_out_of_range(options, message):
    with pytest.raises(GLSimError, match=message):
        TRANSFORMS.build(dict(type='LoadImage', **options))
