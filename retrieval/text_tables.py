"""Reads CSV and TSV files as spreadsheets and people write them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .errors import RetrievalError
from .records import RESERVED, is_column_name

_BLANKS = ' \t\r\n\xa0'  # around cells; other separators of Unicode are part of a name
_BYTE_ORDER_MARKS = ((b'\xef\xbb\xbf', 'utf-8'), (b'\xff\xfe', 'utf-16-le'), (b'\xfe\xff', 'utf-16-be'))
_INTEGER = re.compile(r'-?(0|[1-9][0-9]*)')
_FLOAT = re.compile(r'-?(0|[1-9][0-9]*)?(\.[0-9]+|(?<=[0-9])\.?)([eE][+-]?[0-9]+)?')


class TextTable(NamedTuple):
    """Columns and rows of a table; each row has the number of its last line and a cell per column, or too few or many.

    ::

        table = parse_table(Path('photos.csv').read_bytes(), 'photos.csv')
        for number, cells in table.rows:
            print(number, dict(zip(table.columns, cells)))
    """

    columns: list[str]
    rows: list[tuple[int, list[str]]]


class TypedTable(NamedTuple):
    """Columns of a table of rows of a gallery; each row has the number of its last line and a value for each column.

    An empty cell is None, no value.
    """

    columns: list[str]
    rows: list[tuple[int, dict[str, Any]]]


def read_typed_table(path: Path, texts: Sequence[str], kinds: Mapping[str, str] | None = None) -> TypedTable:
    """:func:`parse_typed_table` of a file; RetrievalError if it cannot be read."""
    return parse_typed_table(read_bytes(path), str(path), texts, kinds)


def parse_typed_table(
    content: bytes, path: str, texts: Sequence[str], kinds: Mapping[str, str] | None = None
) -> TypedTable:
    """Read a table about rows of a gallery: texts, and columns of metadata, of numbers if all their cells are.

    Codes stay text: with leading zeros (``0012``), underscores (``2024_11``), or more digits than 64 bits hold.

    Args:
        content: The file, as :func:`parse_table` reads it.
        path: What to call it in messages.
        texts: Columns that are no metadata, and are text.
        kinds: Types of the columns that the gallery has, whose texts stay texts; None for a new gallery.

    Raises:
        RetrievalError: If it cannot be read, a column of metadata cannot be called so, or a line is too long or short.
    """
    columns, rows = parse_table(content, path)
    further = [name for name in columns if name not in texts]
    wrong = [name for name in further if not is_column_name(name)]
    if wrong or len({name.lower() for name in columns}) < len(columns):
        raise RetrievalError(
            f'{path}: column names must be letters, digits, blanks and signs other than " \\ = < > ! [ ], none of '
            f'{", ".join(RESERVED)}, and each once, whatever the case; rename {wrong or columns}'
        )
    uneven = next((number for number, cells in rows if len(cells) != len(columns)), None)
    if uneven is not None:
        raise RetrievalError(f'{path}: line {uneven} has another number of fields than the first line; correct it')
    kinds = {**(kinds or {}), **dict.fromkeys(texts, 'TEXT')}
    typed = [read_values(name, cells, kinds) for name, cells in zip(columns, zip(*(cells for _, cells in rows)))]
    return TypedTable(columns, [(number, dict(zip(columns, values))) for (number, _), values in zip(rows, zip(*typed))])


def read_values(name: str, cells: Sequence[str], kinds: Mapping[str, str]) -> list[int | float | str | None]:
    """A column as integers if all cells are, else as numbers, else as text; empty cells are None.

    It stays text if ``kinds``, types by name of column, says ``'TEXT'``.
    """
    fields = [cell.strip() for cell in cells]
    filled = [field for field in fields if field]
    as_text = any(known.lower() == name.lower() and kind == 'TEXT' for known, kind in kinds.items())
    if not as_text:
        if all(map(_INTEGER.fullmatch, filled)) and all(-(2**63) <= int(field) < 2**63 for field in filled):
            return [int(field) if field else None for field in fields]
        if all(map(_is_float, filled)):
            return [float(field) if field else None for field in fields]
    return [cell or None for cell in cells]


def read_bytes(path: Path) -> bytes:
    """Content of a file; RetrievalError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RetrievalError(f'{path} cannot be read ({error.strerror}); check the path') from error


def decode_text(content: bytes, name: str) -> str:
    """Text of a file in UTF-8, or in UTF-16 with a byte order mark as Excel's "Unicode text" has it.

    Raises:
        RetrievalError: If it is in another encoding, which is never guessed, since names would change silently.
    """
    mark, encoding = next((one for one in _BYTE_ORDER_MARKS if content.startswith(one[0])), (b'', 'utf-8'))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b'\n') + 1
        raise RetrievalError(
            f'{name} is not UTF-8 text (line {line}): save it as UTF-8, in Excel as "CSV UTF-8", or convert it, '
            'for example by iconv -f WINDOWS-1252 -t UTF-8'
        ) from error
    if '\0' in text:
        line = text[: text.index('\0')].count('\n') + 1
        raise RetrievalError(f'{name} has a NUL character in line {line}; it is damaged, or save it as UTF-8')
    return text


def parse_table(content: bytes, name: str) -> TextTable:
    """Read a table with a header, separated by commas, semicolons or tabs, whichever the header has.

    Blanks around cells are removed. Quoted cells may hold line breaks and the separator. Empty lines are left out.

    Args:
        content: The file.
        name: What to call it in messages.

    Raises:
        RetrievalError: If it cannot be read, or the header has both commas and semicolons.
    """
    text = decode_text(content, name)
    lines = io.StringIO(text, newline='')
    rows = csv.reader(lines, delimiter=_delimiter(text, name), strict=True, skipinitialspace=True)
    read: list[tuple[int, list[str]]] = []
    try:
        for row in rows:
            cells = [cell.strip(_BLANKS) for cell in row]
            if any(cells):
                read.append((rows.line_num, cells))
    except csv.Error as error:
        raise RetrievalError(f'line {rows.line_num} of {name} cannot be read ({error}); correct it') from error
    return TextTable(read[0][1], read[1:]) if read else TextTable([], [])


def _delimiter(text: str, name: str) -> str:
    header = re.sub('"[^"]*"', '', text.lstrip(' \r\n').split('\n', 1)[0])
    if '\t' in header:
        return '\t'
    if ',' in header and ';' in header:
        raise RetrievalError(f'the first line of {name} has commas and semicolons; separate the columns by one of them')
    return ';' if ';' in header else ','


def _is_float(cell: str) -> bool:
    """Whether a cell is a number that floating point keeps."""
    if not _FLOAT.fullmatch(cell) or not math.isfinite(float(cell)):
        return False
    return not _INTEGER.fullmatch(cell) or int(float(cell)) == int(cell)
