"""What is left of a write that broke off, who is told, and how the next write deals with it."""

import json
import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from tiny_run import call_tool

from retrieval.answers import describe_gallery, format_description
from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.milvus import state, stored_rows

EMBEDDINGS = np.eye(30, 8, dtype=np.float32) + 1

# Changes a gallery in small calls and kills itself before the third of them; calls for the history do not count.
KILLED_WRITER = """
import os, signal, sys
import numpy as np
from retrieval.gallery import Record, create_gallery
from retrieval.milvus import collection, stored_rows, writes
stored_rows.MAX_BYTES, writes.MAX_IDS = 2000, 2
calls = []
def dying(method):
    def call(self, *args):
        if not self.location.collection.endswith('_history'):
            calls.append(method)
        if len(calls) > 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, *args)
    return call
gallery = create_gallery(sys.argv[1], 8, metric='l2')
gallery.add(np.eye(20, 8, dtype=np.float32), [Record('old')] * 20, ids=np.arange(20))
for name in ('insert', 'upsert', 'delete'):
    setattr(collection.Collection, name, dying(getattr(collection.Collection, name)))
if sys.argv[2] == 'add':
    gallery.add(np.eye(30, 8, dtype=np.float32) + 1, ids=np.arange(100, 130))
elif sys.argv[2] == 'update':
    gallery.update(np.arange(10), records=[Record('new')] * 10)
else:
    gallery.remove(np.arange(10))
"""


@pytest.mark.slow
@pytest.mark.parametrize('action', ['add', 'update', 'remove'])
def test_a_killed_write_is_told_and_cleared_up_by_the_next(tmp_path, root, caplog, action):
    location = f'milvus://{tmp_path}/killed.db/birds'
    # A process of its own: milvus-lite lets one process at a time open a file.
    killed = subprocess.run([sys.executable, '-c', KILLED_WRITER, location, action], cwd=root)
    assert killed.returncode == -signal.SIGKILL
    with caplog.at_level(logging.WARNING), open_gallery(location, writable=True) as gallery:
        (sentence,) = gallery.unfinished
        assert sentence in caplog.text and f'{action} of {30 if action == "add" else 10} rows' in sentence
        if action == 'add':
            assert len(gallery) == 20 and gallery._collection.count() > 20  # rows of the add are there and hidden
            assert gallery.search(EMBEDDINGS[:1] * 0 + 2, 50).ids.max() == 19
            np.testing.assert_array_equal(gallery.add(EMBEDDINGS, ids=np.arange(100, 130)), np.arange(100, 130))
            assert len(gallery) == gallery._collection.count() == 50
        elif action == 'update':
            assert [record.path for record in gallery.records(np.arange(10))] == ['new'] * 4 + ['old'] * 6
            gallery.update(np.arange(10), records=[Record('new')] * 10)
            assert [record.path for record in gallery.records(np.arange(10))] == ['new'] * 10
        else:
            assert gallery.ids().tolist() == list(range(4, 20))
            assert gallery.remove(np.arange(4, 10)).rows == 6
        assert 'cleared up after' in caplog.text and gallery.unfinished == []


def test_an_exception_takes_back_what_was_written(location, monkeypatch):
    monkeypatch.setattr(stored_rows, 'MAX_BYTES', 2000)
    with create_gallery(location, 8, metric='l2') as gallery, open_gallery(location) as reader:
        gallery.add(EMBEDDINGS[:2], ids=[0, 1])
        insert, calls = gallery._collection.insert, []

        def fail_later(error, batch):
            calls.append(batch)
            if len(calls) == 3:
                raise error
            insert(batch)

        for error in (KeyboardInterrupt(), RetrievalError('Milvus could not write rows')):
            calls.clear()
            monkeypatch.setattr(gallery._collection, 'insert', lambda batch, error=error: fail_later(error, batch))
            with pytest.raises(type(error)) as caught:
                gallery.add(EMBEDDINGS, [Record(str(row)) for row in range(30)])
            assert len(calls) == 3 and gallery.ids().tolist() == reader.ids().tolist() == [0, 1]
        assert str(caught.value) == 'Milvus could not write rows; nothing is added: run the add again'
        assert 'gave up' in reader.unfinished[0]  # a call that failed may still arrive: the next write deletes again
        monkeypatch.setattr(gallery._collection, 'insert', insert)
        gallery.add(EMBEDDINGS)
        assert len(gallery) == len(reader) == 32 and reader.unfinished == []


def note_of_elsewhere(location, **values):
    """Leave the note of a writer on another machine."""
    note = state.Note(5, host='elsewhere', process=1, identity='another-boot:pid:[1] 7', **values)
    with open_gallery(location, writable=True) as gallery:
        gallery._collection.set_properties({f'{state.NOTE}9': note.to_json()})


