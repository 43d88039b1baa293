"""Filters in Milvus' language."""

import pytest

from retrieval.errors import RetrievalError
from retrieval.milvus.expression import conditions_expression, literal


def test_values_cannot_leave_their_literal():
    assert literal('") or id >= 0 or ("') == '"\\") or id >= 0 or (\\""'
    assert literal('\\') == '"\\\\"'
    assert literal('a\nb\r\tc') == '"a\\nb\\r\\tc"'
    assert literal("don't") == '"don\'t"'
    assert literal(-3) == '-3'
    assert literal(0.1) == '0.1'


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 1 << 63, -(1 << 63), True, b'a', ['a'], None, '\ud800'])
def test_values_that_milvus_cannot_compare_are_refused(value):
    with pytest.raises(RetrievalError):
        literal(value)


def test_conditions_are_joined_and_missing_values_excluded():
    expression = conditions_expression([('label', '!=', 'wren'), ('year', '>=', 2019)])
    assert expression == (
        '((has_label == true) and (label != "wren")) and ((exists metadata["year"]) and (metadata["year"] >= 2019))'
    )
    assert conditions_expression([]) == ''
