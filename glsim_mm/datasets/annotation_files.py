"""Reading annotation files of data sets, with errors that name file and line."""

import csv
import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine import fileio

from ..errors import GLSimError, one_line


def read_lines(path: str) -> list[str]:
    """Lines of a text file, UTF-8.

    Args:
        path (str): A file, local or of a storage that mmengine knows.

    Returns:
        list[str]: Without line ends.

    Raises:
        GLSimError: If the file is not there or is no text.
    """
    if not fileio.isfile(path):
        raise GLSimError(f'{path} is not there; check data_root, or complete the download')
    try:
        return fileio.get_text(path, encoding='utf-8').lstrip('\ufeff').splitlines()
    except UnicodeDecodeError as error:
        raise GLSimError(f'{path} is no UTF-8 text ({error}); it is damaged or of another kind') from error


def read_table(
    path: str, parse: Callable[[str], Any] = str, parse_id: Callable[[str], Hashable] = int
) -> dict[Any, Any]:
    """Lines ``ID VALUE`` of a text file, in order; empty lines are passed over.

    Args:
        path (str): The file.
        parse (Callable): Turns what follows the id into a value, or raises ``ValueError``. Defaults to ``str``.
        parse_id (Callable): Turns the id into a key. Defaults to ``int``.

    Returns:
        dict: Value of each id.

    Raises:
        GLSimError: If the file is not there, a line cannot be read, or an id comes twice.
    """
    table: dict[Any, Any] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            key, value = line.strip().split(maxsplit=1)
            parsed = parse_id(key), parse(value)
        except ValueError as error:
            raise GLSimError(f'line {number} of {path} cannot be read ({line.strip()!r}); correct it') from error
        if parsed[0] in table:
            raise GLSimError(f'line {number} of {path} has the id {key} again; ids must differ')
        table[parsed[0]] = parsed[1]
    return table


def read_csv(path: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with a header.

    Args:
        path (str): The file.
        columns (Sequence[str]): Columns that must be there.

    Yields:
        tuple[int, dict[str, str]]: Number of the row's last line, and the row.

    Raises:
        GLSimError: If the file is not there, lacks a column, or a row has fewer cells than the header.
    """
    reader = csv.DictReader(read_lines(path))
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise GLSimError(
            f'{path} has no column {missing[0]!r} (its columns: {", ".join(reader.fieldnames or ("none",))}); add it'
        )
    for row in reader:
        short = [column for column in columns if row[column] is None]
        if short:
            raise GLSimError(f'line {reader.line_num} of {path} has no {short[0]!r}; correct it')
        yield reader.line_num, row


def read_json(path: str) -> Any:
    """Content of a JSON file.

    Raises:
        GLSimError: If the file is not there or cannot be read.
    """
    try:
        return json.loads('\n'.join(read_lines(path)))
    except json.JSONDecodeError as error:
        raise GLSimError(f'{path} cannot be read ({one_line(error)}); it is damaged or incomplete') from error


def xywh_to_xyxy(text: str) -> np.ndarray:
    """``'x y width height'`` as float32 ``x0, y0, x1, y1`` (4,).

    Raises:
        ValueError: If the text is something else.
    """
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
