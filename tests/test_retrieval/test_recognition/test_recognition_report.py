"""Recognitions, and what tuning has found, as people and programs read them."""

import json

import numpy as np
import pytest

from retrieval.gallery import Record, create_gallery
from retrieval.recognition import (
    Candidate,
    ClassName,
    Novelty,
    Recognition,
    Settings,
    describe_recognition,
    describe_settings,
    format_recognition,
    read_names,
    recognition_to_json,
)

LAYSAN, BLACK, SOOTY = '002.Laysan_Albatross', '001.Black_footed_Albatross', '003.Sooty_Albatross'


def answer(*shares, level=0, label=None, probability=None, labels=(LAYSAN, BLACK, SOOTY), **more):
    candidates = [Candidate(*pair) for pair in zip(labels, shares)]
    known = dict(neighbors=list(range(10)), agreeing=7, **more)
    best = shares[0] if probability is None else probability
    return Recognition(label or labels[0], level, (label or labels[0],), best, candidates, **known)


UNKNOWN = Recognition(None, -1, (), 0.3, [Candidate(LAYSAN, 0.3)], [3])
UNTUNED = Recognition(LAYSAN, 0, (LAYSAN,), None, [Candidate(LAYSAN, 0.9)], [3, 4], 2)
OTHERS = (LAYSAN, 'Wren', 'Robin')


@pytest.mark.parametrize(
    'recognition, words',
    [
        (answer(0.86, 0.1), 'Laysan Albatross, fairly sure (7 of 10 neighbours, P = 0.86)'),
        (answer(0.999), 'Laysan Albatross, sure (7 of 10 neighbours, P = 0.99)'),
        (answer(0.5, 0.4), 'Laysan Albatross, probably (7 of 10 neighbours, P = 0.50)'),
        (answer(0.48, 0.41), 'an albatross, unsure which (Laysan 0.48, Black-footed 0.41)'),
        (answer(0.48, 0.21, 0.1), 'an albatross, unsure which (Laysan 0.48, Black-footed 0.21, Sooty 0.10)'),
        (answer(0.3, 0.2, 0.1), 'unsure (Laysan Albatross 0.30, Black-footed Albatross 0.20, Sooty Albatross 0.10)'),
        (answer(0.4, 0.4, 0.1, labels=OTHERS), 'unsure (Laysan Albatross 0.40, Wren 0.40)'),
        (answer(0.4, 0.4, level=1, label='Albatross'), 'an albatross, unsure which (Laysan 0.40, Black-footed 0.40)'),
        (
            answer(0.4, 0.4, level=1, label='Diomedeidae'),
            'one of the Diomedeidae, unsure which (Laysan Albatross 0.40, Black-footed Albatross 0.40)',
        ),
        (UNKNOWN, 'unlike anything in this gallery'),
        (Recognition(None, -1, (), None, [], [3]), 'nothing to compare with: no neighbour has a label'),
        (
            Recognition(LAYSAN, 0, (LAYSAN,), None, [Candidate(LAYSAN, 0.9)], [3, 4], 2),
            'Laysan Albatross (2 of 2 neighbours)',
        ),
    ],
)
def test_words(recognition, words):
    assert describe_recognition(recognition) == words


def test_names_of_columns(tmp_path):
    rows = [
        Record(label=LAYSAN, metadata={'common_name': 'Mōlī', 'scientific_name': 'Phoebastria immutabilis'}),
        Record(label=BLACK, metadata={'scientific_name': 'Phoebastria nigripes'}),
    ]
    with create_gallery(tmp_path / 'g', 3, preset='flat') as gallery:
        gallery.add(np.eye(2, 3, dtype=np.float32), rows)
        names = read_names(gallery, [answer(0.9, 0.05, 0.01)])
    assert names == {
        LAYSAN: ClassName('Mōlī', 'Phoebastria immutabilis'),
        BLACK: ClassName('Black-footed Albatross', 'Phoebastria nigripes'),
        SOOTY: ClassName('Sooty Albatross'),
    }
    assert describe_recognition(answer(0.9), names).startswith('Mōlī (Phoebastria immutabilis), fairly sure')
    both = {**names, LAYSAN: ClassName('Laysan Albatross', 'Phoebastria immutabilis')}
    unsure = 'an albatross, species unsure (Laysan 0.48, Black-footed 0.41)'
    assert describe_recognition(answer(0.48, 0.41), both) == unsure


def test_lines_and_json():
    accepted = answer(0.86, 0.1, verdict='accept')
    line = 'a.jpg: accept: Laysan Albatross, fairly sure (7 of 10 neighbours, P = 0.86)'
    assert format_recognition('a.jpg', accepted) == line
    told = json.loads(json.dumps(recognition_to_json(['a.jpg', 'b.jpg'], accepted)))
    assert told == dict(
        paths=['a.jpg', 'b.jpg'],
        label=LAYSAN,
        level=0,
        groups=[],
        probability=0.86,
        verdict='accept',
        words='Laysan Albatross, fairly sure (7 of 10 neighbours, P = 0.86)',
        candidates=[
            dict(label=LAYSAN, probability=0.86, name='Laysan Albatross', latin=''),
            dict(label=BLACK, probability=0.1, name='Black-footed Albatross', latin=''),
        ],
        agreeing=7,
        neighbors=list(range(10)),
        prior=None,
    )
    assert recognition_to_json(['a.jpg'], UNKNOWN)['label'] is None


@pytest.mark.parametrize('caught, can', [(0.04, 'cannot tell unknown'), (0.42, 'can tell some unknown')])
def test_what_tuning_has_found(caught, can):
    measured = dict(
        accuracy=0.7, log_loss=1.0, ece=0.021, other_accuracy=0.6, other_log_loss=1.2, plain_accuracy=0.4, alone=0
    )
    novelty = {'support': Novelty(0.1, 0.6, 0.02, 0.03, 0.01), 'distance': Novelty(0.1, 0.75, 0.02, caught, 0.03)}
    settings = Settings('means', mean_temperature=0.02, shrinkage=3, classes=50, photos=1500, measured=measured)
    text = describe_settings(Settings(**{**vars(settings), 'novelty': novelty, 'curve': ((0.9, 500, 495),)}))
    assert text == (
        '1,500 photos of 50 classes were left out in turn.\n'
        'Best is class means (temperature 0.02, each shrunk by 3 photos): 70.0% of the answers are right, log loss '
        '1.000. With the vote it is 60.0%, log loss 1.200; with a vote that is not tuned 40.0%.\n'
        'Probabilities are off by 2.1 points (ECE).\n'
        'So that 97% of accepted answers are right, those with P of 0.90 or more are accepted: 33% of photos of known '
        'classes.\n'
        f'This gallery {can} classes from known ones: at 5% false alarms it catches {caught:.0%} of them (± 3% over '
        'random splits of the classes). AUROC: support of the vote 0.60 ± 0.02, distance to the class mean 0.75 ± 0.02.'
    )
    assert 'too few classes' in describe_settings(settings)
