"""Reads CSV and TSV files as spreadsheets and people write them."""

import csv
import io
import re
from typing import NamedTuple

from .errors import RetrievalError

_BLANKS = ' \t\r\n\xa0'  # around cells; other separators of Unicode are part of a name
_BYTE_ORDER_MARKS = ((b'\xef\xbb\xbf', 'utf-8'), (b'\xff\xfe', 'utf-16-le'), (b'\xfe\xff', 'utf-16-be'))


class TextTable(NamedTuple):
    """Columns and rows of a table; each row has the number of its last line and a cell per column, or too few or many.

    ::

        table = parse_table(Path('photos.csv').read_bytes(), 'photos.csv')
        for number, cells in table.rows:
            print(number, dict(zip(table.columns, cells)))
    """

    columns: list[str]
    rows: list[tuple[int, list[str]]]


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
