"""A gallery whose writer is killed: at every step at which it makes something durable, and at random points."""

import logging
import os
import shutil
import signal
import sqlite3
import time
from collections import Counter

import killed_writer
import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, back_up_gallery, create_gallery, open_gallery, replacing, restore_gallery
from retrieval.gallery.database import Database

pytestmark = pytest.mark.slow

DIMENSION = 8
MAX_STEPS = 80


def embeddings(count, seed):
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)


def build(folder):
    gallery = create_gallery(folder, {'a': DIMENSION}, preset='fp16')
    gallery.add(embeddings(20, 0), [Record(f'{number}.jpg', label=str(number % 3)) for number in range(20)])
    gallery.close()


def state_of(folder):
    """Everything that a reader sees; it must hang together."""
    with open_gallery(folder) as gallery:
        gallery.verify()
        ids = gallery.ids()
        vectors, records = gallery.vectors(ids), gallery.records(ids)
        found = gallery.search(vectors, 1).ids[:, 0] if len(ids) else ids
        assert len(gallery) == len(ids)
        np.testing.assert_array_equal(found, ids)
        rows = [(record.id, record.path, record.label, record.metadata) for record in records]
        return rows, vectors.tolist(), [sorted(set(one.values())) for one in gallery.built_presets]


def add(folder):
    with open_gallery(folder, writable=True) as gallery:
        gallery.add(embeddings(30, 1), [Record(f'new{number}.jpg', metadata={'year': number}) for number in range(30)])


def update(folder):
    with open_gallery(folder, writable=True) as gallery:
        gallery.update([3, 4], embeddings(2, 2), [Record('other.jpg'), Record('more.jpg')])


def update_records(folder):
    with open_gallery(folder, writable=True) as gallery:
        gallery.update([3], records=[Record('moved.jpg')])


def remove(folder):
    with open_gallery(folder, writable=True) as gallery:
        gallery.remove(where={'label': '1'})


def remove_all(folder):
    with open_gallery(folder, writable=True) as gallery:
        gallery.remove(where={'label': ['0', '1', '2']})


def compact(folder):
    with open_gallery(folder, writable=True) as gallery:
        gallery.compact('sq8')


def die_at(step):
    """Kill this process when it is about to make something durable for the ``step``-th time."""
    count = [0]

    def counted(function):
        def call(*args, **options):
            count[0] += 1
            if count[0] == step:
                os._exit(9)
            return function(*args, **options)

        return call

    os.fsync, os.replace = counted(os.fsync), counted(os.replace)
    shutil.rmtree = counted(shutil.rmtree)
    Database.write_meta = counted(Database.write_meta)
    Database.close = counted(Database.close)


