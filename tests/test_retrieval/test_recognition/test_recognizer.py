"""Recognition in a gallery: classes, groups, unknown, new classes without training, several photos."""

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery
from retrieval.recognition import Novelty, Recognizer, Settings, Taxonomy, knn_vote, read_taxonomy
from retrieval.recognition.vote import to_probabilities
from retrieval.whitening import Whitening

# Two families of two genera of two species, each level half as far apart as the one above.
SPECIES = [f'{family}{genus}{species}' for family in 'AB' for genus in 'ab' for species in '12']
TAXONOMY = Taxonomy({name: (name[0], name[:2]) for name in SPECIES})
DIMENSION, PER_CLASS = 16, 12


def _centre(name):
    centre = np.zeros(DIMENSION)
    for depth in range(1, len(name) + 1):
        generator = np.random.default_rng([ord(letter) for letter in name[:depth]])
        centre += generator.normal(size=DIMENSION) / 2 ** (depth - 1)
    return centre


def _photos(name, count, seed, spread=0.05):
    noise = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    return (_centre(name) + spread * noise).astype(np.float32)


def _fill(gallery, names, seed=0):
    for name in names:
        records = [Record(label=name, metadata=dict(genus=name[:2], family=name[0])) for _ in range(PER_CLASS)]
        gallery.add(_photos(name, PER_CLASS, seed), records)


@pytest.fixture(params=['cosine', 'l2'])
def gallery(request, tmp_path):
    with create_gallery(tmp_path / 'birds', DIMENSION, metric=request.param, preset='flat') as gallery:
        _fill(gallery, SPECIES[:-1])
        yield gallery


@pytest.mark.parametrize('rule', ['vote', 'means'])
def test_recognises_every_class(gallery, rule):
    recognizer = Recognizer(gallery, Settings(rule, k=5))
    for name in SPECIES[:-1]:
        for answer in recognizer.recognize(_photos(name, 3, seed=9)):
            assert (answer.label, answer.level, answer.path) == (name, 0, (name,))
            assert answer.candidates[0].label == name and answer.candidates[0].probability > 0.5
            assert len(answer.neighbors) == answer.agreeing == 5
            assert {record.label for record in gallery.records(answer.neighbors)} == {name}


@pytest.mark.parametrize('rule', ['vote', 'means'])
def test_a_new_class_needs_photos_only(gallery, rule):
    new = SPECIES[-1]
    recognizer = Recognizer(gallery, Settings(rule, k=5))
    assert new not in {answer.label for answer in recognizer.recognize(_photos(new, 4, seed=9))}
    gallery.add(_photos(new, 3, seed=1), [Record(label=new)] * 3)
    assert {answer.label for answer in recognizer.recognize(_photos(new, 4, seed=9))} == {new}
    # What was known before is as it was.
    assert {answer.label for answer in recognizer.recognize(_photos(SPECIES[0], 4, seed=9))} == {SPECIES[0]}


@pytest.mark.parametrize('score', ['support', 'distance', 'ratio'])
def test_what_is_newer_than_the_gallery_tells_is_unknown(gallery, score):
    def settings(threshold, caught=0.5):
        return Settings(k=5, fingerprint='x', photos=1, novelty={score: Novelty(threshold, 0.9, 0, caught, 0)})

    queries = _photos(SPECIES[0], 2, seed=9)
    for answer in Recognizer(gallery, settings(-2.0), accept=0.0).recognize(queries):
        assert (answer.label, answer.level, answer.path, answer.verdict) == (None, -1, (), 'unknown')
        assert answer.candidates[0].label == SPECIES[0]
    # Neither where it is not new, nor where the gallery cannot tell.
    for known in (settings(2.0), settings(-2.0, 0.09)):
        assert [one.label for one in Recognizer(gallery, known).recognize(queries)] == [SPECIES[0]] * 2


def test_probabilities_are_those_of_the_vote(gallery):
    queries = _photos(SPECIES[2], 2, seed=9)
    hits = gallery.search(queries, 4)
    settings = Settings(k=4, temperature=0.1, cap=2, rest=0.2, sharpness=1.5, classes=7, fingerprint='x', photos=1)
    answers = Recognizer(gallery, settings).recognize(queries)
    alike = hits.scores if gallery.manifest.metric == 'cosine' else 1 / (1 + hits.scores)
    shares = knn_vote(alike, np.zeros((2, 4), int), 0.1, 2).shares
    expected = to_probabilities(shares, 0.2, 1.5, 7)[:, 0]
    np.testing.assert_allclose([answer.probability for answer in answers], expected, rtol=1e-5)
    (both,) = Recognizer(gallery, settings).recognize(queries, together=['bird', 'bird'])
    assert (both.label, both.photos, len(both.neighbors)) == (SPECIES[2], [0, 1], 8)
    assert both.probability == pytest.approx(expected[0])  # pooling is 1: the second photo tells nothing new
    free = Recognizer(gallery, Settings(**{**vars(settings), 'pooling': 0.0}))
    assert free.recognize(queries, together=[0, 0])[0].probability > expected[0]
    assert [one.photos for one in free.recognize(_photos(SPECIES[2], 3, 9), together=['b', 'a', 'b'])] == [[0, 2], [1]]


