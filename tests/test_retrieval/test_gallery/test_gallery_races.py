"""What a reader meets when a writer replaces segments while the reader opens or verifies them."""

import os
import threading

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import create_gallery, open_gallery, segments
from retrieval.gallery import folder_reader as folder_module
from retrieval.gallery.segments import open_segment, segment_folder

X = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
PATCHES = np.ones((40, 2, 3), np.float16)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / 'gallery'
    with create_gallery(path, {'a': 8}, preset='hnsw') as gallery:
        gallery.add(X, patches=PATCHES)
        gallery.compact()
    return path


def _compact(folder):
    with open_gallery(folder, writable=True) as writer:
        writer.compact()


def _before(monkeypatch, module, name, action, times):
    """Let something happen just before the first calls of a function."""
    function, calls = getattr(module, name), []

    def acting(*args, **kwargs):
        calls.append(args)
        if len(calls) <= times:
            monkeypatch.setattr(module, name, function)  # what the action calls itself is left alone
            action()
            monkeypatch.setattr(module, name, acting)
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, acting)
    return calls


def test_files_that_vanish_at_any_moment_are_named(folder):
    with open_gallery(folder) as gallery:
        files = gallery.manifest.files
    number = int(next(iter(files)).split('/')[1])
    here, away = segment_folder(folder, number), folder / 'away'
    done = threading.Event()

    def come_and_go():
        while not done.is_set():
            os.rename(here, away)
            os.rename(away, here)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    opened, refusals = [], []
    try:
        while min(len(opened), len(refusals)) < 200:
            try:
                opened.append(open_segment(folder, number, {'a': 'hnsw'}, files, None).patches)
            except RetrievalError as error:
                refusals.append(str(error))
    finally:
        done.set()
        thread.join()
    assert all(patches is not None for patches in opened), 'patches that vanish were there'
    assert all('restore the gallery' in words for words in refusals)


@pytest.mark.parametrize('module, name', [(folder_module, 'open_segment'), (segments, 'read_part')])
def test_a_reader_goes_on_to_the_newest_state_however_often_it_changes(folder, monkeypatch, module, name):
    calls = _before(monkeypatch, module, name, lambda: _compact(folder), times=9)
    with open_gallery(folder) as reader:
        assert len(calls) == 10
        assert len(reader) == 40 and reader.manifest.generation == 11
        np.testing.assert_array_equal(reader.search(X, 1).ids[:, 0], np.arange(40))


def test_a_reader_that_never_comes_to_an_end_says_so(folder, monkeypatch):
    monkeypatch.setattr(folder_module, 'ATTEMPTS', 3)
    _before(monkeypatch, folder_module, 'open_segment', lambda: _compact(folder), times=99)
    with pytest.raises(RetrievalError, match='is changed faster than it can be opened'):
        open_gallery(folder)


def test_a_refresh_that_fails_leaves_the_state_that_was(folder, monkeypatch):
    with open_gallery(folder) as reader:
        with open_gallery(folder, writable=True) as writer:
            writer.remove([0, 1, 2])
            writer.add(X[:5] + 1, patches=PATCHES[:5])
            name = sorted(writer.manifest.files)[-1]
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(RetrievalError, match='is missing: restore'):
            reader.refresh()
        assert len(reader) == len(reader.ids()) == 40
        np.testing.assert_array_equal(reader.search(X, 1).ids[:, 0], np.arange(40))
        (folder / name).write_bytes(content)
        reader.refresh()
        assert len(reader) == len(reader.ids()) == 42


def test_a_gallery_that_changes_is_verified_in_its_newest_state(folder, monkeypatch):
    _before(monkeypatch, folder_module, 'describe_file', lambda: _compact(folder), times=1)
    with open_gallery(folder) as gallery:
        gallery.verify()


def test_damage_is_found_in_a_gallery_that_changes(folder, monkeypatch):
    def damage():
        _compact(folder)
        path = next(folder.glob('segments/*/a.vectors.faiss'))
        content = bytearray(path.read_bytes())
        content[-5] ^= 4
        path.write_bytes(content)

    _before(monkeypatch, folder_module, 'describe_file', damage, times=1)
    with open_gallery(folder) as gallery, pytest.raises(RetrievalError, match=r'a\.vectors\.faiss is damaged'):
        gallery.verify()
