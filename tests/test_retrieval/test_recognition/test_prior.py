"""Place and season: what Bayes' rule gives in made-up worlds, what weight 0 gives, and what answers say of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery
from retrieval.recognition import (
    ClassIndex,
    ClassPrior,
    Prior,
    PriorSettings,
    Recognizer,
    Settings,
    Taken,
    describe_prior,
    describe_recognition,
    describe_settings,
    read_settings,
    recognition_to_json,
    store_settings,
    tune,
)
from retrieval.recognition.prior_tuning import fit_prior
from retrieval.text_tables import TextTable, parse_table

NORTH, SOUTH, NOWHERE = Taken(50.5, 10.5, 5), Taken(-30.5, 20.5, 5), Taken(0.5, 0.5, 5)
CELLS = ['50_10_1', '-31_20_1', '10_10_1']


class Classes:
    """Classes of no gallery."""

    def __init__(self, labels):
        self.labels = labels

    def find(self, name):
        return [name] if name in self.labels else []


def write(rows, columns='class,cell,month,count'):
    return f'{columns}\n' + ''.join(','.join(map(str, row)) + '\n' for row in rows)


def read(rows, weight=None, columns='class,cell,month,count'):
    return Prior(parse_table(write(rows, columns).encode(), 'counts.csv'), 'counts.csv', weight)


class World:
    """Six classes, of which photos show one of four things, at three places in two months; all chances are known."""

    def __init__(self, seed=0):
        random = np.random.default_rng(seed)
        self.names = [f'c{number}' for number in range(6)]
        self.common = random.dirichlet(np.ones(6))
        self.shown = random.dirichlet(np.ones(4), 6)
        self.where = random.dirichlet(np.full(6, 0.7), 6)  # of each class, over places and months
        joint = self.common[:, None] * self.where
        counts = [
            (name, CELLS[spot // 2], (1, 7)[spot % 2], 1e7 * joint[code, spot])
            for code, name in enumerate(self.names)
            for spot in range(6)
        ]
        self.prior = ClassPrior(read(counts), Classes(self.names))
        self.contexts = [self.prior.context(Taken(*map(float, place), month)) for place, month in self.spots()]

    @staticmethod
    def spots():
        return [(cell.split('_')[:2], month) for cell in CELLS for month in (1, 7)]

    def of_photo(self, common):
        """Chance of each class by what is shown, (4, 6), where classes are so common in a gallery."""
        both = self.shown * common[:, None]
        return (both / both.sum(axis=0)).T

    def draw(self, count, seed=1):
        """Classes, what is shown, and where, of photos as they come."""
        random = np.random.default_rng(seed)
        truth = random.choice(6, count, p=self.common)
        return truth, *(
            np.array([random.choice(p.shape[1], p=p[code]) for code in truth]) for p in (self.shown, self.where)
        )

    def truly(self, shown, spot):
        """Chances of the classes by Bayes' rule."""
        both = self.common * self.shown[:, shown] * self.where[:, spot]
        return both / both.sum()


