"""From photos to batches, whatever the model: order, batch sizes, and photos that no model can take."""

import logging

import numpy as np
import pytest

from glsim_mm.errors import GLSimError
from glsim_mm.images.photo_folders import PHOTO_SUFFIXES
from glsim_mm.images.photos import ImageItem, find_images
from glsim_mm.images.preparing import predict_images, prepare_photo


class Halving:
    """Keeps every second pixel; photos of odd width are none of its business."""

    background = (255, 255, 255)

    def __call__(self, pixels):
        if pixels.shape[1] % 2:
            raise ValueError('an odd\nwidth')
        return pixels[::2, ::2].transpose(2, 0, 1)

    def to_photo(self, shape):
        return np.array([[2.0, 0, 0], [0, 2.0, 0]])


def photo(width: int, value: int = 0) -> ImageItem:
    return ImageItem(content=np.full((8, width, 3), value, np.uint8))


def test_results_come_in_order_from_batches_of_one_shape(caplog):
    shapes = []

    def predict(inputs):
        shapes.append(inputs.shape)
        return inputs.max(axis=(1, 2, 3)).tolist()

    items = [photo(8, 1), photo(12, 2), photo(7, 3), photo(8, 4), photo(12, 5)]
    with caplog.at_level(logging.WARNING, logger='glsim_mm.inferencer'):
        results = list(predict_images(iter(items), Halving(), predict, batch_size=4))
    assert [prediction for _, _, prediction in results] == [1, 2, None, 4, 5]
    assert [image.position for _, image, _ in results] == list(range(5)) and [item for item, _, _ in results] == items
    assert shapes == [(2, 3, 4, 4), (1, 3, 4, 6), (1, 3, 4, 6)]
    (line,) = [record.getMessage() for record in caplog.records]
    reason = 'the test pipeline cannot take it: an odd width'
    assert line == f'left out: image number 2 cannot be read ({reason}); replace it or leave it out'


def test_photos_are_read_one_batch_at_a_time():
    read = []

    def items():
        for number in range(6):
            read.append(number)
            yield photo(8, number)

    results = predict_images(items(), Halving(), lambda inputs: [None] * len(inputs), batch_size=2)
    next(results)
    assert read == [0, 1]


def test_part_of_a_photo():
    item = photo(20)
    item.box = (3.2, 1, 9.9, 30)
    prepared = prepare_photo(0, item, Halving())
    assert prepared.error == 'the test pipeline cannot take it: an odd width' and prepared.inputs is None
    item.box = (3.2, 1, 10.9, 30)
    prepared = prepare_photo(5, item, Halving())
    assert (prepared.position, prepared.size, prepared.part) == (5, (20, 8), (3, 1, 7, 8))
    assert prepared.inputs.shape == (3, 4, 4) and prepared.content_hash is None
    item.box = (30, 0, 40, 8)
    with pytest.raises(GLSimError, match='holds nothing of the photo, which is 20 x 8'):
        prepare_photo(0, item, Halving())


def test_folders_hold_photos_of_every_known_suffix(tmp_path):
    for suffix in (*PHOTO_SUFFIXES, '.JPG', '.txt'):
        (tmp_path / f'photo{suffix}').write_bytes(b'')
    (tmp_path / 'deep').mkdir()
    (tmp_path / 'deep' / 'photo.png').write_bytes(b'')
    items = find_images(tmp_path)
    assert len(items) == len(PHOTO_SUFFIXES) + 2
    assert [item.file for item in items] == sorted(item.file for item in items)
    assert 'deep/photo.png' in [item.name for item in items]
