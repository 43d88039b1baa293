"""Watching folders: when a file has settled, and a gallery that follows files as they come."""

import json
import queue
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from counting_model import write_photo
from hypothesis import given
from hypothesis import strategies as st
from mean_encoder import MeanEncoder

from glsim_mm.search import watch_folders
from glsim_mm.search.sync_report import SyncReport
from glsim_mm.search.sync_sources import Stamp
from glsim_mm.search.watching import Settling, _start_observer
from retrieval.errors import UserError
from retrieval.gallery import create_gallery, open_gallery

PATIENCE = 60.0  # after which a test fails


def stamp(size: int) -> Stamp:
    return Stamp(size, size, 1)


def test_a_file_settles_when_it_stays_as_it_is():
    settling = Settling(2.0)
    assert settling.look({'old': stamp(1)}, 0.0) == set() and settling.is_due  # the first look is a sync of all
    settling.done({'old': stamp(1)})
    settling.look({'old': stamp(1)}, 1.0)
    assert not settling.is_due and not settling.is_waiting
    for size, now in [(1, 10.0), (2, 11.0), (3, 12.5)]:  # a file that is being copied
        assert settling.look({'old': stamp(1), 'new': stamp(size)}, now) == {'new'} and not settling.is_due
    assert settling.look({'old': stamp(1), 'new': stamp(3)}, 14.0) == {'new'} and settling.is_waiting
    assert settling.look({'old': stamp(1), 'new': stamp(3)}, 14.5) == set() and settling.is_due
    settling.done({'old': stamp(1), 'new': stamp(3)})
    settling.look({'old': stamp(1), 'new': stamp(3)}, 20.0)
    assert not settling.is_due


def test_files_settle_one_by_one_and_what_waited_is_made_up_for():
    settling = Settling(2.0)
    settling.look({'a': stamp(1)}, 0.0)
    settling.done({'a': stamp(1)})
    settling.look({'new': stamp(1)}, 1.0)  # a has gone
    assert settling.look({'new': stamp(2)}, 3.0) == {'new'} and settling.is_due  # a is gone for two seconds
    settling.done({'new': stamp(2)})
    assert settling.look({'new': stamp(3)}, 4.0) == {'new'} and not settling.is_due
    assert settling.look({}, 5.0) == set() and settling.is_due  # the new file has gone again: a is still to be removed
    settling.done({})
    settling.look({}, 9.0)
    assert not settling.is_due


def test_a_failed_sync_is_due_again():
    settling = Settling(0.0)
    settling.look({'a': stamp(1)}, 0.0)
    settling.look({'a': stamp(1)}, 1.0)
    assert settling.is_due
    settling.done({'a': stamp(1)})
    settling.look({'a': stamp(2)}, 2.0)
    settling.look({'a': stamp(2)}, 3.0)
    assert settling.is_due


looks = st.lists(st.dictionaries(st.sampled_from('abc'), st.integers(0, 2).map(stamp)), min_size=1, max_size=12)


@given(looks, st.lists(st.floats(0, 3), min_size=12, max_size=12))
def test_every_state_that_stays_is_synced(stamps, pauses):
    """Whatever came before, the last state has been synced as a whole once it has settled, and then nothing is due."""
    settling, now, synced = Settling(2.0), 0.0, {}
    for one, pause in zip([*stamps, stamps[-1], stamps[-1]], [*pauses, 5.0, 5.0, 5.0][-len(stamps) - 2 :]):
        now += pause
        unsettled = settling.look(one, now)
        if settling.is_due:
            left = {path: synced[path] for path in unsettled if path in synced}
            synced = {path: value for path, value in one.items() if path not in unsettled} | left
            settling.done(one)
    assert synced == stamps[-1] and not unsettled
    settling.look(stamps[-1], now)
    assert not settling.is_due