# A gallery whose classes are as common as in life, and one that has as many photos of each.
@pytest.mark.parametrize('commonness', [0.0, 1.0])
def test_answers_are_those_of_bayes_rule(commonness):
    world = World()
    alone = world.of_photo(world.common if commonness == 0 else np.full(6, 1 / 6))
    exact = PriorSettings(weight=1, floor=1e-9, commonness=commonness)
    for shown in range(4):
        for spot, context in enumerate(world.contexts):
            found = world.prior.apply(alone[shown], [context], exact)
            np.testing.assert_allclose(found, world.truly(shown, spot), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('commonness', [0.0, 1.0])
def test_the_gain_in_proper_score_is_what_bayes_rule_gives(commonness):
    world = World()
    alone = world.of_photo(world.common if commonness == 0 else np.full(6, 1 / 6))
    truth, shown, spots = world.draw(4000)
    found, rows = alone[shown], np.arange(4000)
    chosen, with_prior = fit_prior(found, truth, [world.contexts[one] for one in spots], world.prior)
    assert chosen.weight == pytest.approx(1, abs=0.12) and chosen.commonness == commonness and chosen.floor <= 0.01
    gains = np.log(with_prior[rows, truth]) - np.log(found[rows, truth])
    # Over all photos, not those drawn: the mean of the logarithm of the true posterior over that of the photo alone.
    expected = sum(
        chance * np.log(world.truly(one, spot)[code] / alone[one, code])
        for code in range(6)
        for one in range(4)
        for spot in range(6)
        for chance in [world.common[code] * world.shown[code, one] * world.where[code, spot]]
    )
    assert expected > 0.25 and gains.mean() == pytest.approx(expected, abs=3 * gains.std() / np.sqrt(4000))


def test_a_prior_that_tells_nothing_gets_no_weight():
    world = World()
    truth, shown, spots = world.draw(2000)
    shuffled = np.random.default_rng(2).permutation(spots)
    alone = world.of_photo(world.common)[shown]
    chosen, found = fit_prior(alone, truth, [world.contexts[one] for one in shuffled], world.prior)
    assert chosen.weight < 0.1 or chosen.floor >= 0.3
    rows = np.arange(2000)
    assert np.log(found[rows, truth]).mean() == pytest.approx(np.log(alone[rows, truth]).mean(), abs=0.01)


def test_few_photos_stay_near_bayes_rule():
    """Three photos that places tell without fail do not make the weight infinite, nor the floor tiny."""
    prior = ClassPrior(read([('a', CELLS[0], 5, 1000), ('b', CELLS[1], 5, 1000)]), Classes(['a', 'b']))
    contexts = [prior.context(one) for one in (NORTH, NORTH, SOUTH)]
    chosen, _ = fit_prior(np.full((3, 2), 0.5), np.array([0, 0, 1]), contexts, prior)
    assert 0.9 < chosen.weight < 1.5 and chosen.floor >= 0.003


SHARES = (
    arrays(np.float64, 4, elements=st.floats(0, 1)).filter(lambda one: one.sum() > 0.1).map(lambda one: one / one.sum())
)
COUNTS = st.lists(
    st.tuples(st.sampled_from('abc'), st.sampled_from(CELLS), st.integers(1, 12), st.integers(0, 10**6)),
    min_size=1,
    max_size=20,
).filter(lambda rows: any(row[-1] for row in rows))
CHOSEN = st.builds(PriorSettings, st.floats(0, 4), st.floats(1e-6, 1), st.floats(0, 1))


@settings(max_examples=60, deadline=None)
@given(SHARES, COUNTS, CHOSEN, st.sampled_from([NORTH, SOUTH, Taken(month=5), Taken(50.5, 10.5)]))
def test_no_class_is_excluded_and_classes_that_are_not_counted_keep_theirs(shares, rows, chosen, taken):
    prior = ClassPrior(read(rows), Classes(list('abcd')))  # d is in no row
    found = prior.apply(shares, [prior.context(taken)], chosen)
    assert found.sum() == pytest.approx(1) and np.isfinite(found).all()
    np.testing.assert_array_equal(found[~prior.known], shares[~prior.known])
    assert not prior.known[3]
    moderate = shares > 1e-9
    assert (found[moderate] > 0).all() and (found[shares == 0] == 0).all()
    if chosen.weight == 0:
        np.testing.assert_array_equal(found, shares)


def test_how_few_counts_say_little_and_many_much():
    few, many = (
        ClassPrior(
            read([('a', CELLS[0], 5, n), ('a', CELLS[1], 5, 1000), ('b', CELLS[1], 5, 1000)]), Classes(['a', 'b'])
        )
        for n in (1, 1000)
    )
    even = np.array([0.5, 0.5])
    found = [one.apply(even, [one.context(NORTH)], PriorSettings(commonness=0.0))[0] for one in (few, many)]
    assert 0.5 < found[0] < 0.9 < found[1] < 1


def test_what_is_not_known_is_left_out():
    rows = [('a', CELLS[0], 5, 900), ('b', CELLS[0], 5, 100), ('a', CELLS[0], 11, 0), ('b', CELLS[1], 6, 500)]
    prior = ClassPrior(read(rows), Classes(['a', 'b']))
    assert prior.context(NORTH).used == 'place and month'
    assert prior.context(Taken(50.5, 10.5)).used == 'place' and prior.context(Taken(month=5)).used == 'month'
    assert prior.context(NOWHERE).reason == 'nothing was counted in cell 0_0_1'
    assert prior.context(Taken(10.5, 10.5, 5)).reason == 'nothing was counted in cell 10_10_1'
    assert prior.context(None).reason == prior.context(Taken()).reason == 'no place and no date is known'
    # A month in which nothing was counted is as the whole year.
    np.testing.assert_allclose(
        prior._read_share(prior.context(Taken(50.5, 10.5, 1))), prior._read_share(prior.context(Taken(50.5, 10.5)))
    )
    months = ClassPrior(read([('a', 5, 9), ('b', 6, 9)], columns='class,month,count'), Classes(['a', 'b']))
    assert months.context(NOWHERE).used == 'month' and months.context(Taken(1.0, 1.0)).reason == 'no date is known'
    cells = ClassPrior(read([('a', CELLS[0], 9)], columns='Class,CELL,count'), Classes(['a', 'b']))
    assert cells.context(NORTH).used == 'place' and cells.context(Taken(month=5)).reason == 'no place is known'
    assert cells.note.startswith('1 of 2 classes are not in counts.csv, such as b: they keep their probability')


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'must have a header with class, count, and cell or month or both; it has nothing'),
        ('class,count\na,1\n', 'must have a header'),
        ('class,cell,month,count\n', 'no count above 0'),
        ('class,cell,month,count\na,0_0_1,1,0\n', 'no count above 0'),
        ('class,cell,month,count\na,0_0_1,13,1\n', "line 2: the month must be 1 to 12, not '13'"),
        ('class,cell,month,count\na,0_0_1,May,1\n', 'the month must be'),
        ('class,cell,month,count\na,0_0_1,,1\n', 'line 2: the month is missing'),
        ('class,cell,month,count\na,,1,1\n', 'the cell is missing'),
        ('class,cell,month,count\n,0_0_1,1,1\n', 'the class is missing'),
        ('class,cell,month,count\na,0_0_1,1\n', 'the count is missing'),
        ('class,cell,month,count\na,0_0_1,1,nan\n', "the count must be a number from 0 on, not 'nan'"),
        ('class,cell,month,count\na,0_0_1,1,-1\n', 'the count must'),
        ('class,cell,month,count\na,0_0_1,1,many\n', 'the count must'),
        ('class,cell,month,count\na,Bavaria,1,1\n', "counts.csv: 'Bavaria' is no cell"),
    ],
)
def test_tables_that_cannot_be_used(text, message):
    with pytest.raises(RetrievalError, match=message):
        Prior(parse_table(text.encode(), 'counts.csv'), 'counts.csv')


