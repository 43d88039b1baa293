"""Photos in folders are told from junk, exclusions, other files and links that lead back."""

import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from image_files import BLUE, HEIGHT, RED, WIDTH, encode, two_colors
from PIL import Image

from glsim_mm.errors import GLSimError
from glsim_mm.images import decoding
from glsim_mm.images.decoding import UnreadableImageError, decode_image, image_to_bgr
from glsim_mm.images.photo_folders import LeftOut, is_excluded, is_junk, list_photos, sort_files
from glsim_mm.images.photos import ImageItem, find_images, read_photo

HEIC_START = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic'


def fill(root: Path, *names: str) -> Path:
    """Empty files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names_of(items) -> list[str]:
    return [item.name for item in items]


@pytest.mark.parametrize(
    'name',
    [
        *('.Trash-0', '.Trashes', '.thumbnails', '.ipynb_checkpoints', '._photo.jpg', '.DS_Store', '.@__thumb', '.git'),
        *('@eaDir', '#recycle', '@Recycle', '__MACOSX', 'Thumbs.db', 'thumbs.db', 'Desktop.ini', '$RECYCLE.BIN'),
        *('System Volume Information', 'lost+found'),
    ],
)
def test_junk(name):
    assert is_junk(name)


@pytest.mark.parametrize('name', ['@nasa', 'Trash', 'MACOSX', '_photo.jpg', 'a.thumbnails', 'thumbs.db.jpg', '#1'])
def test_names_that_are_no_junk(name):
    assert not is_junk(name)


def test_junk_in_every_depth_is_counted_and_not_searched(tmp_path):
    fill(
        tmp_path, 'b.jpg', 'a/z.png', 'a/.hidden/1.jpg', '@eaDir/b.jpg/1.jpg', '@eaDir/2.jpg', '._b.jpg', 'a/Thumbs.db'
    )
    found = list_photos(str(tmp_path))
    assert found.files == ['a/z.png', 'b.jpg']
    assert found.folders == ['a']
    (junk,) = found.left_out.by_reason.values()
    assert sorted(junk) == ['._b.jpg', '@eaDir', 'a/.hidden', 'a/Thumbs.db']


def test_the_folder_that_is_asked_for_may_be_hidden(tmp_path):
    fill(tmp_path, '.cache/1.jpg')
    assert names_of(find_images(tmp_path / '.cache')) == ['1.jpg']
    assert names_of(find_images(fill(tmp_path, '._2.jpg') / '._2.jpg')) == ['._2.jpg']


def test_other_endings_are_counted_one_by_one(tmp_path, monkeypatch):
    fill(tmp_path, 'a.jpg', 'b.HEIC', 'c.heic', 'd.txt', 'README', 'e.psd')
    left_out = list_photos(str(tmp_path), suffixes=('.jpg',)).left_out
    assert {reason: len(paths) for reason, paths in left_out.by_reason.items()} == {
        '.heic': 2, '.txt': 1, 'without an ending': 1, '.psd': 1,
    }  # fmt: skip
    assert '2 .heic (such as b.HEIC; to read them: pip install pillow-heif)' in left_out.summary()
    assert '1 .psd (e.psd)' in left_out.summary() and len(left_out) == 5


@pytest.mark.parametrize(
    'pattern, left',
    [
        ('drafts', ['a.jpg', 'b/a_mask.png', 'b/old/1.jpg', 'b/old/2.png']),
        ('*_mask.png', ['a.jpg', 'b/drafts/1.jpg', 'b/old/1.jpg', 'b/old/2.png', 'drafts/2.jpg']),
        ('/drafts', ['a.jpg', 'b/a_mask.png', 'b/drafts/1.jpg', 'b/old/1.jpg', 'b/old/2.png']),
        ('drafts/', ['a.jpg', 'b/a_mask.png', 'b/old/1.jpg', 'b/old/2.png']),
        ('a.jpg/', ['a.jpg', 'b/a_mask.png', 'b/drafts/1.jpg', 'b/old/1.jpg', 'b/old/2.png', 'drafts/2.jpg']),
        ('b/old', ['a.jpg', 'b/a_mask.png', 'b/drafts/1.jpg', 'drafts/2.jpg']),
        ('b/*.jpg', ['a.jpg', 'b/a_mask.png', 'b/drafts/1.jpg', 'b/old/1.jpg', 'b/old/2.png', 'drafts/2.jpg']),
        ('**/old/*.jpg', ['a.jpg', 'b/a_mask.png', 'b/drafts/1.jpg', 'b/old/2.png', 'drafts/2.jpg']),
        ('b/**', ['a.jpg', 'drafts/2.jpg']),
        ('[12].jpg', ['a.jpg', 'b/a_mask.png', 'b/old/2.png']),
        ('A.JPG', ['a.jpg', 'b/a_mask.png', 'b/drafts/1.jpg', 'b/old/1.jpg', 'b/old/2.png', 'drafts/2.jpg']),
    ],
)
def test_exclude(tmp_path, pattern, left):
    names = ['a.jpg', 'b/a_mask.png', 'b/drafts/1.jpg', 'b/old/1.jpg', 'b/old/2.png', 'drafts/2.jpg']
    fill(tmp_path, *names)
    found = list_photos(str(tmp_path), [pattern])
    assert found.files == left == [name for name in names if not is_excluded(name, [pattern])]
    assert found.left_out.by_reason.keys() == ({'excluded'} if len(left) < len(names) else set())
    assert sort_files(names, [pattern], ('.jpg', '.png')).files == left


@pytest.mark.parametrize('pattern', ['', '/', '!a.jpg'])
def test_exclusions_that_mean_nothing_are_refused(tmp_path, pattern):
    with pytest.raises(GLSimError, match='excludes nothing'):
        find_images(fill(tmp_path, 'a.jpg'), [pattern])


def test_named_files_are_excluded_too(tmp_path):
    fill(tmp_path, 'a.jpg', 'a_mask.jpg')
    left_out = LeftOut()
    items = find_images([tmp_path / 'a.jpg', tmp_path / 'a_mask.jpg'], ['*_mask*'], left_out)
    assert names_of(items) == ['a.jpg'] and left_out.by_reason == {'excluded': [str(tmp_path / 'a_mask.jpg')]}


@pytest.mark.parametrize(
    'pattern, found',
    [
        ('*.jpg', ['a.jpg']),
        ('**/*.jpg', ['a.jpg', 'b/1.jpg', 'b/c/2.jpg']),
        ('b/**', ['1.jpg', 'c/2.jpg']),
        ('*/*.jpg', ['b/1.jpg']),
        ('?/**/2.*', ['b/c/2.jpg']),
    ],
)
def test_patterns(tmp_path, pattern, found):
    fill(tmp_path, 'a.jpg', 'b/1.jpg', 'b/c/2.jpg', '@eaDir/1.jpg', 'a.txt')
    assert names_of(find_images(f'{tmp_path}/{pattern}', left_out=LeftOut())) == found


def test_a_pattern_counts_only_what_it_fits(tmp_path):
    left_out = LeftOut()
    find_images(f'{fill(tmp_path, "a.jpg", "a.txt", "b.txt", "b/.x/1.jpg")}/a*', left_out=left_out)
    assert left_out.by_reason == {'.txt': ['a.txt']}


def test_links_are_followed_once_and_loops_are_not(tmp_path):
    fill(tmp_path / 'photos', 'z/1.jpg', 'y/2.jpg')
    fill(tmp_path / 'elsewhere', '3.jpg', 'deep/4.jpg')
    links = {
        'a_first': tmp_path / 'elsewhere',
        'b_again': tmp_path / 'elsewhere',
        'c_inside': tmp_path / 'elsewhere' / 'deep',
        'd_known': tmp_path / 'photos' / 'z',
        'e_loop': tmp_path / 'photos',
        'f_above': tmp_path,
        'g_itself': tmp_path / 'photos' / 'g_itself',
        'y/h_loop': tmp_path / 'photos' / 'y',
    }
    for link, target in links.items():
        (tmp_path / 'photos' / link).symlink_to(target)
    (tmp_path / 'elsewhere' / 'back').symlink_to(tmp_path / 'photos')
    (tmp_path / 'photos' / 'gone.jpg').symlink_to(tmp_path / 'nothing.jpg')
    (tmp_path / 'photos' / 'gone').symlink_to(tmp_path / 'nothing')
    (tmp_path / 'photos' / 'link.jpg').symlink_to(tmp_path / 'photos' / 'z' / '1.jpg')
    found = list_photos(str(tmp_path / 'photos'))
    assert found.files == ['a_first/3.jpg', 'a_first/deep/4.jpg', 'link.jpg', 'y/2.jpg', 'z/1.jpg']
    assert found.folders == ['a_first', 'y', 'z']
    again = ['a_first/back', 'b_again', 'c_inside', 'd_known', 'e_loop', 'f_above', 'y/h_loop']
    assert sorted(found.left_out.by_reason['linked to a folder that is listed already']) == again
    assert found.left_out.by_reason['linked to nothing'] == ['g_itself', 'gone', 'gone.jpg']


def test_folders_without_permission_are_named(tmp_path, monkeypatch):
    fill(tmp_path, 'a.jpg', 'closed/b.jpg')
    scandir = os.scandir

    def refuse(folder):
        if folder.endswith('closed'):
            raise PermissionError(13, 'Permission denied')
        return scandir(folder)

    monkeypatch.setattr(os, 'scandir', refuse)
    assert list_photos(str(tmp_path)).left_out.by_reason == {'whose content cannot be listed': ['closed']}
    with pytest.raises(GLSimError, match=r'closed cannot be read \(Permission denied\)'):
        find_images(tmp_path / 'closed')


def test_one_line_tells_what_was_left_out(tmp_path, caplog):
    fill(tmp_path, 'a/1.jpg', 'a/.x', 'b/2.jpg', 'b/.y')
    with caplog.at_level(logging.WARNING, 'glsim_mm.images'):
        find_images([tmp_path / 'a', tmp_path / 'b'])
    assert caplog.messages == ['left out: 2 hidden or of the system (such as .x)']


def test_a_folder_of_other_files_says_what_there_is(tmp_path):
    with pytest.raises(GLSimError, match=r'there is no image in .*; left out: 1 \.psd \(a\.psd\)'):
        find_images(fill(tmp_path, 'a.psd'))


def test_items_pass_as_they_are(tmp_path):
    item = ImageItem('x.jpg', label='wren')
    assert find_images([item, fill(tmp_path, 'a.jpg')])[0] is item


def test_heic_is_read_whatever_its_ending(tmp_path):
    pillow_heif = pytest.importorskip('pillow_heif')
    pillow_heif.register_heif_opener()
    content = encode(two_colors(), 'HEIF', quality=100, chroma=444)
    for name in ('a.heic', 'b.jpg'):
        (tmp_path / name).write_bytes(content)
    items = find_images(tmp_path)
    assert names_of(items) == ['a.heic', 'b.jpg']
    for item in items:
        pixels = read_photo(item).pixels
        assert pixels.shape == (HEIGHT, WIDTH, 3)
        np.testing.assert_allclose(pixels[12, [5, 35]], [RED[::-1], BLUE[::-1]], atol=12)


def test_heic_photos_of_phones_are_upright():
    pillow_heif = pytest.importorskip('pillow_heif')
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = two_colors().transpose(Image.Transpose.ROTATE_90)
    content = encode(lying, 'HEIF', quality=100, chroma=444, exif=exif.tobytes())
    np.testing.assert_allclose(decode_image(content)[12, [5, 35]], [RED[::-1], BLUE[::-1]], atol=12)
    with Image.open(io.BytesIO(content)) as image:
        assert image_to_bgr(image).shape == decode_image(content).shape
    assert decoding.read_header(io.BytesIO(content)).shape == (HEIGHT, WIDTH)


def test_a_damaged_heic_file_is_called_one():
    pytest.importorskip('pillow_heif')
    with pytest.raises(UnreadableImageError, match='a HEIC file that is damaged'):
        decode_image(HEIC_START + bytes(200))


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'open', _open_without_heif)
    monkeypatch.setitem(__import__('sys').modules, 'pillow_heif', None)
    decoding._register_heif.cache_clear()
    content = HEIC_START + bytes(200)
    with pytest.raises(UnreadableImageError, match='a HEIC file; to read them: pip install pillow-heif'):
        decode_image(content)
    (tmp_path / 'e.jpg').write_bytes(content)
    with pytest.raises(UnreadableImageError, match='pip install pillow-heif'):
        decoding.read_header(tmp_path / 'e.jpg')
    decoding._register_heif.cache_clear()


def _open_without_heif(file, *options):
    raise decoding.UnidentifiedImageError('cannot identify image file')
