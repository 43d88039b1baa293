"""``glsim serve`` on a gallery that was tuned: its answers are those of ``glsim classify``."""

from dataclasses import replace

import pytest
from mean_encoder import MeanEncoder

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from image_files import encode, photo_with_exif
from served_birds import API, BIRDS, ask, build_birds, draw_bird, refused, serve_birds

from glsim_mm.search import ImageSearch
from glsim_mm.search.server import galleries, schemas
from glsim_mm.search.server.galleries import ServedGallery
from retrieval.errors import RetrievalError
from retrieval.gallery import Condition, open_gallery
from retrieval.recognition import (
    Prior,
    Recognizer,
    Taken,
    describe_recognition,
    read_names,
    store_settings,
    tune,
)
from retrieval.recognition.settings import KEY, read_settings
from retrieval.text_tables import parse_table


@pytest.fixture(scope='module')
def location(tmp_path_factory):
    built = build_birds(tmp_path_factory.mktemp('tuned') / 'birds', 40)  # so that 97 % can be promised
    with open_gallery(built, writable=True) as gallery:
        store_settings(gallery, tune(gallery))
    return built


@pytest.fixture(scope='module')
def client(location):
    with serve_birds(location) as opened:
        yield opened


def photo_of(label, seed):
    return encode(draw_bird(label, seed), 'PNG')


def test_answers_are_those_of_the_recogniser(client, location):
    assert client.get(f'{API}/info').json()['galleries'][0]['has_recogniser'] is True
    seen = set()
    with open_gallery(location) as gallery:
        recognizer = Recognizer(gallery, accept=0.97)
        for label in BIRDS:
            for seed in range(100, 106):
                content = photo_of(label, seed)
                embeddings = MeanEncoder().encode(content).embeddings
                (expected,) = recognizer.recognize(embeddings)
                words = describe_recognition(expected, read_names(gallery, [expected]))
                for route in ('search', 'identify'):
                    answer = schemas.Answer(**ask(client, route, content).json()['answer'])
                    assert answer.sentence == words and answer.decision == expected.verdict
                    assert answer.probability == pytest.approx(expected.probability, abs=1e-4)
                    assert answer.label == expected.label
                    assert (answer.neighbors, answer.count) == (len(expected.neighbors), expected.agreeing)
                seen.add(answer.decision)
    assert len(seen) > 1, 'one kind of answer alone proves little'


def test_photos_of_one_individual_are_one_answer(client, location):
    photos = [photo_of('002.Wren', seed) for seed in (200, 201, 202)]
    with open_gallery(location) as gallery:
        (expected,) = Recognizer(gallery).recognize(MeanEncoder().encode(photos).embeddings, together=[0, 0, 0])
    answer = ask(client, 'identify', *photos).json()['answer']
    assert answer['probability'] == pytest.approx(expected.probability, abs=1e-4)


def test_a_row_does_not_recognise_itself(client, location):
    with open_gallery(location) as gallery:
        (expected,) = Recognizer(gallery).recognize(gallery.vectors([3]), [[3]], transformed=True)
    answer = ask(client, 'search', id=3).json()['answer']
    assert answer['probability'] == pytest.approx(expected.probability, abs=1e-4)


def test_who_says_how_neighbours_vote_gets_their_vote(client):
    photo = photo_of('001.Blue_Jay', 300)
    for asked in (dict(threshold=0.1), dict(neighbors=3)):
        answer = ask(client, 'identify', photo, **asked).json()['answer']
        assert answer['probability'] is answer['decision'] is None and 'nearest photos' in answer['sentence'], asked
        assert answer['basis'] == 'asked' and 'says how they vote' in answer['note']
    answer = ask(client, 'identify', photo).json()['answer']
    assert answer['basis'] == 'recogniser' and answer['probability'] and answer['note'] == ''


