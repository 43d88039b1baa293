"""Conditions on metadata as a boolean expression of Milvus.

milvus-lite 3.2.2 and server 2.3.5 take no bound parameters, so values do become text here: only numbers in Python's
notation and strings whose quote, backslash and line ends are escaped, which is all that ends a string in Milvus'
grammar. Names of columns are checked against the gallery's own before.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import RetrievalError
from ..records import TEXT_COLUMNS

_ESCAPES = str.maketrans({'"': '\\"', '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t'})
_COMPARISONS = {'=': '==', '!=': '!=', '<': '<', '<=': '<=', '>': '>', '>=': '>='}
ALWAYS, NEVER = 'id >= 0', 'id < 0'
# Old servers have no NULL; a flag beside the field says whether it has a value.
NULLABLE_FIELDS = ('label', 'split', 'content_hash')


def ids_expression(ids: Iterable[int]) -> str:
    """Rows with these ids."""
    return f'id in [{", ".join(str(int(number)) for number in ids)}]'


def join_expressions(*expressions: str) -> str:
    """Rows that meet all expressions; '' stands for all rows, in the arguments and in the result."""
    parts = [expression for expression in expressions if expression]
    return ' and '.join(f'({part})' for part in parts) if len(parts) > 1 else ''.join(parts)


def conditions_expression(conditions: Iterable[tuple[str, str, Any]]) -> str:
    """Rows that meet all conditions; '' for none. As in SQL, a missing value (NULL) meets none but ``= None``.

    Names and operators are checked already. RetrievalError if a value cannot be compared in Milvus.
    """
    return ' and '.join(f'({_condition(*condition)})' for condition in conditions)


def literal(value: Any) -> str:
    """A number or a string in Milvus' notation; RetrievalError for what Milvus cannot write."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RetrievalError(f'{value!r} is not valid text: it cannot be written as UTF-8') from error
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RetrievalError(f'a filter compares numbers and texts, got {value!r}')
    if isinstance(value, float) and not math.isfinite(value):
        raise RetrievalError(f'a filter cannot compare with {value!r}')
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise RetrievalError(f'{value} does not fit into the 64 bits of a whole number in Milvus')
    return repr(value)


def _condition(column: str, operator: str, value: Any) -> str:
    if column == 'id':
        return _id_condition(operator, value)
    name, present = _operand(column)
    if value is None:
        return present if operator == '!=' else f'not ({present})'
    if operator in _COMPARISONS:
        return f'({present}) and ({name} {_COMPARISONS[operator]} {literal(value)})'
    if column in TEXT_COLUMNS:
        members = f'{name} {operator} [{", ".join(map(literal, value))}]'
        return f'({present}) and ({members if value else _either(operator == "not in")})'
    comparison, junction = ('==', 'or') if operator == 'in' else ('!=', 'and')
    terms = [f'{name} {comparison} {literal(member)}' for member in value]
    return f'({present}) and ({_join(terms, junction) if terms else _either(operator == "not in")})'


def _id_condition(operator: str, value: Any) -> str:
    """A condition on ids, which Milvus compares with whole numbers only."""
    if value is None:
        return ALWAYS if operator == '!=' else NEVER
    if operator in ('in', 'not in'):
        members = [int(member) for member in value if member == int(member)]
        return f'id {operator} [{", ".join(map(literal, members))}]' if members else _either(operator == 'not in')
    if value != math.floor(value):
        if operator in ('=', '!='):
            return _either(operator == '!=')
        operator = {'<': '<=', '>=': '>'}.get(operator, operator)  # of the whole number below
    return f'id {_COMPARISONS[operator]} {literal(math.floor(value))}'


def _either(always: bool) -> str:
    return ALWAYS if always else NEVER


def _operand(column: str) -> tuple[str, str]:
    """How an expression names a column, and the expression that says whether it has a value."""
    if column in NULLABLE_FIELDS:
        return column, f'has_{column} == true'
    if column in TEXT_COLUMNS:
        return column, ALWAYS
    return f'metadata["{column}"]', f'exists metadata["{column}"]'


def _join(terms: Sequence[str], junction: str) -> str:
    """All terms in a balanced tree, whose depth no parser minds; JSON has no ``in`` in milvus-lite."""
    if len(terms) == 1:
        return f'({terms[0]})'
    middle = len(terms) // 2
    return f'({_join(terms[:middle], junction)} {junction} {_join(terms[middle:], junction)})'
