"""The audit of a gallery: planted wrong labels, contradicting copies, classes that are one, odd photos."""

import numpy as np
import pytest

from retrieval.class_metric import fit_metric
from retrieval.gallery import Record, create_gallery
from retrieval.recognition import audit
from retrieval.recognition.outliers import find_outliers
from retrieval.recognition.reviewed import labels_to_review, review_values

NAMES = [f'{number:03}.Some_Bird_{number}' for number in range(8)]
DIMENSION, COUNT = 12, 12


def draw(seed=1, spread=0.25, count=COUNT, classes=8):
    """Photos of classes around random centres."""
    centres = np.random.default_rng(0).normal(size=(classes, DIMENSION))
    codes = np.repeat(np.arange(classes), count)
    noise = np.random.default_rng(seed).normal(size=(len(codes), DIMENSION))
    return (centres[codes] + spread * noise).astype(np.float32), codes


def records(codes, **more):
    told = [dict(zip(more, values)) for values in zip(*more.values())] if more else [{}] * len(codes)
    return [Record(label=None if code < 0 else NAMES[code], **one) for code, one in zip(codes, told)]


def put(tmp_path, rows, listed, metric='cosine'):
    gallery = create_gallery(tmp_path / 'gallery', rows.shape[1], metric=metric, preset='flat')
    gallery.add(rows, listed)
    return gallery


@pytest.mark.parametrize('metric, learned', [('cosine', False), ('l2', False), ('cosine', True)])
def test_planted_wrong_labels_are_found(tmp_path, metric, learned):
    rows, codes = draw()
    wrong = np.array([3, 20, 40, 77, 90])
    given = codes.copy()
    given[wrong] = (codes[wrong] + 3) % len(NAMES)
    with put(tmp_path, rows, records(given), metric) as gallery:
        if learned:
            fit_metric(gallery, force=True)
        ids = gallery.ids()
        found = audit(gallery)
    assert {one.id for one in found.suspects} == set(ids[wrong].tolist())
    assert (found.photos, found.labelled, found.classes, found.checked) == (96, 96, 8, 96)
    assert found.accuracy == pytest.approx(91 / 96) and not found.notes
    for one in found.suspects:
        row = int(np.flatnonzero(ids == one.id)[0])
        assert (one.label, one.suggestions[0][0]) == (NAMES[given[row]], NAMES[codes[row]])
        assert 1 <= len(one.suggestions) <= 5 and one.label not in [label for label, _ in one.suggestions]
        assert one.share < one.suggestions[0][1] and one.doubt > 0.5
        assert f'labelled Some Bird {given[row]}, but looks like Some Bird {codes[row]}: ' in one.reason
        assert 'nan' not in one.reason


def test_labels_that_somebody_has_confirmed_are_not_doubted(tmp_path):
    rows, codes = draw()
    codes[[3, 20]] = (codes[[3, 20]] + 3) % len(NAMES)
    with put(tmp_path, rows, records(codes)) as gallery:
        ids = gallery.ids()
        gallery.set_values([ids[3]], review_values(NAMES[codes[3]]))
        assert [one.id for one in audit(gallery).suspects] == [ids[20]]
        assert ids[3] not in labels_to_review(gallery) and len(labels_to_review(gallery)) == len(ids) - 1
        gallery.set_values([ids[3]], {'label': NAMES[(codes[3] + 1) % len(NAMES)]})  # which nobody has looked at
        assert {one.id for one in audit(gallery).suspects} == {ids[3], ids[20]}


