"""Two writers at every schedule of their calls, and writers that die at every call: no row is lost, none half there."""

import re
from itertools import count, permutations, product

import numpy as np
import pytest
from interleaved_writers import Actor, Killed, MemoryMilvus

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.milvus import collection, stored_rows

IDS = range(6)
_numbers = count()


def vectors(value, rows):
    return np.full((rows, 4), value, np.float32)


class Job:
    """What a writer does with a gallery, and what that does to a dictionary {id: (label, value of the vector)}."""

    def __init__(self, kind, name, ids, run, model, by_label=False):
        self.kind, self.name, self.ids, self.run, self.model = kind, name, ids, run, model
        self.by_label = by_label


def add(name, ids=None):
    records = [Record(label=name)] * 5

    def model(rows, result):
        assert not rows.keys() & set(result)
        return {**rows, **dict.fromkeys(result, (name, 7.0))}

    return Job('add', name, ids, lambda gallery: gallery.add(vectors(7, 5), records, ids).tolist(), model)


def update_labels(name, ids):
    def model(rows, _):
        return {**rows, **{one: (name, rows[one][1]) for one in ids}}

    return Job('update', name, ids, lambda gallery: gallery.update(ids, records=[Record(label=name)] * len(ids)), model)


def update_vectors(name, ids):
    def model(rows, _):
        return {**rows, **{one: (rows[one][0], 9.0) for one in ids}}

    return Job('update', name, ids, lambda gallery: gallery.update(ids, vectors(9, len(ids))), model)


def remove(name, ids):
    def model(rows, _):
        left = dict(rows)
        for one in ids:
            del left[one]
        return left

    return Job('remove', name, ids, lambda gallery: gallery.remove(ids), model)


def remove_old(name):
    def model(rows, result):
        left = {one: row for one, row in rows.items() if row[0] != 'old'}
        assert result is None or result.rows == len(rows) - len(left)
        return left

    return Job('remove', name, list(IDS), lambda gallery: gallery.remove(where={'label': 'old'}), model, True)


PAIRS = {
    'add, add': (add('A'), add('B')),
    'add, add of the same ids': (add('A', [10, 11, 12, 13, 14]), add('B', [14, 15, 16, 17, 18])),
    'add, remove': (add('A'), remove('B', [2, 3])),
    'add, remove by label': (add('old'), remove_old('B')),
    'update, add': (update_labels('A', [1, 2, 3]), add('B')),
    'update, update': (update_labels('A', [1, 2, 3]), update_vectors('B', [2, 3, 4])),
    'update, remove': (update_vectors('A', [1, 2, 3]), remove('B', [2, 3])),
    'remove, remove by label': (remove('A', [1, 2]), remove_old('B')),
}
OLD = {one: ('old', float(one)) for one in IDS}


@pytest.fixture(autouse=True)
def small_calls(monkeypatch):
    """Two rows in a call."""
    monkeypatch.setattr(stored_rows, 'MAX_BYTES', 1400)
    monkeypatch.setattr('retrieval.milvus.writes.MAX_IDS', 2)


@pytest.fixture
def in_memory(monkeypatch):
    """Galleries at milvus://memory/... are in memory; {name: server}."""
    servers = {}
    monkeypatch.setattr(collection, 'connect', lambda location: servers.setdefault(location.collection, MemoryMilvus()))
    return servers


def start(location):
    with create_gallery(location, 4, metric='l2') as gallery:
        gallery.add(np.repeat(np.arange(6, dtype=np.float32), 4).reshape(6, 4), [Record(label='old')] * 6, list(IDS))


def read(location):
    """All rows of a gallery as {id: (label, value)}; a search finds each of them once."""
    with open_gallery(location) as gallery:
        ids = gallery.ids()
        hits = gallery.search(vectors(0, 1), 50)
        assert sorted(hits.ids[hits.ids >= 0].tolist()) == ids.tolist()
        stored = gallery.vectors(ids)[:, 0].tolist() if len(ids) else []
        return dict(zip(ids.tolist(), zip([record.label for record in gallery.records(ids)], stored)))


def outcomes(actors, jobs):
    """What may be there after some writers have succeeded: what each order of them leaves."""
    done = [(actor, job) for actor, job in zip(actors, jobs) if actor.is_done and actor.error is None]
    for order in permutations(done):
        rows = OLD
        try:
            for actor, job in order:
                rows = job.model(rows, actor.result)
        except (KeyError, AssertionError):
            continue  # not in this order
        yield rows


def check_halves(rows, jobs):
    """No add is half there, and no row of an update or removal is anything but old or new."""
    for job in jobs:
        if job.kind == 'add' and job.name != 'old':
            assert sum(label == job.name for label, _ in rows.values()) in (0, 5)
    new = [row for job in jobs if job.kind == 'update' for row in [*job.model(OLD, None).items()]]
    both = jobs[1].model(jobs[0].model(OLD, None), None).items() if jobs[0].kind == jobs[1].kind == 'update' else ()
    for one, row in rows.items():
        assert one not in OLD or (one, row) in [*OLD.items(), *new, *both]
    for one in OLD.keys() - rows.keys():
        assert any(job.kind == 'remove' and one in job.ids for job in jobs)


def schedule(location, jobs, stops, dies_at=(None, None)):
    """Run the first writer up to a call, the second up to one, the first to its end, the second to its end.

    What a reader sees is looked at in between, unless one of them dies, after which it is looked at anyway.
    """
    start(location)
    galleries = [open_gallery(location, writable=True) for _ in jobs]
    actors = [Actor(gallery, job.run, dies) for gallery, job, dies in zip(galleries, jobs, dies_at)]
    for actor, stop in zip(actors, stops):
        actor.run_until(stop)
        if dies_at == (None, None):
            check_halves(read(location), jobs)
    for actor in actors:
        actor.run_until()
    check_halves(read(location), jobs)
    for gallery, actor in zip(galleries, actors):
        if not isinstance(actor.error, Killed):
            gallery.close()
    return actors


