"""Readers of annotation files; what cannot be read is a :class:`GLSimError` that names file and line."""

import io
import json
import struct
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from xml.etree import ElementTree

import mat4py
import numpy as np
from mat4py.loadmat import ParseError
from mmengine import fileio

from retrieval.errors import RetrievalError
from retrieval.text_tables import decode_text, parse_table

from ..errors import GLSimError, one_line

T = TypeVar('T')
_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
# What mat4py raises for a file that ends too early or is something else.
_DAMAGED = (LookupError, TypeError, ValueError, EOFError, struct.error, zlib.error, ParseError)


def read_lines(path: str) -> list[str]:
    """Read the lines of a text file, UTF-8 or UTF-16, local or in a storage that mmengine knows."""
    _check_is_there(path)
    try:
        text = decode_text(fileio.get(path), path)
    except RetrievalError as error:
        raise GLSimError(str(error)) from error
    return [line.rstrip('\n') for line in io.StringIO(text, newline=None)]


def _check_is_there(path: str) -> None:
    if not fileio.isfile(path):
        raise GLSimError(f'{path} is not there; check data_root, or complete the download')


def read_rows(path: str, parse: Callable[[str], T], problem: str = 'cannot be read') -> Iterator[tuple[int, T]]:
    """Yield the number of each line that is not empty, from 1, and what ``parse`` makes of it.

    A line that ``parse`` refuses, by a ``ValueError`` or ``LookupError``, is quoted with ``problem`` in the error.
    """
    for number, line in enumerate(read_lines(path), start=1):
        line = line.strip()
        if line:
            try:
                value = parse(line)
            except (ValueError, LookupError) as error:
                raise GLSimError(f'line {number} of {path} {problem} ({line!r}); correct it') from error
            yield number, value


def read_table(
    path: str, parse: Callable[[str], Any] = str, parse_id: Callable[[str], Hashable] = int
) -> dict[Any, Any]:
    """Read values by id from lines ``ID VALUE`` of a text file, in the order of the file; ids must differ."""

    def parse_line(line: str) -> tuple[Hashable, Any]:
        key, value = line.split(maxsplit=1)
        return parse_id(key), parse(value)

    table: dict[Any, Any] = {}
    for number, (key, value) in read_rows(path, parse_line):
        if key in table:
            raise GLSimError(f'line {number} of {path} has the id {key} again; ids must differ')
        table[key] = value
    return table


def read_csv(path: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the last line's number and the cells of each row of a table of text, which must have these columns.

    Cells of other columns may be missing at the end of a row, None; see :func:`retrieval.text_tables.parse_table`.
    """
    _check_is_there(path)
    try:
        table = parse_table(fileio.get(path), path)
    except RetrievalError as error:
        raise GLSimError(str(error)) from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise GLSimError(
            f'{path} has no column {missing[0]!r} (its columns: {", ".join(table.columns) or "none"}); add it'
        )
    for number, cells in table.rows:
        if any(cells[len(table.columns) :]):
            raise GLSimError(
                f'line {number} of {path} has {len(cells)} cells, but there are {len(table.columns)} columns; put '
                'cells that hold the separator into double quotes'
            )
        row: dict[str, Any] = {**dict.fromkeys(table.columns), **dict(zip(table.columns, cells))}
        short = [column for column in columns if row[column] is None]
        if short:
            raise GLSimError(f'line {number} of {path} has no {short[0]!r}; correct it')
        yield number, row


def read_json(path: str) -> Any:
    """Read a JSON file."""
    try:
        return json.loads('\n'.join(read_lines(path)))
    except json.JSONDecodeError as error:
        raise GLSimError(f'{path} cannot be read ({one_line(error)}); it is damaged or incomplete') from error


def read_mat(path: str) -> dict[str, Any]:
    """Read the variables of a local MATLAB file (version 5) by name; a struct array becomes a dict of lists."""
    _check_is_there(path)
    try:
        return mat4py.loadmat(path)
    except _DAMAGED as error:
        raise GLSimError(f'{path} cannot be read ({one_line(error)}); download it again') from error


def read_mat_fields(content: dict, names: Sequence[str], path: str) -> list[list]:
    """Take variables of a MATLAB file, or fields of a struct array, as flat lists of equal length."""
    missing = [name for name in names if name not in content]
    if missing:
        raise GLSimError(f'{path} has no {missing[0]!r}; it is another file than expected, download it again')
    columns = [_flat(content[name]) for name in names]
    if len({len(column) for column in columns}) > 1:
        raise GLSimError(f'{path}: {", ".join(names)} differ in length; download it again')
    return columns


def read_voc_boxes(path: str) -> np.ndarray:
    """Read the boxes of an XML file in Pascal VOC's layout, float32 (n, 4) ``x0, y0, x1, y1``."""
    try:
        root = ElementTree.fromstring(fileio.get_text(path))
        boxes = [[float(box.findtext(corner, '')) for corner in _CORNERS] for box in root.iter('bndbox')]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise GLSimError(f'{path} cannot be read ({one_line(error)}); unpack the annotations again') from error
    return np.array(boxes, np.float32).reshape(-1, 4)


def _flat(value: Any) -> list:
    """A list of plain values; a single value becomes a list of one."""
    if not isinstance(value, list):
        return [value]
    return [item[0] if isinstance(item, list) and len(item) == 1 else item for item in value]


def xywh_to_xyxy(text: str) -> np.ndarray:
    """Convert the text ``'x y width height'`` to float32 ``x0, y0, x1, y1`` (4,)."""
    x, y, width, height = (float(part) for part in text.split())
    return np.array([x, y, x + width, y + height], np.float32)


def check_ids(first_path: str, first: Mapping, second_path: str, second: Mapping) -> None:
    """Raise :class:`GLSimError` unless two tables have the same ids."""
    odd = sorted(first.keys() ^ second.keys(), key=str)
    if odd:
        raise GLSimError(
            f'{first_path} and {second_path} do not list the same images (id {odd[0]} is in one of them only); '
            'correct the files'
        )


def check_unique(path: str, table: Mapping) -> None:
    """Raise :class:`GLSimError` if two ids of a table have the same value."""
    first: dict = {}
    for key, value in table.items():
        if first.setdefault(value, key) != key:
            raise GLSimError(f'{path} lists {value} twice, as {first[value]} and {key}; an image belongs in it once')