def run_killed(action, folder, step):
    """Run in a child that dies at a step; whether it lived to the end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            die_at(step)
            action(folder)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    return os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.parametrize('action', [add, update, update_records, remove, remove_all, compact])
def test_killed_writer_leaves_the_old_or_the_new_state(tmp_path, action):
    build(tmp_path / 'start')
    before = state_of(tmp_path / 'start')
    shutil.copytree(tmp_path / 'start', tmp_path / 'done')
    action(tmp_path / 'done')
    after = state_of(tmp_path / 'done')
    assert before != after
    seen = []
    for step in range(1, MAX_STEPS):
        folder = tmp_path / f'step{step}'
        shutil.copytree(tmp_path / 'start', folder)
        lived = run_killed(action, folder, step)
        state = state_of(folder)
        assert state in (before, after), step
        seen.append(state == after)
        if lived:
            assert state == after
            break
        with open_gallery(folder, writable=True) as gallery:  # the next writer works, and cleans up
            known = {name.split('/')[1] for name in gallery.manifest.files}
            segments = folder / 'segments'
            assert {path.name for path in segments.glob('*')} == known
            gallery.add(embeddings(1, 7))
        shutil.rmtree(folder)
    else:
        pytest.fail('the action took more steps than expected')
    assert False in seen and seen == sorted(seen)


@pytest.fixture
def changed(tmp_path):
    """A gallery with two segments and an earlier backup beside it, in the folder ``start``."""
    folder = tmp_path / 'start'
    build(folder / 'gallery')
    back_up_gallery(folder / 'gallery', folder / 'backup')
    remove(folder / 'gallery')
    add(folder / 'gallery')
    return folder


def bring_up_to_date(folder):
    back_up_gallery(folder / 'gallery', folder / 'backup')


def back_up_anew(folder):
    back_up_gallery(folder / 'gallery', folder / 'new')


def restore(folder):
    restore_gallery(folder / 'backup', folder / 'gallery', overwrite=True)


def restore_in_two_steps(folder):
    replacing.exchange_folders = lambda *folders: False
    restore_gallery(folder / 'backup', folder / 'gallery', overwrite=True)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.parametrize(
    'action, target',
    [(bring_up_to_date, 'backup'), (back_up_anew, 'new'), (restore, 'gallery'), (restore_in_two_steps, 'gallery')],
)
def test_a_killed_backup_leaves_the_old_or_the_new_one_and_is_finished_by_the_next(tmp_path, changed, action, target):
    def state(place):
        return state_of(place) if (place / 'gallery.sqlite').exists() else None

    states = {name: state(changed / name) for name in ('backup', 'gallery', 'new')}
    before, after = states[target], states['backup' if target == 'gallery' else 'gallery']
    seen, copied = [], []
    for step in range(1, MAX_STEPS):
        folder = shutil.copytree(changed, tmp_path / f'step{step}')
        lived = run_killed(action, folder, step)
        found = state(folder / target)
        assert found in (before, after) or (action is restore_in_two_steps and found is None), step
        seen.append(found)
        others = {name: state(folder / name) for name in states if name != target}
        assert all(states[name] == found for name, found in others.items())
        if target == 'gallery':
            done = restore_gallery(folder / 'backup', folder / 'gallery', overwrite=True)
        else:
            done = back_up_gallery(folder / 'gallery', folder / target)
        copied.append(done.copied)
        assert state(folder / target) == after
        assert {path.name for path in folder.iterdir()} <= {'backup', 'gallery', target}
        assert not {'unfinished-copy', 'gallery.sqlite.new'} & {path.name for path in (folder / target).iterdir()}
        shutil.rmtree(folder)
        if lived:
            break
    else:
        pytest.fail('the action took more steps than expected')
    assert seen[0] == before and seen[-1] == after
    assert len(set(copied)) > 1  # it went on from where it was


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_killed_maker_leaves_nothing_or_a_gallery(tmp_path):
    def make(folder):
        create_gallery(folder, 4).close()

    for step in range(1, MAX_STEPS):
        folder = tmp_path / f'step{step}'
        lived = run_killed(make, folder, step)
        if folder.exists():
            assert len(open_gallery(folder)) == 0
        else:
            create_gallery(folder, 4).close()
        if lived:
            return
    pytest.fail('making a gallery took more steps than expected')


def test_failed_commit_leaves_the_old_state(tmp_path, monkeypatch):
    build(tmp_path / 'g')
    before = state_of(tmp_path / 'g')

    def fail(self, *args):
        raise sqlite3.OperationalError('database or disk is full')

    with monkeypatch.context() as patch, open_gallery(tmp_path / 'g', writable=True) as gallery:
        patch.setattr(Database, 'write_records', fail)
        with pytest.raises(RetrievalError, match='make room; nothing was changed'):
            gallery.add(embeddings(3, 1))
        assert len(gallery) == 20
    assert state_of(tmp_path / 'g') == before
    assert len(list((tmp_path / 'g' / 'segments').glob('*'))) == 1


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_writer_killed_at_random_points_leaves_what_a_model_says(tmp_path):
    """It is killed ``GLSIM_TEST_KILLS`` (12) times."""
    seed, step, state = 0, 0, killed_writer.make_place(tmp_path)
    moments, killed = np.random.default_rng(seed), Counter()
    while killed.total() < int(os.environ.get('GLSIM_TEST_KILLS', 12)):
        (tmp_path / 'steps').write_text('')
        writer = killed_writer.start_writer(tmp_path, state, seed, step)
        while not (tmp_path / 'steps').read_text():
            assert os.waitpid(writer, os.WNOHANG) == (0, 0), (tmp_path / 'error').read_text()
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.2))
        os.kill(writer, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1])
        assert status == -signal.SIGKILL, (tmp_path / 'error').read_text()
        last = int((tmp_path / 'steps').read_text().splitlines()[-1])
        for done in range(step, last):
            state = killed_writer.change(state, seed, done, tmp_path / 'backup')[1]
        kind, after, _ = killed_writer.change(state, seed, last, tmp_path / 'backup')
        seen = tuple(killed_writer.view_of(tmp_path / name) for name in ('gallery', 'backup'))
        assert seen in [(one.view, one.backup) for one in (state, after)], (kind, last)
        killed[kind] += 1
        state, step = after if seen == (after.view, after.backup) else state, last + 1
    logging.getLogger(__name__).info('killed in %s', dict(killed))