def test_an_uncertain_class_falls_back_to_its_group(gallery):
    # Between two species of one genus: votes are shared, the genus has them all.
    between = ((_centre('Aa1') + _centre('Aa2')) / 2).astype(np.float32)[None]
    settings = Settings(k=24, temperature=1.0, rest=0.05, classes=7)
    (free,) = Recognizer(gallery, settings).recognize(between)
    assert free.level == 0 and free.candidates[0].probability < 0.5
    (answer,) = Recognizer(gallery, settings, TAXONOMY).recognize(between)
    assert (answer.label, answer.level, answer.path) == ('Aa', 1, ('A', 'Aa'))
    # Between two families, no group is sure.
    far = ((_centre('Aa1') + _centre('Ba2')) / 2).astype(np.float32)[None]
    (answer,) = Recognizer(gallery, Settings(k=80, temperature=np.inf), TAXONOMY).recognize(far)
    assert answer.level == 0


@pytest.mark.parametrize('rule', ['vote', 'means'])
def test_excluded_rows_do_not_count(gallery, rule):
    """Copies of a photo under a wrong name; only they are of that class."""
    photo = _photos(SPECIES[0], 1, seed=9)
    own = gallery.add(np.repeat(photo, 3, axis=0), [Record(label='wrong')] * 3)
    recognizer = Recognizer(gallery, Settings(rule, k=3))
    assert recognizer.recognize(photo)[0].label == 'wrong'
    assert recognizer.recognize(photo, exclude=[own])[0].label == SPECIES[0]
    some = recognizer.recognize(photo, exclude=[gallery.ids({'label': SPECIES[0]})])[0]
    assert SPECIES[0] not in [one.label for one in some.candidates if one.probability]


def test_rows_without_a_label_do_not_vote(gallery):
    name = SPECIES[0]
    gallery.add(_photos(name, 3, seed=9), None)
    for rule in ('vote', 'means'):
        answers = Recognizer(gallery, Settings(rule, k=6)).recognize(_photos(name, 3, seed=9))
        assert [answer.label for answer in answers] == [name] * 3
        assert all(3 <= answer.agreeing < 6 for answer in answers)


@pytest.mark.parametrize('rule', ['vote', 'means'])
def test_only_rows_that_pass_the_filter_count(gallery, rule):
    recognizer = Recognizer(gallery, Settings(rule, k=5), where={'family': 'B'})
    answers = recognizer.recognize(_photos('Aa1', 3, seed=9))
    assert all(one.label.startswith('B') for answer in answers for one in answer.candidates)


def test_taxonomy_from_the_gallery(gallery, tmp_path):
    taxonomy = read_taxonomy(gallery, columns=['genus', 'family'])
    assert taxonomy.ancestors('Ab2') == ('A', 'Ab')
    assert read_taxonomy(gallery) is None
    table = tmp_path / 'table.csv'
    table.write_text('species,genus\nAb2,Xy\n')
    assert read_taxonomy(gallery, table).ancestors('Ab2') == ('Xy',)
    with pytest.raises(RetrievalError, match="no column 'order'"):
        read_taxonomy(gallery, columns=['order'])


def test_an_empty_gallery_knows_nothing(tmp_path):
    with create_gallery(tmp_path / 'empty', 3, preset='flat') as gallery:
        (answer,) = Recognizer(gallery, taxonomy=TAXONOMY).recognize(np.ones((1, 3), np.float32))
        assert (answer.label, answer.probability, answer.candidates, answer.neighbors) == (None, None, [], [])


@pytest.mark.parametrize(
    'values, message',
    [
        (dict(k=0), 'k must be'),
        (dict(rule='best'), "vote or means, got 'best'"),
        (dict(temperature=0.0), 'positive'),
        (dict(rest=1.0), 'rest must be'),
        (dict(cap=0), 'cap must be'),
    ],
)
def test_impossible_settings_are_one_sentence(values, message):
    with pytest.raises(RetrievalError, match=message):
        Settings(**values)


def test_verdicts_need_probabilities(gallery):
    with pytest.raises(RetrievalError, match='is not tuned.*glsim classify GALLERY --tune'):
        Recognizer(gallery, accept=0.97)
    with pytest.raises(RetrievalError, match='from 0 to below 1'):
        Recognizer(gallery, accept=1.5)


def test_weights_of_spaces_count_in_means_as_in_a_search(tmp_path):
    with create_gallery(tmp_path / 'two', {'a': DIMENSION, 'b': DIMENSION}, preset='flat') as gallery:
        for name in SPECIES:
            photos = _photos(name, PER_CLASS, seed=0)
            noise = np.random.default_rng(1).normal(size=photos.shape).astype(np.float32)
            gallery.add({'a': noise, 'b': photos}, [Record(label=name)] * PER_CLASS)
        new = _photos(SPECIES[3], 2, seed=9)
        queries = {'a': np.ones_like(new), 'b': new}
        for rule in ('vote', 'means'):
            recognizer = Recognizer(gallery, Settings(rule, k=5), space={'a': 0.01, 'b': 1.0})
            assert [one.label for one in recognizer.recognize(queries)] == [SPECIES[3]] * 2


def test_a_whitened_gallery(tmp_path):
    photos = {name: _photos(name, PER_CLASS, seed=0) for name in SPECIES}
    whitening = Whitening.fit(np.concatenate(list(photos.values())), 6)
    with create_gallery(tmp_path / 'white', {'a': 6}, preset='flat', transforms={'a': whitening}) as gallery:
        for name, embeddings in photos.items():
            gallery.add(embeddings, [Record(label=name)] * PER_CLASS)
        for rule in ('vote', 'means'):
            answers = Recognizer(gallery, Settings(rule, k=5)).recognize(_photos('Ba2', 3, seed=9))
            assert [answer.label for answer in answers] == ['Ba2'] * 3
