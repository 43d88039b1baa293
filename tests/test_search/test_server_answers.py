"""``glsim serve`` on a gallery that was tuned: its answers are those of ``glsim classify``."""

import pytest
from mean_encoder import MeanEncoder

pytest.importorskip('fastapi', reason='needs the extra serve')
pytest.importorskip('prometheus_client', reason='needs the extra serve')

from image_files import encode
from served_birds import API, BIRDS, ask, build_birds, draw_bird, refused, serve_birds

from glsim_mm.search.server import schemas
from retrieval.gallery import open_gallery
from retrieval.recognition import Recognizer, describe_recognition, read_names, store_settings, tune
from retrieval.recognition.settings import KEY


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


def test_the_vote_answers_what_was_not_tuned(client):
    photo = photo_of('001.Blue_Jay', 300)
    for asked in (dict(where=['label!=002.Wren']), dict(threshold=0.1), dict(neighbors=3)):
        answer = ask(client, 'identify', photo, **asked).json()['answer']
        assert answer['probability'] is answer['decision'] is None and 'nearest photos' in answer['sentence'], asked


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
