"""A gallery that serves: threads that share it, forks, readers without permission to write, copies, and the log."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, back_up_gallery, create_gallery, database, open_gallery

X = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
ROOT = Path(__file__).parents[3]
ENVIRONMENT = dict(os.environ, PYTHONPATH=str(ROOT))
needs_fork = pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')

READER = """
import os, sys
import numpy as np
from retrieval.gallery import create_gallery, open_gallery
place, own = sys.argv[1:]
with create_gallery(own, 4) as gallery:
    gallery.add(np.ones((2, 4), 'f4'))
with open_gallery(own) as gallery:  # everything is imported while that is allowed
    gallery.records(gallery.ids())
    gallery.refresh()
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
gallery = open_gallery(place)
print(len(gallery), flush=True)
sys.stdin.readline()
print(len(gallery), sorted({record.label for record in gallery.records(gallery.ids())}), flush=True)
gallery.refresh()
print(len(gallery), sorted({record.label for record in gallery.records(gallery.ids())}), flush=True)
"""
WRITER = """
import os, signal, sys
import numpy as np
from retrieval.gallery import Record, open_gallery
gallery = open_gallery(sys.argv[1], writable=True)
gallery.add(np.random.default_rng(1).normal(size=(200, 8)).astype('f4'), [Record(label='late')] * 200)
gallery.remove(range(100))
os.kill(os.getpid(), signal.SIGKILL)
"""
FORKS = """
import multiprocessing, sys
import numpy as np
from retrieval.gallery import create_gallery, open_gallery
place = sys.argv[1]
rows = np.random.default_rng(0).normal(size=(20_000, 32)).astype('f4')
gallery = create_gallery(place, 32)
gallery.add(rows)
gallery.search(rows[:64], 1)  # starts FAISS's threads

def work(row):
    with open_gallery(place) as own:
        return int(own.search(rows[row : row + 64], 1).ids[0, 0])

with multiprocessing.get_context('fork').Pool(2) as pool:
    print(pool.map(work, range(4)))
