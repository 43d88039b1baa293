"""Readers, and backups, in other processes beside a writer that is killed again and again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gallery_processes import DIMENSION, check

from retrieval.gallery import create_gallery, open_gallery

SCRIPT = Path(__file__).with_name('gallery_processes.py')
ROOT = SCRIPT.parents[3]


def _start(role, place, stop, seed):
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    command = [sys.executable, str(SCRIPT), role, str(place), str(stop), str(seed)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_until(is_reached, processes):
    """For as long as it takes, unless a process ends before."""
    while not is_reached():
        for process in processes:
            assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


def _wait_for(place, generations, writer):
    """Until the writer has committed so often."""
    with open_gallery(place) as gallery:
        target = gallery.manifest.generation + generations

    def is_reached():
        with open_gallery(place) as gallery:
            return gallery.manifest.generation >= target

    _wait_until(is_reached, [writer])


@pytest.mark.slow
def test_readers_see_committed_states_only(tmp_path):
    place, stop = tmp_path / 'gallery', tmp_path / 'stop'
    create_gallery(place, DIMENSION, metric='l2').close()
    readers = [_start(role, place, stop, seed) for seed, role in enumerate(['read', 'read', 'back_up'])]
    writer = None
    try:
        for seed in range(3):
            writer = _start('write', place, stop, seed)
            _wait_for(place, 8, writer)
            time.sleep(0.013 * seed)  # at another moment of a write each time
            writer.send_signal(signal.SIGKILL)
            assert writer.wait() == -signal.SIGKILL, writer.stderr.read()
        victim = _start('read', place, stop, 9)
        writer = _start('write', place, stop, 3)
        _wait_for(place, 5, writer)
        victim.kill()  # a reader that dies leaves nothing that stops the writer
        victim.communicate()
        _wait_for(place, 8, writer)
        # Each has looked at enough states to prove something.
        _wait_until(lambda: all((tmp_path / f'stop.{seed}').exists() for seed in range(3)), [*readers, writer])
    finally:
        stop.touch()
        results = [process.communicate() for process in (*readers, writer) if process]
    assert all(not error for _, error in results), results
    with open_gallery(place) as gallery:
        gallery.verify()
        check(gallery)
        listed = {path.split('/')[1] for path in gallery.manifest.files}
    with open_gallery(place, writable=True):
        pass  # sweeps what killed writers left
    assert {path.name for path in (place / 'segments').iterdir()} == listed


@pytest.mark.parametrize(
    'end, is_read',
    [('raise ValueError', False), ('raise SystemExit(3)', True), ('del gallery', True), ('os.fork()', False)],
)
def test_a_writer_that_nobody_closes_leaves_a_gallery_that_opens(tmp_path, end, is_read):
    """At the end of a process SQLite removes the log; the notice that says who writes must not stay without it."""
    location = tmp_path / 'gallery'
    code = f"""
import os
from retrieval.gallery import Record, create_gallery, open_gallery
gallery = create_gallery({str(location)!r}, {{'a': 2}})
gallery.add([[1.0, 0.0]], [Record('a.jpg', label='old')])
reader = open_gallery({str(location)!r}) if {is_read} else None
gallery.set_labels([0], 'new')
{end}
"""
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, timeout=120)
    with open_gallery(location, writable=True) as gallery:
        assert gallery.records([0])[0].label == 'new'
        gallery.verify()
    assert not (location / 'writer.json').exists()
