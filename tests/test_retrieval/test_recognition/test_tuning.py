"""Tuning: photos are left out with all that knows them, the best settings are found, and their promises are kept."""

import json
from dataclasses import replace

import numpy as np
import pytest

from retrieval.class_metric import fit_metric
from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery, open_gallery
from retrieval.metrics import calibration_error
from retrieval.recognition import (
    Recognizer,
    Settings,
    accepting,
    describe_settings,
    read_settings,
    store_settings,
    tune,
)
from retrieval.recognition.left_out import choose_queries, leave_out, read_evidence
from retrieval.recognition.settings import KEY
from retrieval.recognition.tuning import accuracy_curve, log_loss, pool

NAMES = [f'{number:03}.Some_Bird_{number}' for number in range(12)]


def draw(seed, count=20, spread=1.0, dimension=12, num_classes=12):
    """Photos of classes around random centres, with more noise in the first dimensions."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(num_classes, dimension))
    noise = np.linspace(2, 0.4, dimension)
    codes = np.repeat(np.arange(num_classes), count)
    rows = centres[codes] + spread * noise * np.random.default_rng(seed).normal(size=(len(codes), dimension))
    return rows.astype(np.float32), codes


def fill(gallery, rows, codes, observations=None):
    told = [{}] * len(rows) if observations is None else [{'observation': int(one)} for one in observations]
    gallery.add(rows, [Record(label=NAMES[code], metadata=more) for code, more in zip(codes, told)])


@pytest.fixture(scope='module')
def birds(tmp_path_factory):
    """A gallery with a metric learned from its labels, tuned; its settings."""
    location = tmp_path_factory.mktemp('tuned') / 'gallery'
    with create_gallery(location, 12, preset='flat') as gallery:
        fill(gallery, *draw(1))
        fit_metric(gallery, force=True)
        return location, store_settings(gallery, tune(gallery))


@pytest.mark.parametrize('metric', ['cosine', 'l2', 'ip'])
def test_leaving_out_equals_doing_so_by_hand(tmp_path, metric):
    rows, codes = draw(1, count=4)
    observations = np.arange(len(rows)) // 2
    with create_gallery(tmp_path / 'g', 12, metric=metric, preset='flat') as gallery:
        fill(gallery, rows, codes, observations)
        evidence = read_evidence(gallery)
        answers = leave_out(evidence, choose_queries(evidence), (0.0, 2.0))
        stored = gallery.vectors(gallery.ids()).astype(np.float64)
    assert len(answers.rows) == len(rows)
    for row in range(0, len(rows), 5):
        rest = np.flatnonzero(observations != observations[row])
        squares = ((stored[rest] - stored[row]) ** 2).sum(axis=1)
        alike = 1 / (1 + squares) if metric == 'l2' else stored[rest] @ stored[row]
        order = np.argsort(-alike)
        np.testing.assert_allclose(answers.alike[row][: len(rest)], alike[order][:100], rtol=1e-3, atol=1e-5)
        assert (answers.classes[row][: len(rest)] == codes[rest][order][:100]).mean() > 0.9  # but for ties
        centre = np.mean([stored[codes == code].mean(axis=0) for code in range(12)], axis=0)
        for shrinkage in (0.0, 2.0):
            for code in (codes[row], (codes[row] + 1) % 12):
                own = stored[rest][codes[rest] == code]
                mean = (own.sum(axis=0) + shrinkage * centre) / (len(own) + shrinkage)
                expected = ((stored[row] - mean) ** 2).sum()
                assert answers.distances[shrinkage][row, code] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_observations_are_left_out_whole(tmp_path):
    """Bursts of nearly equal photos: without the column each finds its own burst, and the accuracy is a lie."""
    few, classes = draw(1, count=5, spread=2.0)
    rows = np.repeat(few, 2, axis=0) + np.random.default_rng(2).normal(size=(120, 12)).astype(np.float32) * 0.01
    accuracies = []
    for number, observations in enumerate((None, np.repeat(np.arange(60), 2))):
        with create_gallery(tmp_path / str(number), 12, preset='flat') as gallery:
            fill(gallery, rows, np.repeat(classes, 2), observations)
            found = tune(gallery)
        accuracies.append(found.measured['accuracy'])
    assert accuracies[0] > 0.95 and accuracies[1] < 0.6
    assert found.pooling == 1.0  # two photos of one burst tell what one of them tells


def test_a_metric_that_knows_the_photos_is_learned_without_them(birds):
    """What leaving out says is what new photos show; the gallery's own metric pushes away what it was learned from."""
    location, found = birds
    rows, codes = draw(2, count=40)
    with open_gallery(location) as gallery:
        answers = Recognizer(gallery).recognize(rows)
        evidence = read_evidence(gallery)
        seen = evidence._replace(sources=[(gallery.vectors(gallery.ids(), 'embedding-metric'), 1.0, None)])
        flattered = leave_out(seen, choose_queries(seen), (found.shrinkage,))
    right = np.array([one.label == NAMES[code] for one, code in zip(answers, codes)])
    assert evidence.learned and not seen.learned
    assert found.measured['accuracy'] == pytest.approx(right.mean(), abs=0.08)
    wrong = (flattered.distances[found.shrinkage].argmin(axis=1) == seen.codes[flattered.rows]).mean()
    assert abs(wrong - right.mean()) > abs(found.measured['accuracy'] - right.mean())
    # Probabilities are what they say, and what is accepted is right.
    shares = np.array([one.candidates[0].probability for one in answers])
    assert calibration_error(shares, right)[0] < 8
    least, coverage = accepting(found, 0.9)
    accepted = shares >= least
    assert accepted.mean() == pytest.approx(coverage, abs=0.12) and right[accepted].mean() >= 0.9


