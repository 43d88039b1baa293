"""Both inferencers and both encoders read photos in one way, and take them in any form."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glsim_mm.apis import GLSimInferencer
from glsim_mm.errors import GLSimError
from glsim_mm.exported import ExportedInferencer
from glsim_mm.images.decoding import MAX_ASPECT
from glsim_mm.search import Encoder, ExportedEncoder


class AsInferencer:
    """An encoder behind the interface of an inferencer: one result per photo, ``error`` where it has none."""

    def __init__(self, encoder):
        self.encoder = encoder

    def __call__(self, photos, batch_size=1):
        encoded = self.encoder.encode(photos, batch_size=batch_size)
        results = {
            int(position): dict(numbers=encoded.embeddings['global'][row], box=encoded.records[row].box)
            for row, position in enumerate(encoded.positions)
        }
        results |= {error.position: dict(error=error.reason) for error in encoded.errors}
        return [results[position] for position in sorted(results)]


class Plain:
    """An inferencer whose results have the same names as those of :class:`AsInferencer`."""

    def __init__(self, inferencer, **options):
        self.inferencer, self.options = inferencer, options

    def __call__(self, photos, batch_size=1):
        results = self.inferencer(photos, batch_size=batch_size, **self.options)
        assert [result['index'] for result in results] == list(range(len(results)))
        return [
            result if 'error' in result else dict(numbers=result['pred_scores'], box=result['selected_box_image'])
            for result in results
        ]


@pytest.fixture(scope='module', params=['inferencer', 'exported inferencer', 'encoder', 'exported encoder'])
def ask(request, made):
    config, weights, _, path = made
    if request.param == 'inferencer':
        return Plain(GLSimInferencer(config, weights, 'cpu'), progress=False)
    if request.param == 'exported inferencer':
        return Plain(ExportedInferencer(path, device='cpu'))
    return AsInferencer(
        Encoder(config, weights, 'cpu') if request.param == 'encoder' else ExportedEncoder(path, device='cpu')
    )


@pytest.fixture(scope='module')
def photo(tmp_path_factory) -> Path:
    """A photo that the camera's EXIF data turns."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show it
    path = tmp_path_factory.mktemp('photo') / 'photo.png'
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_every_form_of_a_photo_gives_the_same(ask, photo):
    bgr = np.rot90(np.asarray(Image.open(photo))[..., ::-1], -1)
    expected, *others = ask([str(photo), photo, photo.read_bytes(), bgr, Image.open(photo)], batch_size=3)
    for other in others:
        np.testing.assert_allclose(other['numbers'], expected['numbers'], atol=1e-4)
        np.testing.assert_allclose(other['box'], expected['box'], atol=1e-3)
    mirrored = ask(bgr[..., ::-1])[0]  # RGB is not what is asked for
    assert np.abs(mirrored['numbers'] - expected['numbers']).max() > 1e-3
    for alone in (photo, photo.read_bytes(), bgr, Image.open(photo)):
        (result,) = ask(alone)
        np.testing.assert_allclose(result['numbers'], expected['numbers'], atol=1e-4)
    assert len(ask(image for image in [photo, bgr])) == 2


def test_colours_hidden_by_transparency_count_for_nobody(ask):
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[10:30, 10:30] = (200, 30, 90, 255)
    photos = []
    for hidden in (0, 255):
        pixels[pixels[..., 3] == 0] = (hidden, hidden, hidden, 0)
        image, buffer = Image.fromarray(pixels), io.BytesIO()
        image.save(buffer, 'PNG')
        photos += [buffer.getvalue(), image, pixels[..., [2, 1, 0, 3]].copy()]
    white = np.where(pixels[..., 3:] == 0, 255, pixels[..., [2, 1, 0]]).astype(np.uint8)
    expected, *others = ask([white, *photos])
    for other in others:
        np.testing.assert_allclose(other['numbers'], expected['numbers'], atol=1e-4)


def test_a_file_that_cannot_be_read_stops_nobody(ask, photo, tmp_path):
    content = photo.read_bytes()
    (tmp_path / 'empty.jpg').write_bytes(b'')
    Image.new('RGB', (MAX_ASPECT + 1, 1)).save(tmp_path / 'long.png')
    cut = Image.open(io.BytesIO(content[: len(content) // 2]))
    photos = [tmp_path / 'empty.jpg', photo, b'no image', tmp_path / 'long.png', cut, photo]
    results = ask(photos, batch_size=2)
    errors = [result.get('error', '') for result in results]
    assert [bool(error) for error in errors] == [True, False, True, True, True, False]
    assert 'empty' in errors[0] and 'not an image' in errors[2] and 'over 500 times' in errors[3]
    np.testing.assert_allclose(results[1]['numbers'], ask(photo)[0]['numbers'], atol=1e-4)
    (only,) = ask(tmp_path / 'empty.jpg')
    assert 'empty' in only['error']


@pytest.mark.parametrize(
    'photos, message',
    [
        (np.zeros((4, 4, 3)), 'an image array must be'),
        (np.zeros((0, 4, 3), np.uint8), 'an image array must be'),
        (np.zeros((2, 4, 4, 3), np.uint8), 'an image array must be'),
        (3, 'not int'),
        ([3], 'not int'),
        ('nowhere.jpg', 'does not exist'),
        ('nowhere/*.jpg', r'no image in nowhere/\*\.jpg'),
    ],
    ids=['float', 'empty', 'video', 'number', 'numbers', 'path', 'pattern'],
)
def test_what_is_no_photo_is_a_mistake(ask, photos, message):
    with pytest.raises(GLSimError, match=message):
        ask(photos)
