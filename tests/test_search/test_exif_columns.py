"""Columns of a gallery from the EXIF data of its photos: built, added, beside a table, and wrong ones."""

import pytest
from image_files import LEEDS, photo_with_exif

from glsim_mm.search import ImageSearch, build_gallery, find_items
from glsim_mm.search.encoded import format_report
from glsim_mm.search.exif_columns import check_exif_columns, fill_exif
from retrieval.errors import RetrievalError
from retrieval.gallery import open_gallery
from retrieval.records import Record

QUIET = dict(num_workers=0, progress=False)
MAY, JUNE = {0x9003: '2024:05:01 12:30:00'}, {0x9003: '2024:06:01 08:00:00'}


def write(path, color, *blocks):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo_with_exif(*blocks, color=color))


@pytest.fixture
def camera_photos(tmp_path):
    """Four photos: all values, a date alone, a place that is none, nothing."""
    root = tmp_path / 'camera'
    write(root / 'a' / 'all.jpg', 'red', {0x010F: 'Canon', 0x0110: 'Canon EOS R5'}, MAY, LEEDS)
    write(root / 'a' / 'date.jpg', 'green', None, JUNE)
    write(root / 'b' / 'wrong.jpg', 'blue', {0x0110: 'X100'}, {0x9003: '2024:13:01 00:00:00'}, {**LEEDS, 2: (99.0,)})
    write(root / 'b' / 'none.jpg', 'white')
    return root


def metadata(location):
    with open_gallery(location) as gallery:
        return {
            record.path: {name: value for name, value in record.metadata.items() if value is not None}
            for record in gallery.records(gallery.ids())
        }


ALL = dict(
    taken='2024-05-01T12:30:00',
    camera='Canon EOS R5',
    latitude=pytest.approx(53.7998611),
    longitude=pytest.approx(-1.5491667),
)


def test_build(camera_photos, tiny_model, tmp_path):
    report = build_gallery(camera_photos, *tiny_model[:2], tmp_path / 'gallery', exif=True, device='cpu', **QUIET)
    assert metadata(tmp_path / 'gallery') == {
        'a/all.jpg': ALL,
        'a/date.jpg': dict(taken='2024-06-01T08:00:00'),
        'b/none.jpg': {},
        'b/wrong.jpg': dict(camera='X100'),
    }
    (line,) = (line for line in format_report(report).splitlines() if line.startswith('EXIF'))
    assert line == (
        'EXIF: taken of 2, camera of 2, latitude of 1, longitude of 1 of 4 photos; 2 impossible values dropped (such '
        "as b/wrong.jpg: date: '2024:13:01 00:00:00' is no date)"
    )
    with open_gallery(tmp_path / 'gallery') as gallery:
        assert dict(taken='TEXT', camera='TEXT', latitude='REAL').items() <= gallery.columns().items()
        assert (
            len(gallery.ids([('taken', '>=', '2024-05-01')])) == 2
            and len(gallery.ids([('taken', '<', '2024-06-01')])) == 1
        )


def test_without_the_option_nothing_is_read(camera_photos, tiny_model, tmp_path):
    report = build_gallery(camera_photos, *tiny_model[:2], tmp_path / 'gallery', device='cpu', **QUIET)
    assert report.exif is None and 'EXIF' not in format_report(report)
    assert not any(metadata(tmp_path / 'gallery').values())


def test_columns_of_a_table_win(camera_photos, tiny_model, tmp_path):
    (camera_photos / 'all.csv').write_text('path,Taken,place\na/all.jpg,1999-01-01,Leeds\na/date.jpg,,\n')
    report = build_gallery(
        camera_photos / 'all.csv', *tiny_model[:2], tmp_path / 'gallery', exif=True, device='cpu', **QUIET
    )
    found = metadata(tmp_path / 'gallery')
    assert found['a/all.jpg'].pop('Taken') == '1999-01-01' and found['a/all.jpg'].pop('place') == 'Leeds'
    assert {**found['a/all.jpg'], 'taken': ALL['taken']} == ALL
    assert found['a/date.jpg'] == {}
    assert report.exif.summary() == 'camera of 1, latitude of 1, longitude of 1 of 2 photos; taken as in the table'


def test_add_fills_what_rows_lack_and_keeps_what_they_hold(camera_photos, tiny_model, tmp_path):
    location = tmp_path / 'gallery'
    (camera_photos / 'all.csv').write_text('path,camera\na/all.jpg,Box\na/date.jpg,\n')
    build_gallery(camera_photos / 'all.csv', *tiny_model[:2], location, device='cpu', **QUIET)
    write(camera_photos / 'b' / 'new.jpg', 'yellow', {0x0110: 'X200'}, JUNE)
    with ImageSearch.open(location, device='cpu', writable=True) as search:
        report = search.add(camera_photos, exif=True, **QUIET)
    assert report.exif.photos == 5 and report.encoded == 3
    found = metadata(location)
    assert found['a/all.jpg'] == {**ALL, 'camera': 'Box'}
    assert found['a/date.jpg'] == dict(taken='2024-06-01T08:00:00')
    assert found['b/new.jpg'] == dict(taken='2024-06-01T08:00:00', camera='X200')
    write(camera_photos / 'b' / 'new.jpg', 'orange', {0x0110: 'X300'}, MAY)
    with ImageSearch.open(location, device='cpu', writable=True) as search:
        again = search.add(camera_photos, exif=True, **QUIET)
    assert again.updated == again.encoded == 1 and again.described == 0
    assert metadata(location)['b/new.jpg']['camera'] == 'X300'  # of the new content


def test_a_gallery_whose_columns_do_not_fit_is_told_first(camera_photos, tiny_model, tmp_path):
    (camera_photos / 'all.csv').write_text('path,taken\na/all.jpg,2024\n')
    build_gallery(camera_photos / 'all.csv', *tiny_model[:2], tmp_path / 'gallery', device='cpu', **QUIET)
    with (
        ImageSearch.open(tmp_path / 'gallery', device='cpu', writable=True) as search,
        pytest.raises(RetrievalError, match='the column taken of the gallery holds numbers'),
    ):
        search.add(camera_photos, exif=True, **QUIET)
    check_exif_columns(dict(latitude='INTEGER', taken='TEXT', other='INTEGER'))


def test_only_some_are_read(camera_photos):
    items = find_items(camera_photos).items
    row = Record(metadata=dict(taken='1999', camera='Box', latitude=1.0, longitude=2.0))
    report = fill_exif(items, [0, 1, 3], 2, False, {0: row})
    assert [len(item.metadata) for item in items] == [0, 1, 0, 1]
    assert (report.photos, report.filled) == (2, dict(taken=1, camera=1))
