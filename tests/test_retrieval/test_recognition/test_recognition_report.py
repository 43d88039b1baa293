"""Recognitions and calibrations as people and programs read them."""

import json

from retrieval.recognition import (
    Candidate,
    LevelCalibration,
    Recognition,
    format_calibration,
    format_recognition,
    recognition_to_json,
)

CLASS = Recognition(
    'Wren', 0, ('Birds', 'Wren'), 0.712, [Candidate('Wren', 0.9, 0.8), Candidate('Owl', 0.1, 0.5)], [3, 1]
)
GROUP = Recognition('Birds', 1, ('Birds',), 0.5, [Candidate('Wren', 0.5, 0.8)], [3])
UNKNOWN = Recognition(None, -1, (), 0.0, [], [])


def test_lines():
    assert format_recognition('a.jpg', CLASS) == 'a.jpg: Wren (0.71); votes: Wren 0.90, Owl 0.10'
    assert format_recognition('a.jpg', GROUP) == 'a.jpg: group Birds (0.50); votes: Wren 0.50'
    assert format_recognition('a.jpg', UNKNOWN) == 'a.jpg: unknown (0.00); votes: none'


def test_json():
    answer = json.loads(json.dumps(recognition_to_json('a.jpg', CLASS)))
    assert answer == dict(
        path='a.jpg',
        label='Wren',
        level=0,
        groups=['Birds'],
        confidence=0.712,
        candidates=[dict(label='Wren', share=0.9, similarity=0.8), dict(label='Owl', share=0.1, similarity=0.5)],
        neighbors=[3, 1],
    )
    assert recognition_to_json('a.jpg', UNKNOWN)['label'] is None


def test_a_calibration_says_what_to_expect():
    text = format_calibration([LevelCalibration(0, 0.5, 0.75, 0.05, 0.4, 100, 90)])
    assert text == (
        'level 0: threshold 0.5000, AUROC 0.7500 on held-out classes; called unknown are 5.0% of 100 known and '
        '40.0% of 90 unknown images'
    )