@pytest.mark.parametrize('weight', [-1, float('nan'), float('inf')])
def test_impossible_weights(weight):
    with pytest.raises(RetrievalError, match='weight of the prior must be'):
        read([('a', CELLS[0], 5, 1)], weight)


# -- twins: classes that photos cannot tell, in pairs, and places can ------------------------------------------------

TWINS, APART = [f'{pair:02}.Twin_{side}_{pair}' for pair in range(3) for side in 'AB'], 0.9


def twin_counts():
    return [
        (name, CELLS[cell], 5, 10_000 * (APART if cell == number % 2 else 1 - APART))
        for number, name in enumerate(TWINS)
        for cell in (0, 1)
    ]


@pytest.fixture(scope='module')
def twins(tmp_path_factory):
    """240 photos: the first twin of each pair is found in the north in nine of ten cases, the second in the south."""
    random = np.random.default_rng(0)
    codes = np.repeat(np.arange(6), 40)
    rows = 4 * np.eye(3, 8)[codes // 2] + random.normal(size=(240, 8))
    is_north = (random.random(240) < APART) == (codes % 2 == 0)
    records = [
        Record(
            label=TWINS[code],
            metadata=dict(latitude=50.5 if north else -30.5, longitude=10.5 if north else 20.5, taken='2024-05-01'),
        )
        for code, north in zip(codes, is_north)
    ]
    with create_gallery(tmp_path_factory.mktemp('twins') / 'gallery', 8, preset='flat') as gallery:
        gallery.add(rows.astype(np.float32), records)
        yield gallery


@pytest.fixture(scope='module')
def tuned(twins):
    """Settings, without and with a prior."""
    return tune(twins), tune(twins, prior=read(twin_counts()))


def test_tuning_finds_what_places_tell(tuned):
    prior, found = read(twin_counts()), tuned[1]
    assert replace(found, prior=None) == tuned[0]
    told = found.prior
    # Which of two twins it is, of which photos tell nothing: log 2 - H(0.9) by Bayes' rule.
    expected = np.log(2) + APART * np.log(APART) + (1 - APART) * np.log(1 - APART)
    assert told.measured['photo_log_loss'] - told.measured['log_loss'] == pytest.approx(expected, abs=0.12)
    assert told.photos == 240 and told.counts == prior.fingerprint and told.weight == pytest.approx(1, abs=0.3)
    assert told.measured['accuracy'] > 0.8 and 0.4 < told.measured['photo_accuracy'] < 0.6
    assert Settings.from_json(found.to_json()) == found
    text = describe_settings(found)
    assert describe_prior(told) in text and 'Of 240 photos with a place or date' in text
    assert describe_prior(replace(told, weight=0.0)).startswith('Place and month tell nothing')


@pytest.mark.parametrize('rule', ['vote', 'means'])
def test_answers_say_what_the_prior_changed(twins, tuned, rule):
    chosen = replace(tuned[0], rule=rule)
    recognizer = Recognizer(twins, chosen, prior=read(twin_counts()))
    assert recognizer.note.startswith('how much counts.csv counts was not tuned')
    queries = np.repeat(4 * np.eye(1, 8, dtype=np.float32), 4, axis=0)
    answers = recognizer.recognize(queries, taken=[NORTH, SOUTH, NOWHERE, None])
    assert [one.label for one in answers[:2]] == TWINS[:2]
    assert min(one.probability for one in answers[:2]) > 0.8
    alone = Recognizer(twins, chosen).recognize(queries)
    for one, before in zip(answers, alone):
        assert [(x.label, pytest.approx(x.probability)) for x in before.candidates] == [
            (x.label, x.probability) for x in one.prior.without[: len(before.candidates)]
        ]
    assert answers[2].candidates == answers[2].prior.without and answers[2].prior.used == ''
    words = [describe_recognition(one) for one in answers]
    assert words[2].endswith('; without place and month: nothing was counted in cell 0_0_1')
    assert words[3].endswith('; without place and month: no place and no date is known')
    kept = next(one for one in answers[:2] if one.prior.without[0].label == one.label)
    turned = next(one for one in answers[:2] if one is not kept)
    assert '; place and month raised it from 0.' in describe_recognition(kept)
    assert '; without place and month: Twin ' in describe_recognition(turned)
    told = json.loads(json.dumps(recognition_to_json(['a.jpg'], turned)))['prior']
    assert (told['used'], told['month'], told['changed_best']) == ('place and month', 5, True)
    assert told['cell'] in CELLS and told['without'][0]['label'] == kept.label
    # Several photos of one individual: what they show is joined first, and places then.
    (one,) = recognizer.recognize(queries, together=[0] * 4, taken=[None, SOUTH, SOUTH, None])
    assert one.label == TWINS[1] and one.prior.used == 'place and month'


@pytest.mark.parametrize('rule', ['vote', 'means'])
def test_weight_0_gives_the_same_answers_bit_for_bit(twins, tuned, rule):
    chosen = replace(tuned[0], rule=rule)
    queries = np.random.default_rng(3).normal(size=(20, 8)).astype(np.float32) + 2
    taken = [NORTH, SOUTH, NOWHERE, None] * 5
    zero = replace(chosen, prior=PriorSettings(weight=0.0))
    for together in (None, [row // 3 for row in range(20)]):
        expected = Recognizer(twins, chosen, accept=0.5).recognize(queries, together=together)
        for own, prior in ((chosen, read(twin_counts(), weight=0)), (zero, read(twin_counts()))):
            recognizer = Recognizer(twins, own, accept=0.5, prior=prior)
            assert recognizer.recognize(queries, together=together, taken=taken) == expected


def test_verdicts_with_a_prior_keep_a_promise_of_their_own(twins, tuned):
    prior = read(twin_counts())
    found = store_settings(twins, tuned[1])
    assert read_settings(twins) == (found, '')
    recognizer = Recognizer(twins, prior=prior, accept=0.8)
    assert recognizer.note == '' and recognizer.least == np.inf  # photos alone are right in half of the cases
    queries = np.repeat(4 * np.eye(1, 8, dtype=np.float32), 2, axis=0)
    assert [one.verdict for one in recognizer.recognize(queries, taken=[NORTH, None])] == ['accept', 'look']
    other = read([*twin_counts(), (TWINS[0], CELLS[0], 6, 5)])
    assert 'has other counts than those that the prior was tuned with' in Recognizer(twins, prior=other).note
    with pytest.raises(RetrievalError, match='was never measured.*glsim classify GALLERY --tune --prior counts.csv'):
        Recognizer(twins, prior=read(twin_counts(), weight=0.5), accept=0.8)
    with pytest.raises(RetrievalError, match='was never measured'):
        Recognizer(twins, replace(found, prior=None), prior=prior, accept=0.8)
    assert 'tells nothing' in Recognizer(twins, replace(found, prior=PriorSettings(weight=0.0)), prior=prior).note
    with pytest.raises(RetrievalError, match="no class that can be the answer: it has 'Wren'"):
        Recognizer(twins, prior=read([('Wren', CELLS[0], 5, 1)]))


def test_galleries_without_places_cannot_tune_a_prior(tmp_path):
    with create_gallery(tmp_path / 'g', 3, preset='flat') as gallery:
        gallery.add(np.eye(6, 3, dtype=np.float32) + 1, [Record(label=label) for label in 'aabbab'])
        with pytest.raises(RetrievalError, match='has a place or date to tune the prior with .*glsim build --exif'):
            tune(gallery, prior=read([('a', CELLS[0], 5, 1)]))


# -- names and checklists --------------------------------------------------------------------------------------------


def test_classes_are_found_by_all_their_names(tmp_path):
    with create_gallery(tmp_path / 'g', 3, preset='flat') as gallery:
        names = {'common_name': 'Mōlī', 'scientific_name': 'Phoebastria immutabilis'}
        gallery.add(
            np.eye(2, 3, dtype=np.float32), [Record(label='002.Laysan_Albatross', metadata=names), Record(label='Wren')]
        )
        index = ClassIndex(gallery)
    for name in ('002.Laysan_Albatross', 'laysan albatross', 'MŌLĪ', 'phoebastria immutabilis'):
        assert index.find(name) == ['002.Laysan_Albatross']
    assert index.find('Robin') == [] and index.labels == ['002.Laysan_Albatross', 'Wren']
    two = ClassPrior(read([('mōlī', CELLS[0], 5, 3), ('Wren', CELLS[0], 5, 1), ('Robin', CELLS[0], 5, 9)]), index)
    np.testing.assert_allclose(two.everywhere, [0.75, 0.25])


@pytest.mark.parametrize('rule', ['vote', 'means'])
def test_a_checklist_excludes_all_other_classes(twins, tuned, rule):
    chosen = replace(tuned[0], rule=rule, novelty={})
    recognizer = Recognizer(twins, chosen, only=['Twin B 0', TWINS[2], 'Wren'])
    assert recognizer.note == "1 of 3 names on the checklist are no classes of the gallery, such as 'Wren'"
    queries = np.random.default_rng(3).normal(size=(5, 8)).astype(np.float32) / 4 + np.eye(1, 8, dtype=np.float32) * 4
    for answer in recognizer.recognize(queries):
        assert {one.label for one in answer.candidates} <= {TWINS[1], TWINS[2]} and answer.label == TWINS[1]
        assert sum(one.probability for one in answer.candidates) == pytest.approx(1, abs=1e-3)
        assert {one.label for one in twins.records(answer.neighbors)} <= {TWINS[1], TWINS[2]}
    with_prior = Recognizer(twins, chosen, prior=read(twin_counts()), only=[TWINS[0], TWINS[1]])
    assert with_prior.recognize(queries[:1], taken=[NORTH])[0].label == TWINS[0]
    with pytest.raises(RetrievalError, match="no name on the checklist, such as 'Wren', is a class of the gallery"):
        Recognizer(twins, chosen, only=['Wren'])


def test_tables_of_other_shapes():
    assert Prior(TextTable(['count', 'CLASS', 'month', 'note'], [(2, ['3', 'a', '05', 'x'])])).months.tolist() == [5]
