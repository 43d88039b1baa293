"""Backups of galleries in folders, and what is restored from them."""

import errno
import os
import re
import shutil
from collections import namedtuple

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, back_up_gallery, backups, create_gallery, database, open_gallery, restore_gallery
from retrieval.gallery import replacing as replacing_module

X = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / 'gallery'
    with create_gallery(path, 8, preset='fp16') as gallery:
        gallery.add(X[:300], [Record(f'{n}.jpg', label='old', metadata={'n': n}) for n in range(300)])
        gallery.compact()
    return path


def state(folder):
    """Everything that a reader sees, verified."""
    with open_gallery(folder) as gallery:
        gallery.verify()
        ids = gallery.ids()
        rows = [(one.id, one.path, one.label, one.metadata) for one in gallery.records(ids)]
        return rows, gallery.vectors(ids).tolist(), gallery.built_presets, list(gallery.history())


def _change(folder):
    """Rows go, rows come, labels change: some segments stay, some are new."""
    with open_gallery(folder, writable=True) as gallery:
        gallery.remove(range(50))
        gallery.add(X[300:340], [Record('new.jpg', metadata={'n': 1000})] * 40)
        gallery.set_labels([60, 61], 'wren')


def _names(folder):
    return {
        path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file() and '-' not in path.name
    }


def test_a_backup_is_a_gallery_without_locks_and_reserves(folder, tmp_path):
    target = tmp_path / 'deep' / 'backup'
    done = back_up_gallery(folder, target)
    assert done == (300, 2, 3, 0, done.size) and done.size > 300 * 8 * 4
    assert 'as of change 2' in done.describe()
    assert state(target) == state(folder)
    with open_gallery(folder) as gallery:
        assert _names(target) == {'gallery.sqlite', 'write.lock', *gallery.manifest.files}
    with open_gallery(target, writable=True) as gallery:  # which keeps a log like all galleries, from now on
        gallery.add(X[300:])
        assert (target / 'gallery.sqlite-wal').exists() and len(gallery) == 400
    with open_gallery(target) as gallery:
        gallery.verify()


def test_a_backup_is_brought_up_to_date_without_copying_all_again(folder, tmp_path):
    back_up_gallery(folder, tmp_path / 'backup')
    _change(folder)
    with open_gallery(folder, writable=True), open_gallery(folder):
        done = back_up_gallery(folder, tmp_path / 'backup')
    assert (done.rows, done.copied, done.kept) == (290, 2, 3)
    assert state(tmp_path / 'backup') == state(folder)
    with open_gallery(folder, writable=True) as gallery:
        gallery.compact('flat')
        assert back_up_gallery(folder, tmp_path / 'backup').kept == 0
        again = back_up_gallery(folder, tmp_path / 'backup')
        assert again.copied == 0 and again.rows == 290
        assert _names(tmp_path / 'backup') == {'gallery.sqlite', 'write.lock', *gallery.manifest.files}
    assert state(tmp_path / 'backup') == state(folder)


def test_a_backup_of_a_gallery_with_a_log_of_a_killed_writer(folder, tmp_path):
    with open_gallery(folder, writable=True) as gallery:
        gallery.remove([1])
        assert (folder / 'gallery.sqlite-wal').stat().st_size > 0
        back_up_gallery(folder, tmp_path / 'backup')
    assert len(state(tmp_path / 'backup')[0]) == 299


@pytest.mark.parametrize('copied', [64 << 20, 0])
def test_a_writer_that_compacts_meanwhile_changes_nothing(folder, tmp_path, monkeypatch, copied):
    monkeypatch.setattr(database, '_COPIED_BYTES', copied)
    expected = state(folder)
    copy_file, calls = backups._copy_file, []

    def compact_first(*args):
        if not calls:
            with open_gallery(folder, writable=True) as gallery:
                gallery.remove([0])
                gallery.compact('flat')
        calls.append(args)
        copy_file(*args)

    monkeypatch.setattr(backups, '_copy_file', compact_first)
    back_up_gallery(folder, tmp_path / 'backup')
    assert state(tmp_path / 'backup') == expected and state(folder) != expected