def test_rows_that_pass_a_filter_are_asked_as_the_gallery_was_tuned(client, location):
    where = [Condition('label', '!=', '002.Wren')]
    with open_gallery(location) as gallery:
        tuned = read_settings(gallery)[0]
        recognizer = Recognizer(gallery, replace(tuned, fingerprint='', novelty={}), where=where)
        for seed in range(300, 306):
            content = photo_of('002.Wren', seed)  # which is of neither class that is left
            (expected,) = recognizer.recognize(MeanEncoder().encode(content).embeddings)
            for route in ('search', 'identify'):
                answer = ask(client, route, content, where=['label!=002.Wren']).json()['answer']
                assert answer['label'] == expected.label != '002.Wren'
                assert answer['sentence'] == describe_recognition(expected, {}) and 'neighbours' in answer['sentence']
                assert answer['probability'] is answer['decision'] is None
                assert answer['basis'] == 'filtered' and 'not measured' in answer['note']
    nothing = ask(client, 'identify', content, where=['label=none']).json()['answer']
    assert nothing['kind'] == 'nothing'


def test_a_gallery_that_was_not_tuned_says_that_it_votes(tmp_path):
    with serve_birds(build_birds(tmp_path / 'birds', 2)) as client:
        answer = ask(client, 'search', id=0).json()['answer']
        assert answer['basis'] == 'untuned' and 'was not tuned' in answer['note']


def test_settings_of_another_version_do_not_end_searching(location, tmp_path):
    built = build_birds(tmp_path / 'birds', 2)
    with open_gallery(built, writable=True) as gallery:
        gallery.set_origin({KEY: '{"of": "another version"}'})
    with serve_birds(built) as client:
        assert client.get(f'{API}/info').json()['galleries'][0]['has_recogniser'] is False
        assert ask(client, 'search', id=0).json()['answer']['probability'] is None


def test_settings_are_read_once_for_each_state(client, monkeypatch):
    made = []
    monkeypatch.setattr(
        'glsim_mm.search.server.answering.read_settings', lambda *_: made.append(1) or pytest.fail('again')
    )
    for seed in range(3):
        assert ask(client, 'identify', photo_of('002.Wren', seed)).json()['answer']['decision']
    assert not made


# -- the same question twice -----------------------------------------------------------------------------------------


def test_two_galleries_of_one_model_encode_a_photo_once(location, tmp_path):
    other, encoder = build_birds(tmp_path / 'others', 3), MeanEncoder()
    sides = [dict(gallery='birds'), dict(gallery='others')]
    photo = photo_of('002.Wren', 7)
    with serve_birds(location, other, encoders=[encoder] * 2) as client:
        found = schemas.CompareAnswer(**ask(client, 'compare', photo, b'no photo', sides=sides, k=5).json())
        assert encoder.count == 1
        for side, one in zip(sides, found.sides):
            alone = ask(client, 'search', photo, k=5, **side).json()
            assert [hit.id for hit in one.hits] == [hit['id'] for hit in alone['hits']] and one.gallery == side[
                'gallery'
            ]
            assert [bool(query.error) for query in one.queries] == [False, True]
        paths = [{hit.path for hit in side.hits} for side in found.sides]
        assert set(found.common) == paths[0] & paths[1]
        row = schemas.CompareAnswer(**ask(client, 'compare', id=3, sides=sides, k=1).json())
        path = client.get(f'{API}/rows/3').json()['path']
        assert row.sides[0].queries[0].id == 3 and row.sides[0].hits[0].path != path  # a row does not find itself
        assert row.sides[1].hits[0].path == path or path not in found.common  # the other gallery finds its photo


def test_galleries_of_two_models_and_wrong_sides(location, tmp_path):
    other, encoders = build_birds(tmp_path / 'others', 2), [MeanEncoder(), MeanEncoder()]
    with serve_birds(location, other, encoders=encoders) as client:
        both = [dict(gallery='others'), dict(gallery='birds', space='global')]
        answer = ask(client, 'compare', photo_of('002.Wren', 1), sides=both).json()
        assert [one.count for one in encoders] == [1, 1] and len(answer['sides'][0]['hits']) == 6
        refused(ask(client, 'compare', id=1, sides=both[:1]), 422, 'wrong-request')
        refused(ask(client, 'compare', id=1, sides=[*both[:1], dict(gallery='none')]), 404, 'no-such-gallery')
        refused(ask(client, 'compare', id=1, sides=[*both[:1], dict(space='none')]), 422, 'wrong-request')
        refused(ask(client, 'compare', id=99, sides=both), 404, 'no-such-row')