@pytest.fixture
def watched(tmp_path):
    """A gallery, its folder of two photos, and a way to watch it that collects news."""
    rng = np.random.default_rng(0)
    for name in ('a/0.png', 'b/0.png'):
        write_photo(tmp_path / 'photos' / name, rng)
    origin = {'root': str(tmp_path / 'photos'), 'sources': json.dumps([str(tmp_path / 'photos')])}
    encoder = MeanEncoder()
    create_gallery(tmp_path / 'gallery', {'global': 48}, fingerprint=encoder.fingerprint, origin=origin).close()
    news, stop = queue.Queue(), threading.Event()
    options = dict(tell=news.put, stop=stop, settle_seconds=0.0, progress=False, num_workers=0)

    def watch(**further):
        def run():
            try:
                watch_folders(tmp_path / 'gallery', encoder, **{**options, **further})
            except Exception as error:  # noqa: BLE001 - the test sees it
                news.put(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    watching = SimpleNamespace(
        folder=tmp_path, photos=tmp_path / 'photos', gallery=tmp_path / 'gallery', encoder=encoder, watch=watch
    )
    watching.next = lambda: news.get(timeout=PATIENCE)
    yield watching
    stop.set()
    for thread in threading.enumerate():
        if thread.name.endswith('(run)'):
            thread.join(PATIENCE)
            assert not thread.is_alive()


def arrive(watched, name: str, seed: int) -> None:
    """A photo that comes whole, as a program moves it into the folder."""
    write_photo(watched.folder / 'away.png', np.random.default_rng(seed)).rename(watched.photos / name)


def paths(location) -> set[str]:
    with open_gallery(location) as gallery:
        return {one.path for one in gallery.records(gallery.ids())}


@pytest.mark.slow
@pytest.mark.parametrize('poll_seconds', [None, 0.05], ids=['events', 'polling'])
def test_a_gallery_follows_files_as_they_come(watched, poll_seconds):
    if poll_seconds is None:
        pytest.importorskip('watchdog')
    watched.watch(poll_seconds=poll_seconds)
    first = watched.next()
    assert isinstance(first, SyncReport) and len(first.added) == 2
    arrive(watched, 'a/new.png', 1)
    assert [one.path for one in watched.next().added] == ['a/new.png']
    (watched.photos / 'a' / 'new.png').rename(watched.photos / 'b' / 'moved.png')
    report = watched.next()
    assert [(one.old_path, one.path, one.label) for one in report.moved] == [('a/new.png', 'b/moved.png', 'b')]
    arrive(watched, 'a/0.png', 2)
    assert [one.path for one in watched.next().changed] == ['a/0.png']
    (watched.folder / 'away.png').write_bytes(b'no image')
    (watched.folder / 'away.png').rename(watched.photos / 'b' / 'broken.png')
    assert [one.path for one in watched.next().unreadable] == ['b/broken.png']
    (watched.photos / 'b' / '0.png').unlink()
    assert [one.path for one in watched.next().removed] == ['b/0.png']
    assert paths(watched.gallery) == {'a/0.png', 'b/moved.png'} and watched.encoder.count == 4


@pytest.mark.slow
@pytest.mark.parametrize('poll_seconds', [None, 0.05], ids=['events', 'polling'])
def test_a_disk_that_goes_and_comes_back(watched, poll_seconds):
    if poll_seconds is None:
        pytest.importorskip('watchdog')
    watched.watch(poll_seconds=poll_seconds)
    watched.next()
    watched.photos.rename(watched.folder / 'unplugged')
    assert 'photos is not there; nothing was changed: mount its disk' in watched.next()
    arrive(SimpleNamespace(folder=watched.folder, photos=watched.folder / 'unplugged'), 'a/new.png', 3)
    (watched.folder / 'unplugged').rename(watched.photos)
    assert [one.path for one in watched.next().added] == ['a/new.png']
    arrive(watched, 'b/next.png', 4)  # it is watched again
    assert [one.path for one in watched.next().added] == ['b/next.png']
    assert paths(watched.gallery) == {'a/0.png', 'b/0.png', 'a/new.png', 'b/next.png'}


@pytest.mark.slow
def test_another_writer_is_waited_for(watched):
    watched.watch(poll_seconds=0.05)
    watched.next()
    with open_gallery(watched.gallery, writable=True):
        arrive(watched, 'a/new.png', 3)
        assert 'is being written' in watched.next()
    assert [one.path for one in watched.next().added] == ['a/new.png']


def test_the_first_sync_tells_mistakes(watched):
    with pytest.raises(UserError, match='is not there'):
        watch_folders(watched.gallery, watched.encoder, watched.folder / 'nowhere', tell=print)
    with pytest.raises(UserError, match='missing must be one of'):
        watch_folders(watched.gallery, watched.encoder, tell=print, missing='delete')


def test_without_watchdog_or_watches(tmp_path, monkeypatch):
    signal = threading.Event()
    monkeypatch.setitem(sys.modules, 'watchdog.events', None)
    assert 'pip install watchdog' in _start_observer([str(tmp_path)], signal)[1]

    class Observer:
        def schedule(self, *_, **__):
            raise OSError(28, 'inotify watch limit reached')

        def unschedule_all(self):
            pass

    events = SimpleNamespace(FileSystemEventHandler=object, FileSystemEvent=object)
    monkeypatch.setitem(sys.modules, 'watchdog.events', events)
    monkeypatch.setitem(sys.modules, 'watchdog.observers', SimpleNamespace(Observer=Observer))
    observer, reason = _start_observer([str(tmp_path)], signal)
    assert observer is None and reason == 'the system cannot watch the folders (inotify watch limit reached)'


def test_photos_of_a_table_in_another_folder_are_watched(watched):
    pytest.importorskip('watchdog')
    table = watched.folder / 'lists' / 'birds.csv'
    table.parent.mkdir()
    table.write_text(f'path\n{watched.photos}/a/0.png\n{watched.photos}/b/0.png\n')
    watched.watch(sources=table)
    assert len(watched.next().added) == 2
    write_photo(watched.folder / 'away.png', np.random.default_rng(5)).rename(watched.photos / 'b' / '0.png')
    assert [one.path for one in watched.next().changed] == ['b/0.png']
