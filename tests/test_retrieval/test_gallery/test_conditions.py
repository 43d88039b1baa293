"""Filters as people and programs write them."""

import sqlite3
from datetime import date

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
        ('label=', ('label', '=', None)),
        ('label=none', ('label', '=', 'none')),
        ('label=null', ('label', '=', 'null')),
        ('label==Wren', ('label', '=', 'Wren')),
        ('label=""', ('label', '=', '')),
        ('label="=x ""y"""', ('label', '=', '=x "y"')),
        ('label=5" lens', ('label', '=', '5" lens')),
        ('label in "Wren, house", Robin', ('label', 'in', ('Wren, house', 'Robin'))),
        ('label not in a,"",b "c"', ('label', 'not in', ('a', '', 'b "c"'))),
        ('Scientific Name=Troglodytes', ('Scientific Name', '=', 'Troglodytes')),
        ('Größe>=3', ('Größe', '>=', '3')),
        ('"born in"=x', ('born in', '=', 'x')),
        ('split in a, b', ('split', 'in', ('a', 'b'))),
        ('split not in a', ('split', 'not in', ('a',))),
        ('inside=1', ('inside', '=', '1')),
    ],
)
def test_words(word, expected):
    assert parse_conditions([word]) == [expected]


def test_no_words_are_no_filter():
    assert parse_conditions([]) is None and read_conditions(None) == []


@pytest.mark.parametrize('word', ['label', '=3', '!=3', 'label~x', ''])
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
        ({'label': b'x'}, 'numbers, texts and dates'),
        ({'year': '1_000'}, 'holds numbers, not .1_000.; "year=" finds rows without a value'),
        ({'year': 'nan'}, 'holds numbers'),
        ({'label': ['a', None]}, 'None stands for no value'),
        ({'label': np.datetime64('NaT')}, 'not NaT'),
        ({'label': '\ud800'}, 'not valid text'),
        ({3: 'x'}, 'name of a column, not 3'),
        ('label=x', 'a filter is a dict .* not .label=x.; parse_conditions reads'),
        (['a=b'], "a condition is .* not 'a=b'"),
        ([('label', '=')], 'a condition is'),
        (3, 'a filter is a dict'),
        ([('year', '!=', number) for number in range(501)], 'at most 500 conditions, not 501'),
    ],
)
def test_impossible_filters(where, words):
    with pytest.raises(RetrievalError, match=words):
        read_conditions(where, COLUMNS)


@pytest.mark.parametrize('word', ['label in "a', 'label in "a" b', 'label in a,"b"c'])
def test_lists_whose_quotes_are_not_closed(word):
    with pytest.raises(RetrievalError, match='close the quotes, and put a comma between values'):
        parse_conditions([word])


@pytest.mark.parametrize(
    'where, condition',
    [
        ({'year': np.int64(2019)}, ('year', '=', 2019)),
        ({'year': True}, ('year', '=', 1)),
        ({'year': np.array([1, 2])}, ('year', 'in', (1, 2))),
        ({'year': ('in', {np.int64(3)})}, ('year', 'in', (3,))),
        ({'weight': np.float32(0.5)}, ('weight', '=', 0.5)),
        ({'label': np.str_('x')}, ('label', '=', 'x')),
        ({'label': ('>=', date(2024, 5, 1))}, ('label', '>=', '2024-05-01')),
        ({'label': np.datetime64('2024-05-01T12:00', 'ns')}, ('label', '=', '2024-05-01T12:00:00')),
    ],
)
def test_values_of_other_libraries(where, condition):
    (found,) = read_conditions(where, COLUMNS)
    assert found == condition
    assert type(found.value) in (int, float, str, tuple)


def test_as_many_conditions_as_are_allowed(tmp_path):
    with create_gallery(tmp_path / 'g', 2) as gallery:
        gallery.add(np.eye(2, dtype=np.float32), [Record('a'), Record('b')])
        others = [('path', '!=', str(number)) for number in range(499)]
        assert gallery.ids([*others, ('path', '=', 'b')]).tolist() == [1]


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
