"""Filters as people and programs write them."""

import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import RetrievalError
from retrieval.gallery import Condition, Record, create_gallery, parse_conditions, read_conditions
from retrieval.gallery.conditions import to_sql

COLUMNS = {'label': 'TEXT', 'year': 'INTEGER', 'weight': 'REAL'}


@pytest.mark.parametrize(
    'word, expected',
    [
        ('label=Wren', ('label', '=', 'Wren')),
        ('label = House Wren', ('label', '=', 'House Wren')),
        ('label=a=b', ('label', '=', 'a=b')),
        ('year>=2019', ('year', '>=', '2019')),
        ('year<3', ('year', '<', '3')),
        ('label!=', ('label', '!=', None)),
        ('label=none', ('label', '=', None)),
        ('split in a, b', ('split', 'in', ('a', 'b'))),
        ('split not in a', ('split', 'not in', ('a',))),
        ('inside=1', ('inside', '=', '1')),
    ],
)
def test_words(word, expected):
    assert parse_conditions([word]) == [expected]


def test_no_words_are_no_filter():
    assert parse_conditions([]) is None and read_conditions(None) == []


@pytest.mark.parametrize('word', ['label', '=3', 'a b=3', '1a=3', 'label~x', ''])
def test_words_that_are_no_conditions(word):
    with pytest.raises(RetrievalError, match='is not a condition: write it as'):
        parse_conditions([word])


@pytest.mark.parametrize(
    'where, words',
    [
        ({'colour': 1}, "no column 'colour'; the columns are label, year, weight"),
        ({'year': 'x'}, 'holds numbers'),
        ({'year': float('nan')}, 'holds numbers'),
        ({'weight': float('inf')}, 'holds numbers'),
        ({'weight': 10**400}, 'holds numbers'),
        ({'label': 3}, 'holds text'),
        ({'label': ('like', 'x')}, 'operator must be one of'),
        ({'label': ('in', 'abc')}, 'give a list'),
        ({'label': ('<', None)}, 'no value'),
        ({'label': (1, 2, 3)}, r'\(operator, value\)'),
        ({'label': b'x'}, 'numbers and texts'),
    ],
)
def test_impossible_filters(where, words):
    with pytest.raises(RetrievalError, match=words):
        read_conditions(where, COLUMNS)


def test_numbers_that_are_larger_than_integers(tmp_path):
    with create_gallery(tmp_path / 'g', 2) as gallery:
        records = [Record(str(number), metadata={'weight': value}) for number, value in enumerate((1.5, 1e20, 1e30))]
        gallery.add(np.eye(3, 2, dtype=np.float32) + 1, records)
        for value, ids in ((10**25, [2]), (2**63, [1, 2]), (1e29, [2]), (-(2**70), [0, 1, 2])):
            assert gallery.ids({'weight': ('>', value)}).tolist() == ids
        assert gallery.ids({'weight': ('in', [10**20])}).tolist() == [1]


@given(st.text(), st.sampled_from(['=', '!=', '<', 'in', 'not in']))
def test_any_text_is_a_value_and_never_sql(text, operator):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    value = (text,) if operator.endswith('in') else text
    clause, values = to_sql(read_conditions([Condition('label', operator, value)], COLUMNS))
    assert '"label"' in clause
    connection = sqlite3.connect(':memory:')
    connection.execute('CREATE TABLE records (label TEXT)')
    connection.executemany('INSERT INTO records VALUES (?)', [(text,), (None,)])
    count = connection.execute(f'SELECT count(*) FROM records WHERE {clause}', values).fetchone()[0]
    assert count == (1 if operator in ('=', 'in') and '\0' not in text else count if '\0' in text else 0)
    connection.close()
