"""Image files of all kinds become 8-bit BGR; damaged ones an error of one kind."""

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
from PIL import Image

from glsim_mm.images.decoding import UnreadableImageError, decode_image

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
