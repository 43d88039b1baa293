"""Recognition in a gallery: classes, groups, unknown, new classes without training, calibration."""

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery
from retrieval.recognition import Recognizer, Taxonomy, auroc, calibrate, knn_vote, read_taxonomy
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


def test_recognises_every_class(gallery):
    recognizer = Recognizer(gallery, k=5)
    for name in SPECIES[:-1]:
        for answer in recognizer.recognize(_photos(name, 3, seed=9)):
            assert (answer.label, answer.level, answer.path) == (name, 0, (name,))
            assert answer.candidates[0].label == name and answer.candidates[0].share > 0.99
            assert len(answer.neighbors) == 5
            assert {record.label for record in gallery.records(answer.neighbors)} == {name}


def test_a_new_class_needs_photos_only(gallery):
    new = SPECIES[-1]
    recognizer = Recognizer(gallery, k=5)
    assert new not in {answer.label for answer in recognizer.recognize(_photos(new, 4, seed=9))}
    gallery.add(_photos(new, 3, seed=1), [Record(label=new)] * 3)
    assert {answer.label for answer in recognizer.recognize(_photos(new, 4, seed=9))} == {new}
    # What was known before is as it was.
    assert {answer.label for answer in recognizer.recognize(_photos(SPECIES[0], 4, seed=9))} == {SPECIES[0]}


def test_thresholds_make_unknown(gallery):
    answers = Recognizer(gallery, thresholds=2.0).recognize(_photos(SPECIES[0], 2, seed=9))
    for answer in answers:
        assert (answer.label, answer.level, answer.path) == (None, -1, ())
        assert 0 < answer.confidence <= 1
        assert answer.candidates[0].label == SPECIES[0]


def test_confidence_is_the_support_of_the_vote(gallery):
    queries = _photos(SPECIES[2], 2, seed=9)
    hits = gallery.search(queries, 4)
    answers = Recognizer(gallery, k=4, temperature=0.1).recognize(queries)
    alike = hits.scores if gallery.manifest.metric == 'cosine' else 1 / (1 + hits.scores)
    votes = knn_vote(alike, np.zeros((2, 4), int), 0.1)
    np.testing.assert_allclose([answer.confidence for answer in answers], votes.supports[:, 0], rtol=1e-5)


def test_an_uncertain_class_falls_back_to_its_group(gallery):
    # Between two species of one genus: votes are shared, the genus has them all.
    between = ((_centre('Aa1') + _centre('Aa2')) / 2).astype(np.float32)[None]
    (free,) = Recognizer(gallery, temperature=1.0, taxonomy=TAXONOMY).recognize(between)
    assert free.level == 0
    genus = Recognizer(gallery, temperature=1.0, taxonomy=TAXONOMY, thresholds=(free.confidence + 0.01, 0.0))
    (answer,) = genus.recognize(between)
    assert (answer.label, answer.level, answer.path) == ('Aa', 1, ('A', 'Aa'))
    assert answer.confidence > free.confidence
    family = Recognizer(gallery, temperature=1.0, taxonomy=TAXONOMY, thresholds=(2.0, 2.0, 0.0))
    (answer,) = family.recognize(between)
    assert (answer.label, answer.level, answer.path) == ('A', 2, ('A',))
    # The last threshold is for all levels above.
    assert Recognizer(gallery, taxonomy=TAXONOMY, thresholds=[2.0]).recognize(between)[0].label is None


def test_calibrated_thresholds_name_the_genus_of_an_unseen_species(gallery):
    recognizer = Recognizer(gallery, k=5, taxonomy=TAXONOMY)
    levels = calibrate(recognizer)
    assert [level.level for level in levels] == [0, 1, 2]
    assert all(0.9 < level.auroc <= 1 for level in levels[:2])
    recognizer.thresholds = tuple(level.threshold for level in levels)
    unseen = recognizer.recognize(_photos(SPECIES[-1], 6, seed=9))
    assert [(answer.level, answer.label) for answer in unseen] == [(1, SPECIES[-1][:2])] * 6
    known = [answer.label for name in SPECIES[:-1] for answer in recognizer.recognize(_photos(name, 2, seed=9))]
    assert np.mean([label == name for label, name in zip(known, np.repeat(SPECIES[:-1], 2))]) > 0.9


