"""Results as text and JSON."""

import json

import numpy as np
import pytest

import retrieval
from retrieval.answers import SearchHit, SearchResult, format_table, results_to_json, shown_paths
from retrieval.errors import RetrievalError
from retrieval.gallery import Record
from retrieval.gallery.spaces import parse_space


def columns(text):
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(character) in 'WF' else 1 for character in text)


def test_odd_texts_keep_to_the_width():
    names = ['家雀' * 40, 'a\nb\x1b[31m', 'x' * 300, '', 'ü' * 50]
    hits = [SearchHit(n + 1, 0.5, Record(f'{"dir/" * 40}{name}.jpg', name, id=10**n)) for n, name in enumerate(names)]
    table = format_table([SearchResult(Record('q' * 200 + '.jpg'), hits)])
    assert all(columns(line) <= 80 for line in table.splitlines()) and len(table.splitlines()) == 7
    assert '\x1b' not in table and table.splitlines()[0].endswith('q.jpg') and '…' in table


def test_nothing_found_and_unreadable():
    results = [SearchResult(Record('a.jpg')), SearchResult(Record('b.jpg'), error='no image')]
    assert format_table(results) == 'a.jpg\n  nothing was found\n\nb.jpg\n  cannot be read: no image'
    answers = json.loads(json.dumps(results_to_json(results)))
    assert answers[1]['error'] == 'no image' and 'error' not in answers[0]


def test_json_has_plain_types():
    record = Record('a.jpg', 'Wren', box=np.array([1, 2, 3, 4.5], np.float32), metadata={'year': 3}, id=np.int64(7))
    answer = results_to_json([SearchResult(record, [SearchHit(1, 0.25, record)])])[0]
    assert json.loads(json.dumps(answer))['hits'][0] == {
        'rank': 1, 'score': 0.25, 'id': 7, 'path': 'a.jpg', 'label': 'Wren', 'split': None,
        'box': [1, 2, 3, 4.5], 'metadata': {'year': 3},
    }  # fmt: skip


@pytest.mark.parametrize(
    'text, expected', [(None, None), ('global', 'global'), ('a=1,b=0.5', {'a': 1.0, 'b': 0.5}), ('a=2', {'a': 2.0})]
)
def test_spaces(text, expected):
    assert parse_space(text) == expected


@pytest.mark.parametrize('text', ['a=', 'a=1,b', 'a=0', 'a=-1', 'a=nan', 'a=inf', '=1', 'a=1,a=2'])
def test_impossible_spaces(text):
    with pytest.raises(RetrievalError, match='write weights above 0'):
        parse_space(text)


def test_exports():
    for name in retrieval.__all__:
        assert getattr(retrieval, name) is not None
    assert set(retrieval.__all__) <= set(dir(retrieval))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        retrieval.nothing  # noqa: B018


@pytest.mark.parametrize(
    ('paths', 'shown'),
    [
        (['a/1.jpg', 's3://b/2.jpg', ''], ['a/1.jpg', 's3://b/2.jpg', '']),
        (['/x/1.jpg', 'a.jpg'], ['1.jpg', 'a.jpg']),
        (['/x/a/1.jpg', '/x/b/1.jpg', '/x/b/1.jpg'], ['a/1.jpg', 'b/1.jpg', 'b/1.jpg']),
        (['/x/a/1.jpg', '/y/2.jpg'], ['1.jpg', '2.jpg']),
    ],
)
def test_files_tell_no_absolute_paths(paths, shown):
    assert shown_paths(paths) == shown