def test_random_labels_are_recognised_by_chance(tmp_path):
    random = np.random.default_rng(0)
    rows = random.normal(size=(120, 12)).astype(np.float32)
    with create_gallery(tmp_path / 'g', 12, preset='flat') as gallery:
        fill(gallery, rows, random.integers(12, size=120))
        fit_metric(gallery, force=True)
        found = tune(gallery)
    assert found.measured['accuracy'] < 0.18
    assert found.measured['log_loss'] == pytest.approx(np.log(12), abs=0.1)
    assert accepting(found, 0.9) == (np.inf, 0.0)
    assert 'No answer is certain enough' in describe_settings(found, 0.9)
    assert not found.tells_unknown and 'cannot tell unknown classes from known ones' in describe_settings(found)


@pytest.mark.parametrize('rule', ['vote', 'means'])
@pytest.mark.parametrize('score', ['support', 'distance', 'ratio'])
def test_unknown_photos_are_caught_at_few_false_alarms(apart, rule, score):
    gallery, found = apart
    only = replace(found, rule=rule, novelty={score: found.novelty[score]})
    rows, codes = draw(5, count=40, spread=0.4)
    answers = Recognizer(gallery, only, accept=0.9).recognize(rows)
    unknown = np.array([one.verdict == 'unknown' for one in answers])
    assert all(one.label is None for one, is_new in zip(answers, unknown) if is_new)
    assert unknown[codes < 9].mean() < 0.12
    assert unknown[codes >= 9].mean() == pytest.approx(found.novelty[score].caught, abs=0.35)
    assert unknown[codes >= 9].mean() > 0.4


@pytest.fixture(scope='module')
def apart(tmp_path_factory):
    """A tuned gallery of nine of twelve classes that are well apart."""
    rows, codes = draw(4, spread=0.4)
    with create_gallery(tmp_path_factory.mktemp('apart') / 'gallery', 12, preset='flat') as gallery:
        fill(gallery, rows[codes < 9], codes[codes < 9])
        yield gallery, tune(gallery)


def test_the_chosen_settings_have_the_least_loss(birds):
    location, found = birds
    with open_gallery(location) as gallery:
        evidence = read_evidence(gallery)
    answers = leave_out(evidence, choose_queries(evidence), (0.0, found.shrinkage))
    truth = evidence.codes[answers.rows]
    least = log_loss(found, answers, truth)
    assert least == pytest.approx(found.measured['log_loss'])
    assert found.rule == 'means' and least < found.measured['other_log_loss']
    for change in (
        {'mean_temperature': found.mean_temperature * 1.5},
        {'mean_temperature': found.mean_temperature / 1.5},
    ):
        assert log_loss(replace(found, **change), answers, truth) > least


