"""Filters on what is known about images: conditions that must all hold."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import RetrievalError
from ..records import is_list, plain_value

OPERATORS = ('=', '!=', '<', '<=', '>', '>=', 'in', 'not in')
MAX_CONDITIONS = 500  # SQLite nests up to 1000 of them
_QUOTED = r'"(?:[^"]|"")*"'
_WORDS = re.compile(
    rf'\s*({_QUOTED}|[^\s"=<>!](?:[^"=<>!]*?[^\s"=<>!])??)\s*(!=|<=|>=|==|=|<|>|\bnot\s+in\b|\bin\b)\s*(.*)', re.DOTALL
)
_LIST = re.compile(rf'(\s*(?:{_QUOTED}|[^",][^,]*)?\s*(,|$))*', re.DOTALL)
_VALUE = re.compile(rf'(\s*{_QUOTED}\s*|[^,]*),', re.DOTALL)
_NUMBER = re.compile(r'\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*')


class Condition(NamedTuple):
    """One condition. A row without a value in the column meets none but ``= None``.

    Example:
        >>> gallery.ids([Condition('year', '>=', 2019), Condition('label', 'in', ['Wren', 'Robin'])])

    Attributes:
        column: Name of a column.
        op: One of :data:`OPERATORS`.
        value: Number, text or date, see :func:`retrieval.records.plain_value`; several of them for ``'in'`` and
            ``'not in'``; None with ``=`` and ``!=``.
    """

    column: str
    op: str
    value: Any

    def __str__(self) -> str:
        """As :func:`parse_conditions` reads it."""
        if self.op in ('in', 'not in'):
            return f'{self.column} {self.op} {",".join(map(_quote_value, self.value))}'
        return f'{self.column}{self.op}{"" if self.value is None else _quote_value(self.value)}'


def read_conditions(where: Any, columns: Mapping[str, str] | None = None) -> list[Condition]:
    """A filter in any of its forms as conditions that must all hold; RetrievalError if they are not possible.

    Args:
        where: None; ``{'label': 'Wren', 'split': ['a', 'b'], 'year': ('>=', 2019)}``; or conditions.
        columns: Types ``'TEXT'``, ``'INTEGER'``, ``'REAL'`` of the columns there are; None to leave them unchecked.
    """
    if where is None:
        return []
    if isinstance(where, Mapping):
        conditions = [_from_pair(column, value) for column, value in where.items()]
    elif not is_list(where) and (isinstance(where, (str, bytes, np.ndarray)) or not isinstance(where, Iterable)):
        raise RetrievalError(
            f"a filter is a dict such as {{'label': 'Wren'}} or a list of conditions, not {where!r}; parse_conditions "
            'reads conditions as text'
        )
    else:
        conditions = [_from_triple(condition) for condition in where]
    if len(conditions) > MAX_CONDITIONS:
        raise RetrievalError(
            f'a filter has at most {MAX_CONDITIONS} conditions, not {len(conditions)}: name the values in one, as '
            "('path', 'not in', [...])"
        )
    checked = [_check(condition) for condition in conditions]
    return checked if columns is None else [_typed(condition, columns) for condition in checked]


def parse_conditions(words: Sequence[str]) -> list[Condition] | None:
    """Conditions as people type them: ``'label=Wren'``, ``'year>=2019'``, ``'split in a,b'``.

    ``'label='`` means rows without a label, ``'label!='`` those with one. A value between double quotes is taken as it
    is, so that it may hold commas (``'label in "Wren, house",Robin'``) or be empty; a quote in it is written twice.
    ``==`` is ``=``. Numbers become numbers where the column holds numbers. None for no words; RetrievalError for other
    words.
    """
    conditions = []
    for word in words:
        match = _WORDS.fullmatch(word)
        if match is None:
            raise RetrievalError(f'{word!r} is not a condition: write it as label=Wren, year>=2019 or "split in a,b"')
        column, operator, text = _unquote(match[1]), ' '.join(match[2].split()), match[3].strip()
        operator = '=' if operator == '==' else operator
        value: Any = _unquote(text)
        if operator in ('in', 'not in'):
            value = _listed(word, text)
        elif operator in ('=', '!=') and not text:
            value = None
        conditions.append(Condition(column, operator, value))
    return conditions or None


def to_sql(conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
    """Conditions as the WHERE clause of SQLite and its values, which are bound, never written into the text.

    Names of columns must be known ones, as :func:`read_conditions` makes sure. The clause is ``'1'`` for no conditions.
    """
    clauses, values = [], []
    for column, operator, value in conditions:
        name = quote(column)
        if value is None:
            clauses.append(f'{name} IS {"NOT " if operator == "!=" else ""}NULL')
        elif operator in ('in', 'not in'):
            # json_each: one bound value, however long the list is.
            clauses.append(f'{name} IS NOT NULL AND {name} {operator.upper()} (SELECT value FROM json_each(?))')
            values.append(json.dumps(list(value)))
        else:
            clauses.append(f'{name} IS NOT NULL AND {name} {operator} ?')
            values.append(value)
    return ' AND '.join(f'({clause})' for clause in clauses) or '1', values


def check_column(column: Any, columns: Mapping[str, str]) -> None:
    """RetrievalError if a gallery has no such column."""
    if not isinstance(column, str) or column not in columns:
        raise RetrievalError(f'there is no column {column!r}; the columns are {", ".join(columns)}')


def quote(name: str) -> str:
    """A name of a column for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _from_pair(column: str, value: Any) -> Condition:
    if isinstance(value, tuple):
        if len(value) != 2:
            raise RetrievalError(f'{column}: write a condition as (operator, value), for example (">=", 2019)')
        return Condition(column, *value)
    if isinstance(value, (list, set, frozenset)) or (isinstance(value, np.ndarray) and is_list(value)):
        return Condition(column, 'in', value)
    return Condition(column, '=', value)