@pytest.mark.parametrize('copied', [64 << 20, 0])
def test_readers_of_a_backup_go_on_while_it_is_brought_up_to_date(folder, tmp_path, monkeypatch, copied):
    monkeypatch.setattr(database, '_COPIED_BYTES', copied)
    back_up_gallery(folder, tmp_path / 'backup')
    with open_gallery(tmp_path / 'backup') as reader:
        before = reader.search(X[:50], 3)
        _change(folder)
        with open_gallery(folder, writable=True) as gallery:
            gallery.compact()
        back_up_gallery(folder, tmp_path / 'backup')
        np.testing.assert_array_equal(reader.search(X[:50], 3).ids, before.ids)
        assert reader.records([7])[0].label == 'old'
        reader.refresh()
        assert len(reader) == 290 and reader.records([60])[0].label == 'wren'


def test_what_is_no_earlier_backup_is_kept(folder, tmp_path):
    def refused(target, words, gallery=folder):
        before = state(target)
        with pytest.raises(RetrievalError, match=words):
            back_up_gallery(gallery, target)
        assert state(target) == before

    target = tmp_path / 'backup'
    with create_gallery(tmp_path / 'other', 8) as gallery:
        gallery.add(X[:9])
    refused(
        tmp_path / 'other', r'other is a gallery and no backup: choose another place, or replace it \(--overwrite\)'
    )
    back_up_gallery(folder, target)
    refused(target, 'is a backup of another gallery than .*other', tmp_path / 'other')
    shutil.copytree(target, tmp_path / 'changed')
    with open_gallery(tmp_path / 'changed', writable=True) as gallery:
        gallery.remove([3])
    refused(tmp_path / 'changed', 'is a backup that was changed since it was made')
    _change(folder)
    shutil.copytree(folder, tmp_path / 'copy')  # goes its own way from here
    back_up_gallery(folder, target)
    shutil.rmtree(tmp_path / 'copy')
    restore_gallery(tmp_path / 'backup', tmp_path / 'copy')
    for one in (folder, tmp_path / 'copy'):
        with open_gallery(one, writable=True) as gallery:
            gallery.add(X[350:360] + (one == folder))
    back_up_gallery(tmp_path / 'copy', target)
    refused(target, 'is a backup of a state that .*gallery has not had, or no longer has')
    back_up_gallery(folder, target, overwrite=True)
    assert state(target) == state(folder)
    (target / 'gallery.sqlite').write_bytes(b'nothing of it is left' * 1000)
    with pytest.raises(RetrievalError, match='backup cannot be read: choose another place, or replace it'):
        back_up_gallery(folder, target)
    back_up_gallery(folder, target, overwrite=True)
    assert state(target) == state(folder)
    back_up_gallery(tmp_path / 'other', target, overwrite=True)
    assert state(target) == state(tmp_path / 'other')
    assert not [path for path in tmp_path.iterdir() if path.name.startswith('backup.')]


def test_places_that_are_refused(folder, tmp_path):
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'a.txt').write_text('mine')
    (tmp_path / 'link').symlink_to(folder)
    for target, words in [
        (folder, 'lie within each other'),
        (folder / 'segments' / 'backup', 'lie within each other: choose a place outside'),
        (tmp_path, 'lie within each other'),
        (tmp_path / 'link' / 'backup', 'lie within each other'),
        (tmp_path / 'notes', 'notes exists and is no gallery: choose another place'),
        (tmp_path / 'notes' / 'a.txt', r'cannot be made \(.*\): choose another place'),
        ('milvus://host/birds', 'birds cannot be backed up like a folder: use milvus-backup'),
    ]:
        before = _names(tmp_path)
        for overwrite in (False, True):
            with pytest.raises(RetrievalError, match=words):
                back_up_gallery(folder, target, overwrite=overwrite)
        assert _names(tmp_path) == before
    with pytest.raises(RetrievalError, match='no gallery at .*nothing'):
        back_up_gallery(tmp_path / 'nothing', tmp_path / 'backup')
    with pytest.raises(RetrievalError, match='birds cannot be restored like a folder'):
        restore_gallery('milvus://host/birds', tmp_path / 'backup')
    assert not (tmp_path / 'backup').exists()


