"""Filters on what is known about images: conditions that must all hold."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import RetrievalError

OPERATORS = ('=', '!=', '<', '<=', '>', '>=', 'in', 'not in')
TEXT_COLUMNS = ('path', 'label', 'split', 'content_hash')
_WORDS = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)\s*(!=|<=|>=|=|<|>|\bnot\s+in\b|\bin\b)\s*(.*)', re.DOTALL)
_NULL = ('', 'none', 'null')


class Condition(NamedTuple):
    """One condition. A row without a value in the column meets none but ``= None``.

    Example:
        >>> gallery.ids([Condition('year', '>=', 2019), Condition('label', 'in', ['Wren', 'Robin'])])

    Attributes:
        column: Name of a column.
        op: One of :data:`OPERATORS`.
        value: Number or text; a sequence of them for ``'in'`` and ``'not in'``; None with ``=`` and ``!=``.
    """

    column: str
    op: str
    value: Any


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
    else:
        conditions = [Condition(*condition) for condition in where]
    for condition in conditions:
        _check(condition)
    return conditions if columns is None else [_typed(condition, columns) for condition in conditions]


def parse_conditions(words: Sequence[str]) -> list[Condition] | None:
    """Conditions as people type them: ``'label=Wren'``, ``'year>=2019'``, ``'split in a,b'``, or ``'label='`` for none.

    Numbers become numbers where the column holds numbers. None for no words; RetrievalError for other words.
    """
    conditions = []
    for word in words:
        match = _WORDS.fullmatch(word)
        if match is None:
            raise RetrievalError(f'{word!r} is not a condition: write it as label=Wren, year>=2019 or "split in a,b"')
        column, operator, text = match[1], ' '.join(match[2].split()), match[3].strip()
        value: Any = text
        if operator in ('in', 'not in'):
            value = tuple(part.strip() for part in text.split(','))
        elif operator in ('=', '!=') and text.lower() in _NULL:
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


def quote(name: str) -> str:
    """A name of a column for SQL."""
    return '"' + name.replace('"', '""') + '"'


def _from_pair(column: str, value: Any) -> Condition:
    if isinstance(value, tuple):
        if len(value) != 2:
            raise RetrievalError(f'{column}: write a condition as (operator, value), for example (">=", 2019)')
        return Condition(column, *value)
    if isinstance(value, (list, set, frozenset)):
        return Condition(column, 'in', tuple(value))
    return Condition(column, '=', value)


def _check(condition: Condition) -> None:
    column, operator, value = condition
    if operator not in OPERATORS:
        raise RetrievalError(f'{column} {operator!r}: the operator must be one of {", ".join(OPERATORS)}')
    if operator in ('in', 'not in'):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise RetrievalError(f'{column} {operator}: give a list of values, got {value!r}')
    elif value is None and operator not in ('=', '!='):
        raise RetrievalError(f'{column} {operator}: nothing is larger or smaller than no value; use = or !=')
    elif value is not None and not isinstance(value, (str, int, float)):
        raise RetrievalError(f'{column}: a filter compares numbers and texts, got {value!r}')


def _typed(condition: Condition, columns: Mapping[str, str]) -> Condition:
    """A condition whose values are of the column's type."""
    column, operator, value = condition
    if column not in columns:
        raise RetrievalError(f'there is no column {column!r}; the columns are {", ".join(columns)}')
    if operator in ('in', 'not in'):
        return Condition(column, operator, tuple(_convert(column, one, columns[column]) for one in value))
    return Condition(column, operator, None if value is None else _convert(column, value, columns[column]))


def _convert(column: str, value: Any, kind: str) -> Any:
    if kind == 'TEXT':
        if not isinstance(value, str):
            raise RetrievalError(f'column {column} holds text, not {value!r}')
        return value
    if hasattr(value, 'item'):
        value = value.item()
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            try:
                value = float(value)
            except ValueError:
                raise RetrievalError(f'column {column} holds numbers, not {value!r}') from None
    if not isinstance(value, (int, float)) or abs(value) > sys.float_info.max or math.isnan(value):
        raise RetrievalError(f'column {column} holds numbers, not {value!r}')
    # SQLite has no longer integers.
    return float(value) if abs(value) >= 2**63 else value