def test_copies_that_contradict_each_other(tmp_path):
    rows, codes = draw()
    rows[20] = rows[5] + 0.001  # of class 1, and of class 0
    hashes, splits = [None] * len(rows), ['train'] * len(rows)
    hashes[30] = hashes[31] = 'a'  # one class, two splits
    hashes[40] = hashes[41] = 'b'  # agree
    splits[31] = 'test'
    told = records(codes, content_hash=hashes, split=splits)
    told[50].metadata['observation'] = told[70].metadata['observation'] = 'bird 1'
    with put(tmp_path, rows, told) as gallery:
        ids = gallery.ids().tolist()
        found = audit(gallery, threshold=0.9999)
        only_files = audit(gallery, threshold=None)
    described = [(one.kind, [ids.index(record.id) for record in one.records], one.differ) for one in found.conflicts]
    assert described == [
        ('equal', [30, 31], ('split',)),
        ('similar', [5, 20], ('label',)),
        ('observation', [50, 70], ('label',)),
    ]
    assert [one.kind for one in only_files.conflicts] == ['equal', 'observation']


def test_classes_that_are_one_and_odd_photos(tmp_path):
    rows, codes = draw(count=16)
    codes[16:32] = np.arange(16) % 2  # class 1 is class 0, and the other way round
    codes[:16] = np.arange(16) % 2
    rows[:32] = rows[0] + 0.3 * np.random.default_rng(3).normal(size=(32, DIMENSION))
    odd = -rows.mean(axis=0) * 5
    with put(tmp_path, np.vstack([rows, odd[None]]), records([*codes, -1])) as gallery:
        found = audit(gallery)
        last = int(gallery.ids()[-1])
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.photos) == (NAMES[0], NAMES[1], (16, 16))
    assert pair.is_chance and abs(pair.accuracy - 0.5) < 0.25
    assert pair.accuracy == pytest.approx(1 - sum(pair.wrong) / 32)
    outlier = found.outliers[0]
    assert (outlier.id, outlier.label) == (last, None) and outlier.distance > 1.5
    assert last not in [one.id for one in found.suspects]


@pytest.mark.parametrize('classes', [8, 1, 0])
def test_odd_photos_that_are_like_each_other(classes):
    rows, codes = draw(spread=0.5)
    random = np.random.default_rng(5)
    odd = 4 * random.normal(size=DIMENSION) + 0.1 * random.normal(size=(3, DIMENSION))
    given = {8: codes, 1: 0 * codes, 0: 0 * codes - 1}[classes]
    places, distances = find_outliers(np.vstack([rows, odd]), np.append(given, [-1, -1, -1]))
    assert set(places[:3]) == {96, 97, 98} and (np.diff(distances) <= 0).all() and distances[2] > 1.5
    if classes == 8:
        alone = np.append(given, [8, 9, 10])  # each the only one of its class
        assert set(find_outliers(np.vstack([rows, odd]), alone)[0][:3]) <= {96, 97, 98}


def test_photos_that_do_not_differ_are_not_odd():
    same = np.ones((20, 4), np.float32)
    for rows in (same, same[:3], same[:0]):
        for codes in (np.zeros(len(rows), np.int64), np.arange(len(rows)), np.arange(len(rows)) // 2):
            places, distances = find_outliers(rows, codes)
            assert len(places) == len(distances) == 0


def test_galleries_that_say_little(tmp_path):
    rows, codes = draw(count=3)
    for number, (given, checked, note) in enumerate(
        [
            (np.full(24, -1), 0, 'No photo has a label, so that only copies and odd photos were looked for.'),
            (np.full(24, 2), 0, 'All labelled photos are of one class, Some Bird 2: labels say nothing.'),
            (np.array([0, 1, *[-1] * 22]), 0, '2 photos are alone in their class and cannot be checked.'),
            (np.array([*codes[:23], 0]), 24, ''),
            (np.array([*codes[:-3], 7, -1, -1]), 21, '1 photo is alone in its class and cannot be checked.'),
        ]
    ):
        with put(tmp_path / str(number), rows, records(given)) as gallery:
            found = audit(gallery)
        assert found.checked == checked and found.notes == ([note] if note else [])
        assert (found.settings is None) == (found.accuracy is None) == (not checked)
    for count in (0, 1):
        with put(tmp_path / f'few{count}', rows, records(codes)) as gallery:
            gallery.remove(gallery.ids()[count:])
            assert audit(gallery).photos == count
