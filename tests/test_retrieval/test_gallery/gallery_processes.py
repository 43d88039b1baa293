"""Processes that read, write and back up one gallery at once; run by test_gallery_processes.py.

Rows come and go ten at a time, under one label, with the label in their vectors: a state in which a label has another
number of rows, or another vector, was never committed.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from retrieval.gallery import Record, back_up_gallery, open_gallery

DIMENSION, BATCH = 12, 10


def vectors(label):
    """Ten rows, 2 apart from each other, 100 and more apart from those of other labels."""
    rows = np.zeros((BATCH, DIMENSION), np.float32)
    rows[:, 0] = 100 * label
    rows[:, 1:11] = np.sqrt(2, dtype=np.float32) * np.eye(BATCH)
    return rows


def write(location, stop, seed):
    """Add, replace, remove and compact, until the file ``stop`` is there or the process is killed."""
    generator = np.random.default_rng(seed)
    while not stop.exists():
        with open_gallery(location, writable=True) as gallery:
            labels = sorted({int(record.label) for record in gallery.records(gallery.ids())})
            if len(labels) > 12 or (len(labels) > 3 and generator.random() < 0.4):
                gallery.remove(where={'label': str(generator.choice(labels))})
            elif labels and generator.random() < 0.2:
                gallery.update(gallery.ids({'label': str(labels[0])}), vectors(labels[0]))
            else:
                label = max(labels, default=0) + 1
                gallery.add(vectors(label), [Record(f'{label}-{row}.jpg', label=str(label)) for row in range(BATCH)])
            if generator.random() < 0.3:
                gallery.compact(str(generator.choice(['flat', 'fp16', 'IVF4,Flat'])))


def check(gallery):
    """Whether everything that a reader sees is of one committed state."""
    ids = gallery.ids()
    records = gallery.records(ids)
    counts = Counter(record.label for record in records)
    assert set(counts.values()) <= {BATCH}, counts
    assert len(gallery) == len(ids) == gallery.manifest.counts['rows']
    if not counts:
        return
    label = max(counts, key=int)
    own = ids[[record.label == label for record in records]]
    np.testing.assert_array_equal(gallery.vectors(own), vectors(int(label)))
    filtered = gallery.search(vectors(int(label))[:2], BATCH + 5, where={'label': label})
    assert (np.sort(filtered.ids[:, :BATCH]) == own).all() and (filtered.ids[:, BATCH:] == -1).all()
    nearest = gallery.search(vectors(int(label)), 1)
    np.testing.assert_array_equal(nearest.ids[:, 0], own)


def read(location, stop, seed):
    """Look again and again, in a gallery that stays open and in fresh ones; each state is looked at twice.

    The file ``stop.SEED`` tells that five states were seen.
    """
    generations = []
    with open_gallery(location) as kept:
        while not stop.exists():
            kept.refresh()
            check(kept)
            with open_gallery(location, mmap=bool(len(generations) % 2)) as fresh:
                check(fresh)
            check(kept)  # whatever was written meanwhile
            generations.append(kept.manifest.generation)
            if len(set(generations)) >= 5:
                stop.with_suffix(f'.{seed}').touch()
    assert generations == sorted(generations)


def back_up(location, stop, seed):
    """Bring a backup up to date again and again, and look at it; ``stop.SEED`` tells that five states were seen."""
    generations = set()
    target = location.with_name('backup')
    while not stop.exists():
        back_up_gallery(location, target)
        with open_gallery(target) as gallery:
            gallery.verify()
            check(gallery)
            generations.add(gallery.manifest.generation)
        if len(generations) >= 5:
            stop.with_suffix(f'.{seed}').touch()


if __name__ == '__main__':
    role, place, stop_file, number = sys.argv[1:]
    dict(read=read, write=write, back_up=back_up)[role](Path(place), Path(stop_file), int(number))