def test_a_writer_on_another_machine_is_told_until_someone_says_that_it_is_gone(location, capsys):
    with create_gallery(location, 8) as gallery:
        gallery.add(EMBEDDINGS, ids=np.arange(30))
    note_of_elsewhere(location, kind='update', rows=2, claimed=(3, 9))
    with open_gallery(location, writable=True) as gallery:
        for write in (lambda: gallery.remove([3]), lambda: gallery.update([9], EMBEDDINGS[:1])):
            with pytest.raises(RetrievalError, match=r'process 1 on elsewhere.* update ids 3 to 9 .*--unfinished'):
                write()
        assert gallery.remove([2]).rows == 1 and len(gallery.add(EMBEDDINGS)) == 30  # others are not in its way
    text = format_description(describe_gallery(location))
    assert 'unfinished: an update of 2 rows (ids 3 to 9), which process 1 on elsewhere has not finished yet' in text
    for options, left in ((['--dry-run'], 1), ([], 0)):
        call_tool('retrieval/remove', location, '--unfinished', *options)
        assert 'which process 1 on elsewhere' in capsys.readouterr().out
        assert len(describe_gallery(location)['unfinished']) == left
    with open_gallery(location, writable=True) as gallery:
        assert gallery.remove([3]).rows == 1


@pytest.mark.parametrize(
    'values, message',
    [
        (dict(columns={'Year': 'TEXT'}), r'add the column Year \(TEXT\)'),
        (dict(patch_shape=[2, 4]), r'add rows with patches of \[2, 4\]'),
    ],
)
def test_adds_that_do_not_fit_together_are_refused(location, values, message):
    create_gallery(location, 8).close()
    note_of_elsewhere(location, kind='add', rows=2, **values)
    with open_gallery(location, writable=True) as gallery:
        with pytest.raises(RetrievalError, match=f'another writer .*{message}'):
            gallery.add(EMBEDDINGS, [Record(metadata={'year': 2019})] * 30)
        assert len(gallery) == 0


def test_a_writer_that_was_taken_for_gone_fails(location, monkeypatch):
    monkeypatch.setattr(stored_rows, 'MAX_BYTES', 2000)
    with create_gallery(location, 8) as gallery, open_gallery(location, writable=True) as other:
        insert, calls = gallery._collection.insert, []

        def insert_then_lose(batch):
            insert(batch)
            calls.append(batch)
            if len(calls) == 2:
                assert other.discard_unfinished() == 1

        monkeypatch.setattr(gallery._collection, 'insert', insert_then_lose)
        with pytest.raises(RetrievalError, match='of the 30 rows sent; nothing is added'):
            gallery.add(EMBEDDINGS)
        assert len(other) == 0


def test_a_gallery_of_format_1_is_read_and_upgraded_by_the_first_write(location, caplog):
    with create_gallery(location, 8) as gallery:
        gallery.add(EMBEDDINGS, ids=np.arange(30))
        properties = gallery._collection.properties()
        definition = {**json.loads(properties['gallery.definition']), 'format': 1}
        hidden = gallery._collection.client.query(location.split('/')[-1], 'id == 29', output_fields=['write_number'])
        pending = {'write_number': hidden[0]['write_number'], 'host': 'elsewhere', 'process': 1, 'beat': 0.0}
        gallery._collection.set_properties({'gallery.definition': json.dumps(definition), 'gallery.next_id': '30'})
        gallery._collection.drop_property('gallery.last_write')
    with open_gallery(location) as reader, open_gallery(location, writable=True) as gallery:
        assert len(reader) == 30 and reader.manifest.format_version == 1
        gallery._collection.set_properties({'gallery.pending': json.dumps(pending)})
        assert len(reader) == 0 and 'process 1 on elsewhere' in reader.unfinished[0]  # an add that it had not ended
        gallery._collection.set_properties({'gallery.pending': ''})
        new = gallery.add(EMBEDDINGS)
        assert 'was upgraded from format 1 to 3' in caplog.text
        assert reader.manifest.format_version == 3 and len(reader) == 60 and new.min() > 29
    with open_gallery(location, writable=True) as gallery:
        gallery._collection.set_properties({'gallery.definition': json.dumps({**definition, 'format': 4})})
    with pytest.raises(RetrievalError, match='format 4, this version reads up to 3'):
        open_gallery(location)


def test_a_process_is_told_from_another_one_with_its_number():
    own = state.Note(1)
    assert own.runs_here() and not own.is_over()
    later = state.Note(1, identity=own.identity + '0')  # started at another time
    assert later.is_over() and not later.runs_here()
    elsewhere = state.Note(1, identity=own.identity.replace('pid:', 'pod:'))
    assert not elsewhere.is_over() and not elsewhere.runs_here()
    assert state.Note(1, process=os.getpid(), failed=True).is_over()