def test_a_target_that_is_written_is_left_alone(folder, tmp_path):
    target = tmp_path / 'backup'
    back_up_gallery(folder, target)
    with open_gallery(target, writable=True), pytest.raises(RetrievalError, match='is being written by process'):
        back_up_gallery(folder, target)
    back_up_gallery(folder, target)  # nothing was changed


def test_too_little_room_is_told_before_anything_is_copied(folder, tmp_path, monkeypatch):
    back_up_gallery(folder, tmp_path / 'backup')
    _change(folder)
    Usage = namedtuple('Usage', 'free')
    with open_gallery(folder) as gallery:
        new = [name for name in gallery.manifest.files if not (tmp_path / 'backup' / name).exists()]
        needed = sum(gallery.manifest.files[name]['size'] for name in new)
    needed += (folder / 'gallery.sqlite').stat().st_size
    before = state(tmp_path / 'backup')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: Usage(needed - 1))
    for target in ('backup', 'elsewhere'):
        with pytest.raises(RetrievalError, match=r'needs 0\.\d MiB and has 0\.\d MiB: make room, or choose another'):
            back_up_gallery(folder, tmp_path / target)
    assert state(tmp_path / 'backup') == before and not (tmp_path / 'elsewhere').exists()
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: Usage(needed))
    back_up_gallery(folder, tmp_path / 'backup')
    assert state(tmp_path / 'backup') == state(folder)


def _damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_damage_is_never_backed_up_nor_restored(folder, tmp_path):
    back_up_gallery(folder, tmp_path / 'backup')
    kept = state(tmp_path / 'backup')
    _change(folder)
    with open_gallery(folder) as gallery:
        name = max(name for name in gallery.manifest.files if 'vectors' in name)
    _damage(folder / name)
    with pytest.raises(RetrievalError, match=rf'{re.escape(name)} is damaged: restore'):
        back_up_gallery(folder, tmp_path / 'backup')
    assert state(tmp_path / 'backup') == kept
    shutil.copytree(tmp_path / 'backup', tmp_path / 'rotten')
    _damage(next((tmp_path / 'rotten').glob('segments/*/*.vectors.faiss')))
    for options in ({}, {'overwrite': True}):
        before = {name: (folder / name).stat().st_mtime_ns for name in _names(folder)}
        with pytest.raises(RetrievalError, match='is damaged' if options else 'is a gallery already'):
            restore_gallery(tmp_path / 'rotten', folder, **options)
        assert {name: (folder / name).stat().st_mtime_ns for name in _names(folder)} == before
    restore_gallery(tmp_path / 'backup', folder, overwrite=True)
    assert state(folder) == kept


