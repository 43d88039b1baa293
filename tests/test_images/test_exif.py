"""When, where and by which camera a photo was taken, right and wrong."""

import io
from datetime import datetime
from pathlib import Path

import pytest
from image_files import LEEDS, encode, photo_with_exif, two_colors
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from glsim_mm.images.exif import read_exif
from glsim_mm.images.photos import ImageItem


def read(**blocks):
    return read_exif(ImageItem(content=photo_with_exif(**blocks)))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF', 'HEIF'])
def test_all_values_of_all_kinds_of_files(kind, tmp_path):
    if kind == 'HEIF':
        pytest.importorskip('pillow_heif').register_heif_opener()
    base = {0x010F: 'Canon', 0x0110: 'Canon EOS R5'}
    (tmp_path / 'photo').write_bytes(photo_with_exif(base, {0x9003: '2024:05:01 12:30:05'}, LEEDS, kind))
    found = read_exif(ImageItem(str(tmp_path / 'photo')))
    assert found.wrong == []
    assert found.values == {
        'taken': datetime(2024, 5, 1, 12, 30, 5),
        'camera': 'Canon EOS R5',
        'latitude': pytest.approx(53 + 47 / 60 + 59.5 / 3600, abs=1e-6),
        'longitude': pytest.approx(-1 - 32 / 60 - 57 / 3600, abs=1e-6),
    }


def test_nothing_there():
    assert read_exif(ImageItem(content=encode(two_colors(), 'JPEG'))).values == {}
    assert read_exif(ImageItem(content=b'no photo')).values == {}
    assert read_exif(ImageItem('not/there.jpg')).values == {}
    assert read_exif(ImageItem(content=two_colors())).values == {}


@pytest.mark.parametrize(
    'dates, taken, wrong',
    [
        ({0x9003: '2024:05:01 12:30:00', 0x9004: '2025:01:01 00:00:00'}, datetime(2024, 5, 1, 12, 30), 0),
        ({0x9004: '2025:01:01 00:00:00'}, datetime(2025, 1, 1), 0),
        ({0x9003: '2024-05-01 12:30:00\0'}, datetime(2024, 5, 1, 12, 30), 0),
        ({0x9003: '2024:05:01 12:30:05.25'}, datetime(2024, 5, 1, 12, 30, 5), 0),
        ({0x9003: '2024:05:01 12:30:00', 0x9011: '+09:00'}, datetime(2024, 5, 1, 12, 30), 0),
        ({0x9003: '    :  :     :  :  '}, None, 0),
        ({0x9003: '0000:00:00 00:00:00'}, None, 0),
        ({0x9003: ''}, None, 0),
        ({0x9003: '2024:13:01 12:30:00'}, None, 1),
        ({0x9003: '2024:13:01 12:30:00', 0x9004: '2023:01:02 03:04:05'}, datetime(2023, 1, 2, 3, 4, 5), 0),
        ({0x9003: '2024:05:01 25:30:00'}, None, 1),
        ({0x9003: '0001:01:01 00:00:00'}, None, 1),
        ({0x9003: 'May 2024'}, None, 1),
    ],
)
def test_dates(dates, taken, wrong):
    found = read(dates=dates)
    assert found.values == ({} if taken is None else {'taken': taken}) and len(found.wrong) == wrong


def test_the_date_of_a_change_is_none_of_the_photo_with_exif():
    assert read(base={0x0132: '2024:05:01 12:30:00'}).values == {}


@pytest.mark.parametrize(
    'make, model, camera',
    [
        ('Canon', 'Canon EOS R5', 'Canon EOS R5'),
        ('NIKON CORPORATION', 'NIKON D850', 'NIKON D850'),
        ('Apple', 'iPhone 14', 'Apple iPhone 14'),
        ('samsung ', ' SM-G991B\0\0', 'samsung SM-G991B'),
        ('', 'X100', 'X100'),
        ('Leica', '', 'Leica'),
        ('Olympüs'.encode(), 'E\x07-M1\n', 'Olympüs E -M1'),
        ('Olympüs'.encode('latin-1'), 'E-M1', 'Olympüs E-M1'),
        ('M' * 150, 'N' * 150, 'M' * 150 + ' ' + 'N' * 49),
    ],
)
def test_cameras(make, model, camera):
    assert read(base={0x010F: make, 0x0110: model}).values == {'camera': camera}


@pytest.mark.parametrize(
    'place, latitude, longitude',
    [
        ({1: 'S', 2: (33.0, 51.0, 0.0), 3: 'E', 4: (151.0, 12.0, 36.0)}, -33.85, 151.21),
        ({1: 's', 2: (33.85, 0.0, 0.0), 3: 'West', 4: (1.5,)}, -33.85, -1.5),
        ({1: 'N', 2: (90.0, 0.0, 0.0), 3: 'E', 4: (179.0, 59.0, 60.0)}, 90, 180),
    ],
)
def test_places(place, latitude, longitude):
    found = read(place=place)
    assert found.wrong == []
    assert found.values == {
        'latitude': pytest.approx(latitude, abs=1e-6),
        'longitude': pytest.approx(longitude, abs=1e-6),
    }


@pytest.mark.parametrize(
    'change, words',
    [
        ({2: (123.0, 0.0, 0.0)}, 'latitude 123, 0, 0 is not from 0 to 90'),
        ({4: (181.0, 0.0, 0.0)}, 'longitude 181, 0, 0 is not from 0 to 180'),
        ({2: (53.0, 99.0, 0.0)}, 'latitude 53, 99, 0'),
        ({2: (IFDRational(0, 0), 0.0, 0.0)}, 'latitude nan'),
        ({1: 'X'}, 'latitude 53.7999 has no hemisphere, N or S'),
        ({3: ''}, 'has no hemisphere, E or W'),
        ({2: None}, 'latitude None is no number'),
    ],
)
def test_impossible_places_are_dropped_whole(change, words):
    place = {tag: value for tag, value in {**LEEDS, **change}.items() if value is not None}
    found = read(place=place, base={0x0110: 'X100'})
    assert found.values == {'camera': 'X100'}
    (wrong,) = found.wrong
    assert wrong.startswith('place: ') and words in wrong


@pytest.mark.filterwarnings('ignore')
def test_no_damage_ends_a_build():
    """Whatever stands in the EXIF data, nothing is raised, and what is found is of the right type."""
    content = photo_with_exif({0x010F: 'Canon', 0x0110: 'R5'}, {0x9003: '2024:05:01 12:30:05'}, LEEDS)
    start = content.index(b'Exif')
    types = dict(taken=datetime, camera=str, latitude=float, longitude=float)
    for place in range(start, start + 260):
        for value in (0, 255, content[place] ^ 0x55):
            found = read_exif(ImageItem(content=content[:place] + bytes([value]) + content[place + 1 :]))
            assert all(isinstance(value, types[name]) for name, value in found.values.items())
            assert abs(found.values.get('latitude', 0)) <= 90 and abs(found.values.get('longitude', 0)) <= 180
            found.values.get('camera', '').encode()


def test_a_name_that_is_no_text(tmp_path):
    path = Path(str(tmp_path) + '/latin1_\udce9.jpg')
    path.write_bytes(photo_with_exif({0x0110: 'X100'}))
    assert read_exif(ImageItem(f'{tmp_path}/latin1_\\udce9.jpg')).values == {'camera': 'X100'}
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert image.getexif()[0x0110] == 'X100'
