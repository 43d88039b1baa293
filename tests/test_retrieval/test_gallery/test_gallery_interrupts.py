"""A gallery whose writer gets Ctrl-C, at every line at which Python may raise it."""

import os
import shutil
import signal
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from retrieval.gallery import Record, create_gallery, database, folder_reader, folder_writer, open_gallery
from retrieval.gallery.interrupts import postponed_interrupts
from retrieval.whitening import Whitening

X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
FILES = {module.__file__ for module in (database, folder_reader, folder_writer)}


@contextmanager
def ctrl_c_at(step, files=FILES):
    """Send SIGINT to this process before the ``step``-th line of some files; the list holds the lines that ran."""
    lines = []

    def trace(frame, event, argument):
        if frame.f_code.co_filename not in files:
            return None
        if event == 'line':
            lines.append(f'{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}')
            if len(lines) == step:
                os.kill(os.getpid(), signal.SIGINT)
        return trace

    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(None)


def _add(gallery):
    gallery.add(X[20:50], [Record(f'new{row}.jpg', metadata={'year': row}) for row in range(30)])


def _update(gallery):
    gallery.update([3, 4], X[50:52], [Record('other.jpg'), Record('more.jpg')])


def _update_records(gallery):
    gallery.update([3], records=[Record('moved.jpg')])


def _set_labels(gallery):
    gallery.set_labels([3, 4], ['wren', 'robin'], by='Ann')


def _remove(gallery):
    gallery.remove(where={'label': '1'})


def _compact(gallery):
    gallery.compact('sq8')


def _put_space(gallery):
    metric = Whitening.fit_classes(X, [str(row % 3) for row in range(60)])
    metric.source = 'a'
    gallery.put_space('a-metric', metric)


def _state(gallery):
    ids = gallery.ids()
    records = [(record.id, record.path, record.label, record.metadata) for record in gallery.records(ids)]
    assert len(gallery) == len(ids)
    return records, gallery.vectors(ids).tolist(), gallery.built_presets


@pytest.mark.slow
@pytest.mark.parametrize('action', [_add, _update, _update_records, _set_labels, _remove, _compact, _put_space])
def test_ctrl_c_leaves_the_old_or_the_new_state_and_a_writer_that_works(tmp_path, monkeypatch, action):
    monkeypatch.setattr(os, 'fsync', lambda descriptor: None)  # nothing is killed here
    start = tmp_path / 'start'
    with create_gallery(start, {'a': 8}, preset='fp16') as gallery:
        gallery.add(X[:20], [Record(f'{row}.jpg', label=str(row % 3)) for row in range(20)])
        before = _state(gallery)
    shutil.copytree(start, tmp_path / 'done')
    with open_gallery(tmp_path / 'done', writable=True) as gallery, ctrl_c_at(0) as lines:
        action(gallery)
        sys.settrace(None)
        after = _state(gallery)
    assert before != after and len(lines) > 30
    seen = []
    for step in {line: number for number, line in enumerate(lines, 1)}.values():  # each line once
        place = shutil.copytree(start, tmp_path / str(step))
        with open_gallery(place, writable=True) as gallery:
            with pytest.raises(KeyboardInterrupt), ctrl_c_at(step) as reached:
                action(gallery)
            assert _state(gallery) in (before, after), reached[-3:]
            seen.append(_state(gallery) == after)
            assert gallery.add(X[59:]) not in gallery.ids()[:-1], reached[-3:]
        with open_gallery(place) as gallery:
            gallery.verify()
            assert len(gallery.search(X[59:], 1).ids) == 1
        shutil.rmtree(place)
    assert set(seen) == {False, True}


def _press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def test_interrupts_are_postponed_but_not_lost():
    steps = []

    def work():
        with postponed_interrupts(), postponed_interrupts():
            _press_ctrl_c()
            steps.append('inside')
        steps.append('outside')

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ['inside'] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize('where', ['awaited', 'dealt with'])
def test_interrupts_are_let_through_where_items_are_awaited(where):
    steps = []

    def stream():
        for number in range(3):
            if number == 1 and where == 'awaited':
                _press_ctrl_c()
            yield number

    def work():
        with postponed_interrupts() as interrupts:
            try:
                for number in interrupts.allowed_in(stream()):
                    if where == 'dealt with':
                        _press_ctrl_c()
                    steps.append(number)
            finally:
                _press_ctrl_c()
                steps.append('kept')

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == [0, 'kept']