def _from_triple(condition: Any) -> Condition:
    if not isinstance(condition, Sequence) or isinstance(condition, (str, bytes)) or len(condition) != 3:
        raise RetrievalError(f"a condition is (column, operator, value), as ('year', '>=', 2019), not {condition!r}")
    return Condition(*condition)


def _quote_value(value: Any) -> str:
    """A value as people type it, between quotes where it could be misread."""
    text = str(value)
    is_plain = text and text == text.strip() and ',' not in text and text[0] not in '"='
    return text if is_plain else '"' + text.replace('"', '""') + '"'


def _unquote(text: str) -> str:
    return text[1:-1].replace('""', '"') if re.fullmatch(_QUOTED, text, re.DOTALL) else text


def _listed(word: str, text: str) -> tuple[str, ...]:
    """Values with commas between them."""
    if not _LIST.fullmatch(text):
        raise RetrievalError(f'{word!r}: close the quotes, and put a comma between values')
    return tuple(_unquote(match[1].strip()) for match in _VALUE.finditer(text + ','))


def _check(condition: Condition) -> Condition:
    """A condition of plain values."""
    column, operator, value = condition
    if not isinstance(column, str):
        raise RetrievalError(f'a condition begins with the name of a column, not {column!r}')
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise RetrievalError(f'{column} {operator!r}: the operator must be one of {", ".join(OPERATORS)}')
    if operator in ('in', 'not in'):
        if not is_list(value) and not isinstance(value, (set, frozenset)):
            raise RetrievalError(f'{column} {operator}: give a list of values, got {value!r}')
        members = tuple(plain_value(one, column) for one in value)
        if None in members:
            raise RetrievalError(f'{column} {operator}: None stands for no value; use = or != for it')
        return Condition(column, operator, members)
    plain = plain_value(value, column)
    if plain is None and operator not in ('=', '!='):
        raise RetrievalError(f'{column} {operator}: nothing is larger or smaller than no value; use = or !=')
    return Condition(column, operator, plain)


def _typed(condition: Condition, columns: Mapping[str, str]) -> Condition:
    """A condition whose values are of the column's type."""
    column, operator, value = condition
    check_column(column, columns)
    if operator in ('in', 'not in'):
        return Condition(column, operator, tuple(_convert(column, one, columns[column]) for one in value))
    return Condition(column, operator, None if value is None else _convert(column, value, columns[column]))


def _convert(column: str, value: int | float | str, kind: str) -> int | float | str:
    if kind == 'TEXT':
        if not isinstance(value, str):
            raise RetrievalError(f'column {column} holds text, not {value!r}')
        return value
    number: int | float | str = value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        try:
            number = int(value)
        except ValueError:
            number = float(value)
    if isinstance(number, str) or not abs(number) <= sys.float_info.max:  # NaN is not either
        raise RetrievalError(f'column {column} holds numbers, not {value!r}; "{column}=" finds rows without a value')
    # SQLite has no longer integers.
    return float(number) if abs(number) >= 2**63 else number
