"""Typical photos of classes, and the classes that they may be taken for."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from retrieval.class_metric import fit_metric
from retrieval.errors import RetrievalError
from retrieval.gallery import Record, create_gallery
from retrieval.recognition import class_guide, left_out, prototypes

CENTRES = np.array([[10, 0, 0, 0], [10, 3, 0, 0], [0, 0, 10, 0], [0, 0, 0, 10]], np.float32)
NAMES = ['gull', 'tern', 'owl', 'wren']


@pytest.fixture(params=['cosine', 'l2'])
def gallery(request, tmp_path):
    """Gulls and terns are alike; photo 2 of each class is at its centre; one photo has no label."""
    shifts = 0.6 * np.random.default_rng(0).normal(size=(4, 5, 4))
    shifts[:, 2] = 0
    rows = (CENTRES[:, None] + shifts).reshape(-1, 4).astype(np.float32)
    rows[3] = [10, 2.99, 0, 0]  # a gull like the tern in the middle of terns
    with create_gallery(tmp_path / 'g', 4, metric=request.param, preset='flat') as made:
        made.add(rows, [Record(label=name) for name in NAMES for _ in range(5)])
        made.add(CENTRES[:1] + 5, [Record()])
        yield made


def test_prototypes_are_the_medoids(gallery):
    found = prototypes(gallery)
    assert set(found) == set(NAMES)
    for number, name in enumerate(NAMES):
        own = np.arange(5) + 5 * number
        stored = gallery.vectors(own)
        squares = np.square(stored[:, None] - stored).sum(axis=(1, 2))
        assert found[name] == [own[squares.argmin()]]
    several = prototypes(gallery, 3)
    assert all(several[name][:1] == found[name] and len(set(several[name])) == 3 for name in NAMES)
    assert sorted(prototypes(gallery, 9, where={'label': 'owl'})['owl']) == list(range(10, 15))


def test_a_guide_shows_what_is_taken_for_what(gallery):
    guide = class_guide(gallery, nearest=2)
    assert list(guide) == sorted(NAMES)
    gull = guide['gull']
    assert (gull.label, gull.count, len(gull.prototypes), len(gull.nearest)) == ('gull', 5, 4, 2)
    tern = gull.nearest[0]
    assert (tern.label, tern.pair) == ('tern', (3, 7)) and tern.similarity > gull.nearest[1].similarity
    assert guide['tern'].nearest[0].label == 'gull' and guide['tern'].nearest[0].pair == (7, 3)
    assert (gull.recognised, tern.confused) == (pytest.approx(0.8), pytest.approx(0.2))
    assert guide['owl'].recognised == 1.0
    assert guide['owl'] == class_guide(gallery, ['owl'], nearest=2)['owl']
    json.dumps({name: asdict(entry) for name, entry in guide.items()}, allow_nan=False)
    with pytest.raises(RetrievalError, match='0 of 21 rows have label=owls; did you mean owl?'):
        class_guide(gallery, ['owls'])
    with pytest.raises(RetrievalError, match="no photo that counts is of class 'owl'"):
        class_guide(gallery, ['owl'], where={'label': 'gull'})


def test_guides_of_little(tmp_path):
    with create_gallery(tmp_path / 'g', 4, preset='flat') as gallery:
        assert class_guide(gallery) == prototypes(gallery) == {}
        gallery.add(CENTRES[:1], [Record()])
        assert class_guide(gallery) == prototypes(gallery) == {}
        gallery.add(CENTRES[:2], [Record(label='gull')] * 2)
        (entry,) = class_guide(gallery).values()
        assert (entry.count, entry.recognised, entry.nearest) == (2, None, [])
        gallery.add(CENTRES[2:3], [Record(label='owl')])
        owl = class_guide(gallery)['owl']
        assert (owl.recognised, owl.nearest[0].confused, owl.prototypes) == (None, None, [3])
        assert class_guide(gallery)['gull'].recognised == 1.0


def test_for_one_class_a_metric_is_learned_twice_without_half_of_it(gallery, monkeypatch):
    learned, within_class = [], left_out.within_class

    def learn(rows, labels):
        learned.append(len(rows))
        return within_class(rows, labels)

    space = fit_metric(gallery, force=True).space
    monkeypatch.setattr(left_out, 'within_class', learn)
    assert class_guide(gallery, ['owl'], space)['owl'].recognised == 1.0
    assert len(learned) == 2 and sum(learned) == 2 * 21 - 5