"""


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / 'gallery'
    with create_gallery(path, 8, preset='flat') as gallery:
        gallery.add(X[:300], [Record(f'{n}.jpg', label='old', metadata={'n': n}) for n in range(300)])
    return path


@pytest.fixture
def public():
    """A folder that other users may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def _killed_writer(folder):
    """100 rows are removed and 200 added; the commits lie in the log."""
    process = subprocess.run([sys.executable, '-c', WRITER, str(folder)], env=ENVIRONMENT, capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr


def _allow(folder, allowed):
    for path in (folder, *folder.rglob('*')):
        path.chmod((0o755 if allowed else 0o555) if path.is_dir() else (0o644 if allowed else 0o444))


def test_threads_go_on_while_another_writes_refreshes_and_closes(folder):
    writer, reader = open_gallery(folder, writable=True), open_gallery(folder)
    stop, errors, counts = threading.Event(), [], [0] * 4

    def work(number):
        gallery = reader if number % 2 else writer
        try:
            while not stop.is_set():
                now = gallery.snapshot()
                hits = now.search(X[250 + number : 251 + number], 5, where={'n': ('>=', 10)})
                assert len(now.records(hits.ids[0])) == 5
                counts[number] += 1
        except RetrievalError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        row = 0
        while row < 30 or min(counts) < 10:
            assert not errors
            if row < 30:
                writer.remove([row])
                writer.add(X[300 + row : 301 + row], [Record('new.jpg', label='new', metadata={'n': row})])
            reader.refresh()
            row += 1
        reader.close()
        writer.close()
        for thread in threads:  # each ends with the sentence
            thread.join()
    finally:
        stop.set()
    assert len(errors) == 4 and all('was closed: open it again' in words for words in errors)


@pytest.mark.slow
def test_threads_find_the_same_while_another_writes_and_a_third_refreshes(folder):
    """Eight threads search rows that stay among others that come and go, each ``GLSIM_TEST_SEARCHES`` (200) times."""
    times = int(os.environ.get('GLSIM_TEST_SEARCHES', 200))
    queries, done = X[:64], threading.Event()
    with open_gallery(folder, writable=True) as writer, open_gallery(folder) as reader:
        expected = reader.search(queries, 5)
        expected_old = reader.search(queries, 5, where={'n': ('<', 150)})

        def write():
            count = 0
            while not done.is_set():
                ids = writer.add(-X[300:320], [Record('new.jpg', label='new')] * 20)
                writer.set_labels(ids, 'newer')
                writer.remove(ids)
                count += 1
                if count % 10 == 0:
                    writer.compact()
            return count

        def refresh():
            count = 0
            while not done.is_set():
                reader.refresh()
                count += 1
            return count

        def search(number):
            for turn in range(times):
                row = (turn * 8 + number) % len(queries)
                gallery = (reader, writer)[turn % 2].snapshot()
                if turn % 3:
                    hits, right = gallery.search(queries[row : row + 1], 5, where={'label': 'old'}), expected
                else:
                    hits, right = gallery.search(queries[row : row + 1], 5, where={'n': ('<', 150)}), expected_old
                np.testing.assert_array_equal(hits.ids[0], right.ids[row])
                np.testing.assert_allclose(hits.scores[0], right.scores[row], rtol=1e-6)
                assert {record.label for record in gallery.records(hits.ids[0])} == {'old'}
            return times

        with ThreadPoolExecutor(10) as threads:
            others = [threads.submit(write), threads.submit(refresh)]
            searches = [threads.submit(search, number) for number in range(8)]
            try:
                assert [one.result() for one in searches] == [times] * 8
            finally:
                done.set()
            assert all(one.result() for one in others)


def test_threads_that_change_one_writer_wait_for_each_other(folder):
    with open_gallery(folder, writable=True) as gallery, ThreadPoolExecutor(4) as threads:
        numbers = threads.map(lambda row: int(gallery.add(X[row : row + 1])[0]), range(300, 320))
        assert sorted(numbers) == list(range(300, 320))
        gallery.verify()
        assert len(gallery) == len(gallery.ids()) == 320


def test_filters_are_dropped_by_one_thread_at_a_time(folder):
    class Slow(dict):
        def __iter__(self):
            key = next(super().__iter__())
            time.sleep(0.0005)  # another thread's turn
            yield key

    with open_gallery(folder) as gallery, ThreadPoolExecutor(8) as threads:
        gallery._current = replace(gallery._state, filters=Slow())
        found = threads.map(lambda n: gallery.search(X[:1], 1, where={'n': n % 100}).ids[0, 0], range(300))
        assert list(found) == [n % 100 for n in range(300)]


@pytest.mark.parametrize('writable', [False, True])
def test_a_closed_gallery_says_so(folder, writable):
    gallery = open_gallery(folder, writable=writable)
    snapshot = gallery.snapshot()
    gallery.close()
    gallery.close()
    calls = [
        lambda: gallery.search(X[:1]),
        lambda: gallery.range_search(X[:1], 0.5),
        lambda: gallery.records([1]),
        lambda: gallery.ids(),
        lambda: gallery.vectors([1]),
        lambda: gallery.columns(),
        lambda: gallery.find_hashes(['ab']),
        lambda: gallery.manifest,
        lambda: len(gallery),
        gallery.refresh,
        gallery.verify,
        gallery.snapshot,
    ]
    if writable:
        calls += [lambda: gallery.add(X[:1]), lambda: gallery.remove([1]), gallery.compact, lambda: gallery.update([1])]
        assert len(snapshot.records([1])) == 1  # a reader of its own
    else:
        calls.append(lambda: snapshot.records([1]))
    for call in calls:
        with pytest.raises(RetrievalError, match='gallery was closed: open it again'):
            call()


@needs_fork
def test_a_fork_is_told_to_open_its_own_gallery(folder):
    with open_gallery(folder, writable=True) as gallery:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for call in (lambda: gallery.search(X[:1]), lambda: gallery.records([1]), lambda: gallery.remove([1])):
                    with pytest.raises(RetrievalError, match='before this process was forked: open it in each process'):
                        call()
                gallery.close()  # leaves the parent's lock and log alone
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(RetrievalError, match='is being written by process'):
            open_gallery(folder, writable=True)
        assert gallery.remove([1]).rows == 1


@needs_fork
def test_forked_processes_search_galleries_of_their_own(tmp_path):
    command = [sys.executable, '-c', FORKS, str(tmp_path / 'g')]
    done = subprocess.run(
        command, env=dict(ENVIRONMENT, OMP_NUM_THREADS='2'), capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == '[0, 1, 2, 3]', done.stderr


@pytest.mark.skipif(os.name != 'posix', reason='needs permissions of POSIX')
@pytest.mark.parametrize('killed', [False, True])
def test_readers_without_permission_to_write(folder, public, killed):
    """Another user reads while the owner writes; where the tests do not run as root, the folder is protected."""
    place = public / 'gallery'
    shutil.copytree(folder, place)
    if killed:
        _killed_writer(place)
        (place / 'gallery.sqlite-shm').unlink()  # a copy without it
    rows, labels = (400, ['late', 'old']) if killed else (300, ['old'])
    _allow(place, os.getuid() == 0)
    command = [sys.executable, '-c', READER, str(place), str(folder.parent / 'own')]
    reader = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert reader.stdout.readline() == f'{rows}\n'
        _allow(place, True)
        with open_gallery(place, writable=True) as writer:
            writer.update(range(100, 300), records=[Record('changed.jpg' * 5, label='new')] * 200)
            writer.remove(range(250, 300))
            writer.compact()
        assert reader.communicate('\n')[0].splitlines() == [
            f'{rows} {labels}',
            f'{rows - 50} {["late", "new"] if killed else ["new", "old"]}',
        ]
    finally:
        reader.kill()
        reader.communicate()


def test_a_copy_without_its_log_is_told_and_loses_nothing(folder, tmp_path):
    _killed_writer(folder)
    whole = tmp_path / 'whole'
    shutil.copytree(folder, whole)
    beside = [folder.with_name('plain'), folder.with_name('bare')]
    shutil.copytree(folder, beside[0], ignore=shutil.ignore_patterns('*-wal', '*-shm'))
    beside[1].mkdir()
    shutil.copyfile(folder / 'gallery.sqlite', beside[1] / 'gallery.sqlite')
    shutil.copytree(folder / 'segments', beside[1] / 'segments')
    for copy in beside:
        before = sorted(copy.rglob('*'))
        for writable in (False, True):
            with pytest.raises(RetrievalError, match='is a copy without its gallery.sqlite-wal, which holds the last'):
                open_gallery(copy, writable=writable)
        assert [path for path in sorted(copy.rglob('*')) if path.name != 'write.lock'] == [
            path for path in before if path.name != 'write.lock'
        ]
        shutil.copyfile(folder / 'gallery.sqlite-wal', copy / 'gallery.sqlite-wal')  # found again
        with open_gallery(copy, writable=True) as gallery:
            assert len(gallery) == 400
            gallery.verify()
    with open_gallery(whole, writable=True) as gallery:
        assert len(gallery) == 400


def test_the_older_state_of_a_copy_can_be_chosen(folder):
    _killed_writer(folder)
    (folder / 'gallery.sqlite-wal').write_bytes(b'')
    (folder / 'gallery.sqlite-shm').unlink()
    with open_gallery(folder, writable=True) as gallery:
        assert len(gallery) == 300
    assert not (folder / 'writer.json').exists()
    open_gallery(folder).close()


def test_a_copy_of_a_gallery_that_is_read_only_needs_no_log(folder, tmp_path):
    with open_gallery(folder):
        copy = shutil.copytree(folder, tmp_path / 'copy', ignore=shutil.ignore_patterns('*-wal', '*-shm', '*.json'))
    with open_gallery(copy, writable=True) as gallery:
        assert len(gallery) == 300


def test_the_notice_stays_while_a_large_reader_needs_the_log(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(database, '_COPIED_BYTES', 0)
    with open_gallery(folder) as reader:
        with open_gallery(folder, writable=True) as writer:
            writer.add(X[300:350])
        copy = shutil.copytree(folder, tmp_path / 'copy', ignore=shutil.ignore_patterns('*-wal', '*-shm'))
        assert len(reader) == len(reader.ids()) == 300
    with pytest.raises(RetrievalError, match='is a copy without its gallery.sqlite-wal'):
        open_gallery(copy)
    assert json.loads((folder / 'writer.json').read_text())['process'] == os.getpid()
    open_gallery(folder, writable=True).close()
    assert not (folder / 'writer.json').exists()


@pytest.mark.parametrize('copied', [64 << 20, 0])
def test_the_log_does_not_grow_for_ever(folder, monkeypatch, copied):
    """A reader of a small gallery never holds it; where a large one has, it shrinks when the reader is done."""
    monkeypatch.setattr(database, '_COPIED_BYTES', copied)
    monkeypatch.setattr(database, '_LOG_BYTES', 5 << 20)
    log = folder / 'gallery.sqlite-wal'
    with open_gallery(folder, writable=True) as writer, open_gallery(folder) as reader:

        def write(times):
            for number in range(times):
                notes = [Record(f'{n}.jpg', metadata={'note': f'{number}' * 2000}) for n in range(300)]
                writer.update(range(300), records=notes)

        write(16)
        assert (log.stat().st_size < 10 << 20) == bool(copied)
        assert reader.records([7])[0].metadata == {'n': 7}
        reader.refresh()
        assert reader.records([7])[0].metadata == {'note': '15' * 2000}
        reader.close()
        write(4)
        assert log.stat().st_size < 10 << 20


def test_the_log_and_its_notice_go_together(folder, monkeypatch):
    """A reader may look at the gallery just when a writer empties the log, and be gone when SQLite removes it."""
    monkeypatch.setattr(database.Database, 'empty_log', lambda self: False)
    with open_gallery(folder, writable=True) as writer:
        writer.remove([1])
    with open_gallery(folder) as reader:
        assert len(reader) == 299


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MiB, which only root can make."""
    place = tmp_path / 'disk'
    place.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(place)]
    if not shutil.which('mount') or subprocess.run(command, capture_output=True).returncode:
        pytest.skip('needs the right to mount a disk')
    yield place
    subprocess.run(['umount', '-l', str(place)], check=True)


def _fill(disk):
    with (disk / f'filler{time.monotonic_ns()}').open('wb', buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    assert shutil.disk_usage(disk).free == 0


@pytest.mark.parametrize('when', ['before it is opened', 'while it is open'])
def test_rows_can_be_removed_on_a_full_disk(folder, small_disk, when):
    place = small_disk / 'gallery'
    shutil.copytree(folder, place)
    with open_gallery(place, writable=True) as gallery:
        if when == 'while it is open':
            _fill(small_disk)
            assert gallery.remove(where={'n': ('<', 200)}).rows == 200
    if when == 'before it is opened':
        _fill(small_disk)
        assert len(open_gallery(place)) == 300
        with open_gallery(place, writable=True) as gallery:
            with pytest.raises(RetrievalError, match='make room; nothing was changed'):
                gallery.add(np.ones((40_000, 8), np.float32))
            assert gallery.remove(where={'n': ('<', 200)}).rows == 200
    with open_gallery(place, writable=True) as gallery:
        assert gallery.remove(range(200, 300)).rows == 100
        gallery.add(X[:10])  # there is room again
        gallery.verify()
        assert len(gallery) == 10


def test_a_disk_that_fills_while_a_backup_is_made(folder, small_disk, monkeypatch):
    back_up_gallery(folder, small_disk / 'backup')
    with open_gallery(folder, writable=True) as gallery:
        gallery.add(np.ones((100_000, 8), np.float32))
        with pytest.raises(RetrievalError, match=r'needs [\d.]+ MiB and has [\d.]+ MiB: make room'):
            back_up_gallery(folder, small_disk / 'backup')
        with monkeypatch.context() as patch:
            patch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=1 << 40))  # somebody fills it then
            with pytest.raises(RetrievalError, match='make room'):
                back_up_gallery(folder, small_disk / 'backup')
        with open_gallery(small_disk / 'backup') as backup:
            backup.verify()
            assert len(backup) == 300


def test_snapshots_of_a_writer_are_opened_once_for_each_change(folder):
    with open_gallery(folder, writable=True) as gallery:
        first, second = gallery.snapshot(), gallery.snapshot()
        assert first._state is second._state
        gallery.remove([0])
        assert len(gallery.snapshot()) == len(first) - 1
        assert len(first.records([0])) == 1
