"""Records and filters whose answers Python knows, for Milvus' file and for its server."""

import operator

import numpy as np

from retrieval.gallery import Condition, Record

TEXTS = (
    'wren', 'Wren', '', '"', "'", '\\', '\\n', '\n', '\r\n', '\t', '\x01', 'é', '日本', '😀', '%', '{x}', 'a b',
    '\u2028', '$meta', '\\"', '" or id >= 0 or label == "', "' or 1==1 --", '\\u0041', '/* */', '&&',
    '\ufeff', 'null', 'true',
)  # fmt: skip
NUMBERS = (0, 1, -1, 3, 2**53, 2**53 + 1, 2**62, -(2**63) + 1, 2**63 - 1)
REALS = (0.0, 2.5, -2.5, 3.0, 1e18, -1e18, 1e-300, 0.1, 0.1 + 0.2)
_OPERATORS = {
    '=': operator.eq, '!=': operator.ne, '<': operator.lt, '<=': operator.le, '>': operator.gt, '>=': operator.ge,
    'in': lambda value, values: value in values, 'not in': lambda value, values: value not in values,
}  # fmt: skip


def make_records():
    """Records with every text and number, and with none."""
    records = [Record(path=f'{row}.jpg', label=text, metadata={'note': text}) for row, text in enumerate(TEXTS)]
    records += [Record(path=f'n{row}.jpg', split='n', metadata={'count': value}) for row, value in enumerate(NUMBERS)]
    records += [Record(path=f'r{row}.jpg', split='r', metadata={'weight': value}) for row, value in enumerate(REALS)]
    return [*records, Record(path='none.jpg')]


def make_conditions():
    """Conditions on texts, whole numbers and reals with every operator."""
    comparisons = list(_OPERATORS)[:6]
    conditions = [Condition(column, op, text) for column in ('label', 'note') for text in TEXTS for op in comparisons]
    conditions += [Condition('count', op, value) for value in (*NUMBERS, 2.5) for op in comparisons]
    conditions += [Condition('weight', op, value) for value in (*REALS, 3) for op in comparisons]
    for op in ('in', 'not in'):
        conditions += [Condition(column, op, list(TEXTS[:7])) for column in ('label', 'note', 'path')]
        conditions += [Condition('count', op, [1, 3, 5]), Condition('weight', op, [2.5]), Condition('label', op, [''])]
    conditions += [Condition(column, op, None) for column in ('label', 'note', 'count', 'path') for op in ('=', '!=')]
    conditions += [Condition('id', op, value) for value in (7, 7.5, -1) for op in comparisons]
    return [*conditions, Condition('id', 'in', [3, 5, 1000]), Condition('id', 'not in', [3])]


def expected_ids(records, condition):
    """Rows that meet a condition; one without a value meets none but ``= None``, as in SQL."""
    column, op, value = condition
    values = [
        row if column == 'id' else vars(record).get(column, record.metadata.get(column))
        for row, record in enumerate(records)
    ]
    if value is None:
        return np.array([row for row, one in enumerate(values) if (one is None) == (op == '=')], int)
    return np.array([row for row, one in enumerate(values) if one is not None and _OPERATORS[op](one, value)], int)