def test_calibration_equals_holding_out_by_hand(gallery, tmp_path):
    recognizer = Recognizer(gallery, k=5, temperature=0.1)
    (level,) = calibrate(recognizer, 0.1)
    ids = gallery.ids()
    labels = np.array([record.label for record in gallery.records(ids)])
    vectors = gallery.vectors(ids)
    known, unknown = [], []
    for row in range(len(ids)):
        for rest, values in ((np.arange(len(ids)) != row, known), (labels != labels[row], unknown)):
            if gallery.manifest.metric == 'cosine':
                alike = vectors[rest] @ vectors[row]
            else:
                alike = 1 / (1 + ((vectors[rest] - vectors[row]) ** 2).sum(axis=1))
            nearest = np.argsort(-alike)[:5]
            codes = np.unique(labels, return_inverse=True)[1][rest][nearest]
            values.append(knn_vote(alike[None, nearest], codes[None], 0.1).supports[0, 0])
    assert (level.known, level.unknown) == (len(ids), len(ids))
    assert level.auroc == pytest.approx(auroc(np.array(known), np.array(unknown)), abs=1e-3)
    assert level.threshold == pytest.approx(np.sort(known)[int(0.1 * len(known) + 1e-9)], rel=1e-4)
    assert level.false_unknown_rate == pytest.approx(np.mean(known < np.float64(level.threshold)), abs=0.02)
    assert level.true_unknown_rate == pytest.approx(np.mean(unknown < np.float64(level.threshold)), abs=0.02)


def test_calibration_draws_images_by_seed(gallery):
    recognizer = Recognizer(gallery, k=3)
    few = calibrate(recognizer, num_images=20, seed=3)
    assert few == calibrate(recognizer, num_images=20, seed=3)
    assert few[0].unknown == 20
    assert few != calibrate(recognizer, num_images=20, seed=4)


def test_rows_without_a_label_do_not_vote(gallery):
    name = SPECIES[0]
    gallery.add(_photos(name, 3, seed=9), None)
    answers = Recognizer(gallery, k=6).recognize(_photos(name, 3, seed=9))
    assert [answer.label for answer in answers] == [name] * 3
    assert all(answer.candidates[0].share == pytest.approx(1) for answer in answers)
    calibrate(Recognizer(gallery, k=3))


def test_only_rows_that_pass_the_filter_vote(gallery):
    recognizer = Recognizer(gallery, k=5, where={'family': 'B'})
    answers = recognizer.recognize(_photos('Aa1', 3, seed=9))
    assert all(answer.label.startswith('B') for answer in answers)
    levels = calibrate(recognizer, 0.0)
    assert levels[0].known == 3 * PER_CLASS


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
        assert (answer.label, answer.confidence, answer.candidates, answer.neighbors) == (None, 0.0, [], [])
        with pytest.raises(RetrievalError, match='two classes'):
            calibrate(Recognizer(gallery))


def test_calibration_needs_a_class_of_two_images(tmp_path):
    with create_gallery(tmp_path / 'single', 3, preset='flat') as gallery:
        gallery.add(np.eye(3, dtype=np.float32), [Record(label=name) for name in 'abc'])
        with pytest.raises(RetrievalError, match='two images'):
            calibrate(Recognizer(gallery))


def test_k_must_be_positive(gallery):
    with pytest.raises(RetrievalError, match='k must be'):
        Recognizer(gallery, k=0)


def test_a_whitened_gallery(tmp_path):
    photos = {name: _photos(name, PER_CLASS, seed=0) for name in SPECIES}
    whitening = Whitening.fit(np.concatenate(list(photos.values())), 6)
    with create_gallery(tmp_path / 'white', {'a': 6}, preset='flat', transforms={'a': whitening}) as gallery:
        for name, embeddings in photos.items():
            gallery.add(embeddings, [Record(label=name)] * PER_CLASS)
        recognizer = Recognizer(gallery, k=5)
        assert [answer.label for answer in recognizer.recognize(_photos('Ba2', 3, seed=9))] == ['Ba2'] * 3
        assert calibrate(recognizer)[0].auroc > 0.9
