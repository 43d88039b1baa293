"""Ids that no client rounds: in answers, whole numbers beyond 2**53 - 1 are text, and requests take both.

Clients in JavaScript, and many others, read numbers of JSON as floats, in which ids of up to 63 bits, as galleries in
Milvus have, lose their last digits. Every answer with JSON of the API is written here.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from fastapi.responses import JSONResponse
from pydantic import Field, WithJsonSchema

from retrieval.records import MAX_ID

EXACT = 2**53 - 1
"""The largest whole number that is a number in answers."""

_LONG = re.compile(rb'(?<![\d.])\d{16}')

RowId = Annotated[
    int,
    Field(ge=0, le=MAX_ID),
    WithJsonSchema(
        {
            'anyOf': [
                {'type': 'integer', 'minimum': 0, 'maximum': EXACT},
                {'type': 'string', 'pattern': '^[0-9]{16,19}$'},
            ],
            'description': 'a number up to 2^53 - 1, else text of digits, so that nobody rounds it',
        }
    ),
]
"""The id of a row or change, in requests and answers."""


class JSONAnswer(JSONResponse):
    """An answer with JSON."""

    def render(self, content: Any) -> bytes:
        """The bytes that are sent."""
        return write_json(content)


def write_json(content: Any) -> bytes:
    """JSON in which whole numbers beyond :data:`EXACT` are text."""
    written = _dump(content)
    # Few answers have such numbers, so that most need not be looked through.
    return _dump(_exact(content)) if _LONG.search(written) else written


def _dump(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode()


def _exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _exact(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(one) for one in value]
    return str(value) if isinstance(value, int) and abs(value) > EXACT else value