def number_of_calls(location, job):
    start(location)
    with open_gallery(location, writable=True) as gallery:
        actor = Actor(gallery, job.run)
        actor.run_until()
        calls = actor.calls
    return calls


def check_end(location, actors, jobs):
    rows = read(location)
    assert rows in list(outcomes(actors, jobs)), (rows, [(actor.result, actor.error) for actor in actors])
    for actor in actors:
        if actor.error is not None:
            assert re.search(r'another writer \(process|not in milvus|is there already', str(actor.error))
    with open_gallery(location) as gallery:
        assert gallery.unfinished == []


@pytest.mark.parametrize('pair', PAIRS)
def test_every_schedule_of_two_writers(in_memory, pair):
    jobs = PAIRS[pair]
    lengths = [number_of_calls(f'milvus://memory/alone_{number}', job) for number, job in enumerate(jobs)]
    refused = 0
    for number, stops in enumerate(product(*(range(length + 1) for length in lengths))):
        location = f'milvus://memory/two_{number}'
        actors = schedule(location, jobs, stops)
        check_end(location, actors, jobs)
        refused += sum(actor.error is not None for actor in actors)
    # Adds with ids of their own are never in each other's way, nor in that of others.
    assert (refused == 0) == any(job.kind == 'add' and job.ids is None for job in jobs)


def test_a_reader_that_waits_at_any_call_sees_whole_adds(in_memory):
    """The writer goes from any of its calls to any later one while the reader waits between two of its own."""

    def look(gallery):
        hits = gallery.search(vectors(7, 1), 50)
        return (hits.ids >= 0).sum(), len(gallery.ids()), len(gallery)

    length = number_of_calls('milvus://memory/alone', add('A'))
    seen = set()
    for number, (first, waits, then) in enumerate(product(range(length), range(8), range(length + 1))):
        if then < first:
            continue
        location = f'milvus://memory/read_{number}'
        start(location)
        with open_gallery(location, writable=True) as gallery, open_gallery(location) as reading:
            writer, reader = Actor(gallery, add('A').run), Actor(reading, look)
            writer.run_until(first)
            reader.run_until(waits)
            writer.run_until(then)
            reader.run_until()
            assert reader.error is None
            seen.update(reader.result)
            writer.run_until()
    assert seen == {6, 11}


@pytest.mark.parametrize('pair', ['add, add', 'add, add of the same ids', 'update, update', 'update, remove'])
def test_schedules_in_a_real_milvus(milvus_file, pair):
    jobs = PAIRS[pair]
    length = number_of_calls(f'{milvus_file}/alone_{next(_numbers)}', jobs[0])
    for stop in range(length):
        location = f'{milvus_file}/two_{next(_numbers)}'
        check_end(location, schedule(location, jobs, (stop, None)), jobs)


@pytest.mark.slow
@pytest.mark.parametrize('pair', PAIRS)
def test_a_writer_that_dies_at_any_call_while_another_waits_at_any_call(in_memory, pair):
    numbers = count()
    for live_job, dead_job in (PAIRS[pair], PAIRS[pair][::-1]):
        lengths = [number_of_calls(f'milvus://memory/alone_{next(numbers)}', job) for job in (live_job, dead_job)]
        for stop, dies_at in product(range(lengths[0] + 1), range(lengths[1])):
            name = f'dead_{next(numbers)}'
            location = f'milvus://memory/{name}'
            live, dead = schedule(location, (live_job, dead_job), (stop, None), (None, dies_at))
            check_death(location, live, live_job, dead, dead_job)
            with open_gallery(location, writable=True) as gallery:
                gallery.discard_unfinished()
                assert gallery.unfinished == [] and in_memory[name].rows[name].keys() == set(gallery.ids().tolist())
                for actor, job in ((live, live_job), (dead, dead_job)):
                    if isinstance(actor.error, Killed) or 'another writer' in str(actor.error):
                        run_again(gallery, job)


def check_death(location, live, live_job, dead, job):
    """What a writer has left that died: nothing of an add, any part of another write, and it is told."""
    if not isinstance(dead.error, Killed):  # it has ended before
        check_end(location, (live, dead), (live_job, job))
        return
    rows = read(location)
    base = OLD if live.error else live_job.model(OLD, live.result)
    try:
        full = base if job.kind == 'add' else job.model(base, None)
    except KeyError:
        full = base  # its rows were gone before it began
    assert all(rows.get(one) in (base.get(one), full.get(one)) for one in base.keys() | rows.keys())
    with open_gallery(location) as gallery:
        assert gallery.unfinished or not dead.has_written
        for sentence in gallery.unfinished:
            assert f'of {len(job.ids or range(5))} rows' in sentence or job.name == 'B'
            assert sentence.endswith('its rows are hidden' if job.kind == 'add' else 'and others not')


def run_again(gallery, job):
    """A write that broke off or was refused passes when it is run again, unless the other one changed its rows."""
    there = set(gallery.ids().tolist())
    is_possible = not there & set(job.ids or ()) if job.kind == 'add' else job.by_label or there >= set(job.ids)
    if is_possible:
        job.run(gallery)
    else:
        with pytest.raises(RetrievalError, match='not in milvus|is there already'):
            job.run(gallery)