def test_settings_are_kept_and_told_when_stale(birds, tmp_path):
    location, found = birds
    with open_gallery(location, writable=True) as gallery:
        assert read_settings(gallery) == (found, '')
        assert 'other embeddings' in read_settings(gallery, 'embedding')[1]
        assert 'other embeddings' in read_settings(gallery, where={'label': NAMES[0]})[1]
        assert not read_settings(gallery, 'embedding')[0].is_tuned
        added = gallery.add(draw(3)[0][:1], [Record(label=NAMES[0])])
        kept, note = read_settings(gallery)
        assert kept == found and '(240 photos then, 241 now)' in note and 'glsim classify GALLERY --tune' in note
        gallery.remove(added)
        gallery.set_origin({KEY: found.to_json().replace('"means"', '"magic"')})
        with pytest.raises(RetrievalError, match='damaged.*tune again'):
            read_settings(gallery)
        store_settings(gallery, found)


@pytest.mark.parametrize('text', ['', '[]', '{}', '{"rule": "vote"}', 'null', '{"rule":'])
def test_damaged_settings_are_one_sentence(text):
    with pytest.raises(RetrievalError, match='damaged'):
        Settings.from_json(text)


@pytest.mark.parametrize(
    'labels, message',
    [
        ([None] * 4, 'no photo of .* has a label'),
        (['a'] * 4, 'all photos of .* are of one class, a'),
        (list('abcd'), 'no class has photos of two observations'),
    ],
)
def test_galleries_that_cannot_be_tuned(tmp_path, labels, message):
    with create_gallery(tmp_path / 'g', 3, preset='flat') as gallery:
        gallery.add(np.eye(4, 3, dtype=np.float32) + 0.1, [Record(label=label) for label in labels])
        with pytest.raises(RetrievalError, match=message):
            tune(gallery)
        if labels[0] is None:
            with pytest.raises(RetrievalError, match='has a label'):
                Recognizer(gallery, Settings('means')).recognize(np.ones((1, 3), np.float32))
        with pytest.raises(RetrievalError, match='NaN'):
            Recognizer(gallery).recognize(np.full((1, 3), np.nan, np.float32))


def test_photos_without_a_label_and_alone_in_their_class_are_told(tmp_path):
    rows, codes = draw(1, count=4)
    codes = np.append(codes[:-3], [])
    with create_gallery(tmp_path / 'g', 12, preset='flat') as gallery:
        fill(gallery, rows[: len(codes)], codes.astype(int))
        gallery.add(rows[:2], None)
        found = tune(gallery)
    assert (found.photos, found.classes, found.measured['alone']) == (44, 12, 1)
    assert '44 photos of 12 classes were left out in turn; 1 more are alone in their class.' in describe_settings(found)


def test_accepted_answers_keep_the_promise():
    """Probabilities that are too high by far: what is accepted follows what was right, not what was said."""
    kept = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        chances = random.uniform(0.5, 1, 1500)
        said = np.sqrt(chances)
        found = Settings(photos=500, curve=accuracy_curve(said[:500], random.random(500) < chances[:500]))
        least, coverage = accepting(found, 0.9)
        assert coverage == pytest.approx((said[:500] >= least).mean())
        if coverage:
            kept.append(chances[500:][said[500:] >= least].mean() >= 0.9)
    assert len(kept) > 30 and np.mean(kept) > 0.85
    assert accepting(Settings(photos=20, curve=((0.9, 20, 20),)), 0.97) == (np.inf, 0.0)  # too few to promise it
    assert accepting(Settings(photos=100, curve=((0.9, 100, 100),)), 0.97) == (0.9, 1.0)


def test_pooling_goes_from_one_photo_to_several():
    logarithms = np.log([[0.6, 0.4], [0.6, 0.4]])
    np.testing.assert_allclose(pool(logarithms, 1.0), [0.6, 0.4])
    np.testing.assert_allclose(pool(logarithms, 0.0), [0.36 / 0.52, 0.16 / 0.52])


def test_settings_survive_json(birds):
    found = birds[1]
    assert Settings.from_json(found.to_json()) == found and len(found.to_json()) < 8000
    assert json.loads(found.to_json())['rule'] == found.rule
