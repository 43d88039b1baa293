"""What is left of an add that broke off, and how the next write deals with it."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.milvus import journal, rows

EMBEDDINGS = np.eye(30, 8, dtype=np.float32) + 1

# Adds 30 rows in small calls and kills itself before the fourth.
KILLED_WRITER = """
import os, signal, sys
import numpy as np
from retrieval.gallery import create_gallery
from retrieval.milvus import client, rows
rows.MAX_BYTES = 2000
calls = []
write = client.Collection.write
def write_or_die(self, batch):
    calls.append(len(batch))
    if len(calls) > 3:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, batch)
client.Collection.write = write_or_die
gallery = create_gallery(sys.argv[1], 8, metric='l2')
gallery.add(np.ones((2, 8), np.float32))
calls.clear()
gallery.add(np.eye(30, 8, dtype=np.float32) + 1)
"""


def test_a_killed_add_is_undone_by_the_next_write(tmp_path, root):
    location = f'milvus://{tmp_path}/killed.db/birds'
    # A process of its own: milvus-lite lets one process at a time open a file.
    killed = subprocess.run([sys.executable, '-c', KILLED_WRITER, location], cwd=root)
    assert killed.returncode == -signal.SIGKILL
    with open_gallery(location, writable=True) as gallery:
        assert 2 < len(gallery) < 32  # some rows of the add have arrived
        assert gallery.search(EMBEDDINGS, 1).ids[0, 0] == 2
        ids = gallery.add(EMBEDDINGS)
        assert len(gallery) == 32 and (ids >= 32).all()  # ids of the lost rows are not given again
        assert gallery.ids().tolist() == [0, 1, *ids]
        np.testing.assert_array_equal(gallery.vectors(ids), EMBEDDINGS)


def test_an_exception_takes_back_what_was_written(location, monkeypatch):
    monkeypatch.setattr(rows, 'MAX_BYTES', 2000)
    with create_gallery(location, 8, metric='l2') as gallery:
        gallery.add(EMBEDDINGS[:2])
        write, calls = gallery._collection.write, []

        def fail_later(batch):
            calls.append(batch)
            if len(calls) == 3:
                raise KeyboardInterrupt
            write(batch)

        gallery._collection.write = fail_later
        with pytest.raises(KeyboardInterrupt):
            gallery.add(EMBEDDINGS, [Record(str(row)) for row in range(30)])
        assert len(calls) == 3 and gallery.ids().tolist() == [0, 1]
        gallery._collection.write = write
        gallery.add(EMBEDDINGS)
        assert len(gallery) == 32


def test_a_second_writer_waits_for_the_first(location):
    with create_gallery(location, 8) as gallery:
        gallery.add(EMBEDDINGS)
        note = dict(write_number=5, host='elsewhere', process=1, beat=time.time())
        gallery._collection.set_properties({journal.PENDING_KEY: json.dumps(note)})
        for write in (lambda: gallery.add(EMBEDDINGS), lambda: gallery.remove([0]), lambda: gallery.compact()):
            with pytest.raises(RetrievalError, match='process 1 on elsewhere'):
                write()
        gallery._collection.set_properties({journal.PENDING_KEY: json.dumps({**note, 'beat': time.time() - 100})})
        assert gallery.remove([0]) == 1  # it was not heard of for long
        assert journal.read_pending(gallery._collection.properties()) is None


def test_a_writer_whose_place_was_taken_takes_its_rows_back(location, monkeypatch):
    monkeypatch.setattr(rows, 'MAX_BYTES', 2000)
    with create_gallery(location, 8) as gallery, open_gallery(location, writable=True) as other:
        write, calls = gallery._collection.write, []

        def write_then_lose(batch):
            write(batch)
            calls.append(batch)
            if len(calls) == 2:
                note = json.loads(other._collection.properties()[journal.PENDING_KEY])
                silent = {**note, 'beat': time.time() - 100}
                other._collection.set_properties({journal.PENDING_KEY: json.dumps(silent)})
                assert len(other.add(EMBEDDINGS[:3])) == 3

        gallery._collection.write = write_then_lose
        with pytest.raises(RetrievalError, match='another writer took over'):
            gallery.add(EMBEDDINGS)
        assert len(gallery) == 3


def test_a_dead_process_of_this_machine_is_not_waited_for():
    process = subprocess.Popen([sys.executable, '-c', 'pass'])
    alive = journal.Pending(1, journal.socket.gethostname(), os.getpid(), time.time())
    assert alive.is_alive()
    process.wait()
    assert not journal.Pending(1, journal.socket.gethostname(), process.pid, time.time()).is_alive()
