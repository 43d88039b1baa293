"""Galleries that change places: what is where, who is refused, and what readers see meanwhile."""

import threading

import numpy as np
import pytest
from tiny_run import call_tool

from retrieval.errors import RetrievalError
from retrieval.gallery import Fingerprint, Record, create_gallery, open_gallery, swap_galleries, swapping
from retrieval.gallery.lock import WriteLock

ROWS = np.eye(6, dtype=np.float32)


def make(location, sign, model='a'):
    """A gallery of six rows whose labels say in which direction its vectors point."""
    with create_gallery(location, 6, fingerprint=Fingerprint(model, 'c', 'p')) as gallery:
        gallery.add(sign * ROWS, [Record(label=f'{sign}') for _ in ROWS])
    return location


def sign_of(location):
    with open_gallery(location) as gallery:
        signs = {float(record.label) for record in gallery.records(gallery.ids())}
        assert signs == set(gallery.vectors(gallery.ids()).sum(axis=1).tolist())
        return signs.pop()


def test_two_folders_change_places_and_back(tmp_path, capsys):
    old, new = make(tmp_path / 'gallery', 1), make(tmp_path / 'new', -1)
    call_tool('retrieval/swap', old, new)
    assert 'gallery is what' in capsys.readouterr().out
    assert (sign_of(old), sign_of(new)) == (-1, 1)
    call_tool('retrieval/swap', old, new)
    assert (sign_of(old), sign_of(new)) == (1, -1)


def test_a_link_leads_to_the_other_one(tmp_path):
    first, second, link = make(tmp_path / 'first', 1), make(tmp_path / 'second', -1), tmp_path / 'gallery'
    link.symlink_to('first')
    assert 'before it led to first' in swap_galleries(link, second)
    assert link.is_symlink() and (sign_of(link), sign_of(first), sign_of(second)) == (-1, 1, -1)
    assert {path.name for path in tmp_path.iterdir()} == {'first', 'second', 'gallery'}


@pytest.mark.parametrize('kind', ['folder', 'link'])
def test_whoever_opens_it_meanwhile_finds_one_whole_gallery(tmp_path, monkeypatch, kind):
    monkeypatch.setattr('os.fsync', lambda descriptor: None)
    places = make(tmp_path / 'first', 1), make(tmp_path / 'second', -1)
    location = places[0]
    if kind == 'link':
        location = tmp_path / 'gallery'
        location.symlink_to('first')
    seen, errors, start, end = [], [], threading.Semaphore(0), threading.Semaphore(0)

    def read():
        for _ in range(100):
            start.acquire()
            for _ in range(2):
                try:
                    seen.append(sign_of(location))
                except (AssertionError, RetrievalError) as error:  # of a thread, which nobody would see
                    errors.append(error)
            end.release()

    thread = threading.Thread(target=read)
    thread.start()
    for swaps in range(100):  # one while it is opened twice
        start.release()
        swap_galleries(location, places[1] if kind == 'folder' or swaps % 2 == 0 else places[0])
        end.acquire()
    thread.join()
    assert not errors and len(seen) == 200 and set(seen) == {1, -1}


def test_open_readers_go_on_and_are_told_of_another_model(tmp_path):
    old, new = make(tmp_path / 'gallery', 1), make(tmp_path / 'new', -1, model='b')
    with open_gallery(old) as reader:
        swap_galleries(old, new)
        for _ in range(2):
            assert reader.search(ROWS[:1], 1).scores[0, 0] == 1
            with pytest.raises(RetrievalError, match='gallery is the gallery of another model now: open it again'):
                reader.refresh()
    assert sign_of(old) == -1


def test_open_readers_take_over_one_of_the_same_model(tmp_path):
    old, new = make(tmp_path / 'gallery', 1), make(tmp_path / 'new', -1)
    with open_gallery(old) as reader:
        swap_galleries(old, new)
        reader.refresh()
        assert {record.label for record in reader.records(reader.ids())} == {'-1'}
        assert reader.search(-ROWS[:1], 1).scores[0, 0] == 1


def test_mistakes_are_told_and_change_nothing(tmp_path, monkeypatch):
    old, new = make(tmp_path / 'gallery', 1), make(tmp_path / 'new', -1)
    cases = [(old, tmp_path / 'gone', 'gone is no gallery in a folder'), (old, old, 'are the same gallery')]
    cases.append(('milvus://localhost/birds', new, '^milvus://localhost/birds is no gallery in a folder'))
    for first, second, message in cases:
        with pytest.raises(RetrievalError, match=message):
            swap_galleries(first, second)
    link = tmp_path / 'link'
    link.symlink_to('gallery')
    for written in (old, new):
        lock = WriteLock(written)
        for place in (old, link):
            with pytest.raises(RetrievalError, match='is being written by'):
                swap_galleries(place, new)
        lock.release()
    with pytest.raises(RetrievalError, match='link is a symbolic link: name the folder'):
        swap_galleries(new, link)
    assert sign_of(link) == 1
    monkeypatch.setattr(swapping, 'exchange_folders', lambda first, second: False)
    with pytest.raises(RetrievalError, match='cannot change places at one moment .* let a symbolic link'):
        swap_galleries(old, new)
    assert (sign_of(old), sign_of(new)) == (1, -1)