# -- place and season, and lists of classes ----------------------------------------------------------------------------

COUNTS = 'class,cell,month,count\nWren,50_10_1,5,900\nTree Sparrow,50_10_1,5,1\nBlue Jay,40_-70_1,5,500\n'


def prior_of(text=COUNTS):
    return Prior(parse_table(text.encode(), 'counts.csv'), 'counts.csv')


@pytest.fixture
def with_prior(location, client):
    """The client of a server that was started with counts."""
    served = client.app.state.service.gallery(None)
    served.prior = prior_of()
    served.kept._generation = -1
    client.app.state.service._photographer._reads_places = True
    yield client
    served.prior = None


def test_place_and_season_count(with_prior, location):
    photo, here = photo_of('003.Tree_Sparrow', 100), dict(lat=50.5, lon=10.5, when='2024-05-01')
    embeddings = MeanEncoder().encode(photo).embeddings
    taken = [Taken.read(50.5, 10.5, '2024-05')]
    with open_gallery(location) as gallery:
        (expected,) = Recognizer(gallery, prior=prior_of()).recognize(embeddings, taken=taken)
        words = describe_recognition(expected, read_names(gallery, [expected]))
    for route in ('search', 'identify'):
        answer = ask(with_prior, route, photo, **here).json()['answer']
        assert answer['sentence'] == words and 'place and month' in words
        assert answer['probability'] == pytest.approx(expected.probability, abs=1e-4)
        assert answer['decision'] is None  # that was never measured with these counts
    assert ask(with_prior, 'identify', photo).json()['answer']['decision']
    assert with_prior.get(f'{API}/info').json()['galleries'][0]['has_prior'] is True
    assert 'from -90 to 90' not in refused(ask(with_prior, 'search', photo, lat=99, lon=0), 422, 'wrong-request')
    for wrong in (dict(lat=1), dict(when='tomorrow')):
        refused(ask(with_prior, 'search', photo, **wrong), 422, 'wrong-request')


def test_exif_data_says_place_and_season_too(with_prior):
    place = {1: 'N', 2: (50.0, 30.0, 0.0), 3: 'E', 4: (10.0, 30.0, 0.0)}
    told = photo_with_exif(dates={0x9003: '2024:05:01 10:00:00'}, place=place, color=BIRDS['003.Tree_Sparrow'])
    assert 'place and month' in ask(with_prior, 'identify', told).json()['answer']['sentence']
    elsewhere = ask(with_prior, 'identify', told, lat=0, lon=0).json()['answer']['sentence']
    assert 'nothing was counted in cell' in elsewhere
    assert 'place' not in ask(with_prior, 'identify', photo_of('002.Wren', 3)).json()['answer']['sentence']


def test_only_some_classes_can_be_the_answer(client):
    photo = photo_of('001.Blue_Jay', 100)
    for names in (['Wren', 'Tree Sparrow'], ['002.Wren']):
        answer = ask(client, 'identify', photo, only=names).json()['answer']
        assert answer['label'] in (None, '002.Wren', '003.Tree_Sparrow'), answer
    assert 'no name on the checklist' in refused(ask(client, 'identify', photo, only=['Emu']), 422, 'wrong-request')
    refused(ask(client, 'identify', photo, when='2024-05'), 422, 'no-prior')


def test_counts_are_for_galleries_that_have_their_classes(location, tmp_path):
    one, other = ServedGallery('one', ImageSearch(open_gallery(location))), build_birds(tmp_path / 'birds', 1)
    with open_gallery(other, writable=True) as gallery:
        gallery.set_labels(gallery.ids(), 'Emu')
    two = ServedGallery('two', ImageSearch(open_gallery(other)))
    galleries._share_prior([one, two], prior_of())
    assert one.prior is not None and two.prior is None
    with pytest.raises(RetrievalError, match='counts no class'):
        galleries._share_prior([two], prior_of())
    galleries.close_galleries([one, two])
