"""Unpacking good, damaged and hostile archives."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glsim_mm.datasets.preparation.archives import extract, safe_path
from glsim_mm.errors import GLSimError

FILES = {'top/images/a b/ä.jpg': b'a' * 3000, 'top/images.txt': b'1 a b/x.jpg\n', 'beside.txt': b'beside'}
KINDS = ['data.zip', 'data.tar', 'data.tgz', 'data.tar.bz2', 'data.tar.xz']
HOSTILE = ['../x', '/etc/x', 'a/../../x', 'a/..', '..', 'C:/x', 'C:x', '\\x', '..\\x', 'a\\..\\..\\x', '//host/share/x']
NOISE = np.random.default_rng(0).bytes(20000)


def write_archive(path: Path, files: Mapping[str, bytes]) -> Path:
    """An archive whose kind its name says."""
    if path.suffix == '.zip':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content)
        return path
    mode = {'.gz': 'w:gz', '.tgz': 'w:gz', '.bz2': 'w:bz2', '.xz': 'w:xz'}.get(path.suffix, 'w')
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def assert_untouched(tmp_path: Path, target: Path) -> None:
    """Nothing beside the archive but what the target had before."""
    assert contents(target) == {'mine.txt': b'mine'}
    assert [path.name for path in target.iterdir()] == ['mine.txt']
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith('data.')) == ['target']


@pytest.fixture
def target(tmp_path) -> Path:
    """A folder with a file in it."""
    folder = tmp_path / 'target'
    folder.mkdir()
    (folder / 'mine.txt').write_bytes(b'mine')
    return folder


@pytest.mark.parametrize('kind', KINDS)
def test_everything(tmp_path, target, kind):
    extract(write_archive(tmp_path / kind, FILES), target)
    assert contents(target) == {**FILES, 'mine.txt': b'mine'}


def test_the_folder_that_has_what_is_wanted(tmp_path, target):
    extract(write_archive(tmp_path / 'data.zip', FILES), target, ['pictures|images', 'images.txt'])
    assert contents(target) == {
        'images/a b/ä.jpg': b'a' * 3000,
        'images.txt': b'1 a b/x.jpg\n',
        'mine.txt': b'mine',
    }


def test_new_names(tmp_path, target):
    extract(write_archive(tmp_path / 'data.zip', FILES), target, ['data'], {'images': 'data'})
    assert 'data/a b/ä.jpg' in contents(target)


def test_copies_of_macos_are_not_taken_for_the_data(tmp_path, target):
    files = {'__MACOSX/top/thumb/._a.png': b'?', 'top/thumb/a.png': b'png'}
    extract(write_archive(tmp_path / 'data.zip', files), target, ['data'], {'thumb': 'data'})
    assert contents(target) == {'data/a.png': b'png', 'mine.txt': b'mine'}


def test_a_tar_archive_with_a_zip_archive_at_its_end(tmp_path, target):
    inner = write_archive(tmp_path / 'data.inner.zip', {'a': b'1'}).read_bytes()
    extract(write_archive(tmp_path / 'data.tar', {'b': b'2', 'inner.zip': inner}), target)
    assert contents(target) == {'b': b'2', 'inner.zip': inner, 'mine.txt': b'mine'}


def test_folder_that_is_a_link_to_another_place(tmp_path, target):
    (tmp_path / 'data.disk').mkdir()
    (target / 'images').symlink_to(tmp_path / 'data.disk')
    extract(write_archive(tmp_path / 'data.tar', FILES), target, ['images'])
    assert contents(tmp_path / 'data.disk') == {'a b/ä.jpg': b'a' * 3000}
    assert (target / 'images').is_symlink()


def test_files_are_replaced_and_others_stay(tmp_path, target):
    (target / 'images' / 'a b').mkdir(parents=True)
    (target / 'images' / 'a b' / 'ä.jpg').write_bytes(b'broken')
    (target / 'images' / 'other.jpg').write_bytes(b'other')
    extract(write_archive(tmp_path / 'data.tar', FILES), target, ['images'])
    assert contents(target)['images/a b/ä.jpg'] == b'a' * 3000
    assert contents(target)['images/other.jpg'] == b'other'


def test_a_file_in_the_way(tmp_path, target):
    (target / 'images').write_bytes(b'')
    with pytest.raises(GLSimError, match='images is in the way'):
        extract(write_archive(tmp_path / 'data.tar', FILES), target, ['images'])


def test_what_a_killed_run_left_is_removed(tmp_path, target):
    (target / '.unpacking-data.tar').mkdir()
    (target / '.unpacking-data.tar' / 'half.jpg').touch()
    extract(write_archive(tmp_path / 'data.tar', {'a': b'1'}), target)
    assert contents(target) == {'a': b'1', 'mine.txt': b'mine'}


def test_an_archive_of_something_else(tmp_path, target):
    archive = write_archive(tmp_path / 'data.zip', FILES)
    with pytest.raises(GLSimError, match=r'data.zip does not hold images, labels.txt; it is another archive'):
        extract(archive, target, ['images', 'labels.txt'])
    assert_untouched(tmp_path, target)


@pytest.mark.parametrize('kind, name', [*(('data.zip', name) for name in HOSTILE), ('data.tar.gz', '../x')])
def test_members_that_would_leave_the_folder(tmp_path, target, kind, name):
    archive = write_archive(tmp_path / kind, {'good.txt': b'good', name: b'bad'})
    with pytest.raises(GLSimError, match='would leave the folder') as raised:
        extract(archive, target)
    assert repr(name) in str(raised.value) and str(archive) in str(raised.value)
    assert_untouched(tmp_path, target)


LINKS = {
    'link out': (tarfile.SYMTYPE, '../../outside'),
    'link in': (tarfile.SYMTYPE, 'good.txt'),
    'absolute link': (tarfile.SYMTYPE, '/etc/passwd'),
    'hard link out': (tarfile.LNKTYPE, '../../outside'),
    'hard link in': (tarfile.LNKTYPE, 'good.txt'),
    'device': (tarfile.CHRTYPE, ''),
    'disk': (tarfile.BLKTYPE, ''),
    'pipe': (tarfile.FIFOTYPE, ''),
}


@pytest.mark.parametrize('name', LINKS)
def test_links_and_devices_in_tar(tmp_path, target, name):
    with tarfile.open(tmp_path / 'data.tar', 'w') as archive:
        good = tarfile.TarInfo('good.txt')
        archive.addfile(good)
        info = tarfile.TarInfo(name)
        info.type, info.linkname = LINKS[name]
        archive.addfile(info)
        through = tarfile.TarInfo(f'{name}/written.txt')
        archive.addfile(through)
    with pytest.raises(GLSimError, match=f"the member '{name}', which is a link or device"):
        extract(tmp_path / 'data.tar', target)
    assert_untouched(tmp_path, target)


@pytest.mark.parametrize('kind', [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_zip(tmp_path, target, kind):
    with zipfile.ZipFile(tmp_path / 'data.zip', 'w') as archive:
        info = zipfile.ZipInfo('a link')
        info.create_system, info.external_attr = 3, (kind | 0o777) << 16
        archive.writestr(info, '/etc/passwd')
    with pytest.raises(GLSimError, match="the member 'a link', which is a link or device"):
        extract(tmp_path / 'data.zip', target)
    assert_untouched(tmp_path, target)


@pytest.mark.parametrize('kind', KINDS)
def test_truncated(tmp_path, target, kind):
    archive = write_archive(tmp_path / kind, {'a.bin': NOISE, 'b.bin': NOISE[::-1], 'c.bin': NOISE[::2]})
    content = archive.read_bytes()
    for share in (0.0, 0.01, 0.5, 0.8):
        archive.write_bytes(content[: int(share * len(content))])
        with pytest.raises(GLSimError, match='it is incomplete or damaged, remove it and download it again') as raised:
            extract(archive, target)
        assert str(archive) in str(raised.value) and '\n' not in str(raised.value)
        assert_untouched(tmp_path, target)


def test_tar_cut_off_between_two_members(tmp_path, target):
    whole = write_archive(tmp_path / 'data.tar', {'a': b'x' * 512, 'b': b'y' * 512}).read_bytes()
    for name, content in (('data.cut.tar', whole[:1024]), ('data.cut.tar.gz', gzip.compress(whole[:1024]))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(GLSimError, match='incomplete or damaged'):
            extract(tmp_path / name, target)
        assert_untouched(tmp_path, target)


@pytest.mark.parametrize('kind', [kind for kind in KINDS if kind != 'data.tar'])
def test_damaged_in_the_middle(tmp_path, target, kind):
    archive = write_archive(tmp_path / kind, {'a.bin': NOISE, 'b.bin': NOISE[::-1]})
    content = bytearray(archive.read_bytes())
    for position in range(len(content) // 2, len(content) // 2 + 20):
        content[position] ^= 0x5A
    archive.write_bytes(bytes(content))
    with pytest.raises(GLSimError, match='incomplete or damaged'):
        extract(archive, target)
    assert_untouched(tmp_path, target)


def test_sum_at_the_end_of_a_compressed_archive(tmp_path, target):
    archive = write_archive(tmp_path / 'data.tar.gz', {'a.bin': NOISE})
    content = archive.read_bytes()
    for damaged in (content[:-8] + b'\0\0\0\0' + content[-4:], content[:-6]):
        archive.write_bytes(damaged)
        with pytest.raises(GLSimError, match='incomplete or damaged'):
            extract(archive, target)
        assert_untouched(tmp_path, target)


def test_encrypted_zip(tmp_path, target):
    archive = write_archive(tmp_path / 'data.zip', {'a': b'secret'})
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b'PK\x01\x02') + 8] |= 1
    archive.write_bytes(bytes(content))
    with pytest.raises(GLSimError, match='password'):
        extract(archive, target)


def test_no_archive(tmp_path, target):
    (tmp_path / 'data.tgz').write_text('<html>404 Not Found</html>')
    with pytest.raises(GLSimError, match='incomplete or damaged'):
        extract(tmp_path / 'data.tgz', target)
    with pytest.raises(GLSimError, match='is not there'):
        extract(tmp_path / 'none.zip', target)


def test_a_file_that_is_also_a_folder(tmp_path, target):
    with pytest.raises(GLSimError, match='cannot be unpacked'):
        extract(write_archive(tmp_path / 'data.tar', {'a': b'', 'a/b': b''}), target)
    assert_untouched(tmp_path, target)


def test_modes_and_owners_of_the_archive_do_not_count(tmp_path, target):
    with tarfile.open(tmp_path / 'data.tar', 'w') as archive:
        info = tarfile.TarInfo('a.sh')
        info.mode, info.uid = 0o6777, 12345
        archive.addfile(info)
    extract(tmp_path / 'data.tar', target)
    assert not stat.S_IMODE((target / 'a.sh').stat().st_mode) & 0o6111


NAMES = st.lists(st.sampled_from(['..', '.', 'a', '', 'C:', ' ', '...', 'b.jpg', '~', '..a']), min_size=1, max_size=6)


@given(parts=NAMES, separator=st.sampled_from('/\\'))
def test_a_safe_path_never_leaves(parts, separator):
    name = separator.join(parts)
    try:
        path = safe_path(name, Path('x.zip'))
    except GLSimError:
        assert '..' in parts or name.startswith(separator) or 'C:' in name
        return
    assert not path.is_absolute() and '..' not in path.parts
    folder = PurePosixPath('/data/target')
    assert (folder / path).is_relative_to(folder)