@pytest.mark.parametrize('exchange', [True, False])
def test_a_gallery_is_restored(folder, tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(replacing_module, 'exchange_folders', lambda *folders: False)
    back_up_gallery(folder, tmp_path / 'backup')
    before = state(folder)
    _change(folder)
    with open_gallery(folder) as reader:
        later = reader.manifest.generation
        restored = restore_gallery(tmp_path / 'backup', folder, overwrite=True)
        assert restored.rows == 300 and len(reader) == 290
        with open_gallery(folder, writable=True) as gallery:
            assert gallery.manifest.generation == later + 1
            assert gallery.add(X[380:381])[0] == 340  # an id that was never used
        reader.refresh()
        np.testing.assert_array_equal(reader.search(X[380:381], 1).ids, [[340]])
        assert reader.records([60])[0].label == 'old'
    with open_gallery(folder, writable=True) as gallery:
        gallery.remove([340])
    assert state(folder)[:2] == before[:2]
    shutil.rmtree(folder)
    restore_gallery(tmp_path / 'backup', folder)
    assert state(folder) == before
    _change(folder)
    assert back_up_gallery(folder, tmp_path / 'backup').kept == 3  # goes on with the same backup
    assert sorted(path.name for path in tmp_path.iterdir()) == ['backup', 'gallery']


def test_a_gallery_too_damaged_to_open_is_restored(folder, tmp_path):
    back_up_gallery(folder, tmp_path / 'backup')
    (folder / 'gallery.sqlite').write_bytes(b'nothing of it is left' * 1000)
    with pytest.raises(RetrievalError, match='restore the gallery'):
        open_gallery(folder)
    restore_gallery(tmp_path / 'backup', folder, overwrite=True)
    assert state(folder) == state(tmp_path / 'backup')


def test_segments_of_one_number_that_differ_are_not_taken_for_each_other(folder, tmp_path):
    """A reader that was open when an older state was restored, which went on in another way."""
    back_up_gallery(folder, tmp_path / 'backup')
    with open_gallery(folder, writable=True) as gallery:
        gallery.add(X[300:310])
    with open_gallery(folder) as reader:
        shutil.rmtree(folder)
        restore_gallery(tmp_path / 'backup', folder)
        with open_gallery(folder, writable=True) as gallery:
            gallery.add(X[350:360])
        reader.refresh()
        np.testing.assert_array_equal(reader.search(X[350:360], 1).ids[:, 0], np.arange(300, 310))


def test_a_half_of_a_replacement_is_put_right(folder, tmp_path, monkeypatch):
    back_up_gallery(folder, tmp_path / 'backup')
    monkeypatch.setattr(replacing_module, 'exchange_folders', lambda *folders: False)
    replace = os.replace

    def killed(source, target):
        if str(target) == str(folder):
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', killed)
        with pytest.raises((KeyboardInterrupt, FileNotFoundError)):
            restore_gallery(tmp_path / 'backup', folder, overwrite=True)
    assert not folder.exists()
    with pytest.raises(RetrievalError, match='is a gallery already'):
        restore_gallery(tmp_path / 'backup', folder)
    assert len(state(folder)[0]) == 300
    restore_gallery(tmp_path / 'backup', folder, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['backup', 'gallery']


def test_a_disk_that_fails_is_told_and_the_backup_goes_on(folder, tmp_path, monkeypatch):
    back_up_gallery(folder, tmp_path / 'backup')
    before = state(tmp_path / 'backup')
    _change(folder)

    def fail(path):
        raise OSError(errno.EIO, 'Input/output error', str(path))

    with monkeypatch.context() as patch:
        patch.setattr(backups, 'fsync_file', fail)
        with pytest.raises(RetrievalError, match='cannot be written .*run the same command again, which goes on'):
            back_up_gallery(folder, tmp_path / 'backup')
    assert state(tmp_path / 'backup') == before
    back_up_gallery(folder, tmp_path / 'backup')
    assert state(tmp_path / 'backup') == state(folder)


def test_folders_of_like_names_are_left_alone(folder, tmp_path):
    back_up_gallery(folder, tmp_path / 'backup')
    for name in ('gallery.replaced', 'gallery.replacement'):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / 'mine.txt').touch()
    with pytest.raises(RetrievalError, match=r'gallery\.replacement is in the way: give that gallery another name'):
        restore_gallery(tmp_path / 'backup', folder, overwrite=True)
    (tmp_path / 'gallery.replacement').rename(tmp_path / 'aside')
    restore_gallery(tmp_path / 'backup', folder, overwrite=True)
    assert (tmp_path / 'aside' / 'mine.txt').exists() and (tmp_path / 'gallery.replaced' / 'mine.txt').exists()
