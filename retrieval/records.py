"""What a gallery may hold, wherever it is kept: records, ids and values, checked before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from numbers import Real
from pathlib import PurePath
from typing import Any

import numpy as np

from .errors import RetrievalError

Ids = Iterable[int] | np.ndarray
TEXT_COLUMNS = ('path', 'label', 'split', 'content_hash')
RESERVED = ('id', *TEXT_COLUMNS, 'layout', 'similarity_map')
MAX_ID = 2**63 - 1
MAX_COLUMNS = 1900  # SQLite has 2000 and needs some
_LAYOUT = ('box', 'image_size', 'map_area', 'patch_boxes', 'map_range')
_EXACT = 2**53  # beyond it, floating point numbers skip whole ones
_NO_NAME = set('"\\=<>![]')
_KINDS = {int: 'INTEGER', float: 'REAL', str: 'TEXT'}


@dataclass
class Record:
    """What is known about one row of a gallery.

    Example:
        >>> Record(path='wren/1.jpg', label='Wren', metadata={'year': 2019, 'taken': date(2019, 5, 1)})

    Attributes:
        path: Path of the image below a root of the gallery, see :class:`retrieval.gallery.Roots`.
        label, split: Its class, and the split of the data set that it belongs to.
        box: The region that the model selected, ``x0, y0, x1, y1`` in pixels of the upright photo.
        image_size: Width and height of the upright photo in pixels.
        content_hash: SHA-256 of the bytes of the file, hexadecimal.
        similarity_map: uint8, (h, w); the larger the value, the likelier the patch is selected.
        map_area: The part of the photo that the map covers, in the same coordinates as ``box``; None for the whole
            photo.
        metadata: Values by column, see :func:`plain_value`; None is no value.
        id: Id of the row in its gallery; -1 for an image that is in none.
        map_range: The scores that the map's 0 and 255 stand for.
        patch_boxes: Where each of the patches lies that the gallery keeps of the row, in their order and in the same
            coordinates as ``box``, O of them; None where no patches are kept, or their places are not known.
    """

    path: str = ''
    label: str | None = None
    split: str | None = None
    box: Sequence[float] | None = None
    image_size: tuple[int, int] | None = None
    content_hash: str | None = None
    similarity_map: np.ndarray | None = None
    map_area: Sequence[float] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    id: int = -1
    patch_boxes: Sequence[Sequence[float]] | None = None
    map_range: Sequence[float] | None = None


# -- ids -------------------------------------------------------------------------------------------------------------


def read_ids(ids: Ids) -> np.ndarray:
    """Ids of rows to read, which may repeat, as int64 (n,); RetrievalError if they are no whole numbers of 64 bits."""
    if isinstance(ids, Iterable) and not isinstance(ids, (Sequence, Mapping)) and not hasattr(ids, '__array__'):
        ids = list(ids)
    try:
        array = np.asarray(ids)
    except ValueError as error:  # lists of different lengths
        raise RetrievalError(f'ids must be a list of whole numbers, got {ids!r}') from error
    if array.size == 0:
        array = array.astype(np.int64)
    elif array.dtype.kind == 'O' and all(isinstance(one, int) for one in array.flat):
        raise RetrievalError(f'ids must be from 0 to 2**63 - 1, got {min(array.flat)} to {max(array.flat)}')
    if array.dtype.kind not in 'iu' or array.ndim != 1:
        raise RetrievalError(f'ids must be a list of whole numbers, got {array.dtype} of shape {array.shape}')
    if not isinstance(ids, np.ndarray) and any(isinstance(one, (bool, np.bool_)) for one in ids):
        raise RetrievalError('ids must be a list of whole numbers, got True or False among them')
    if len(array) and array.max() > MAX_ID:
        raise RetrievalError(f'ids must be from 0 to 2**63 - 1, got {array.min()} to {array.max()}')
    return array.astype(np.int64)


def check_ids(ids: Ids, count: int | None = None) -> np.ndarray:
    """Ids that the caller chooses as int64 (n,): whole numbers from 0 on, each once; RetrievalError for others.

    ``count`` is how many there must be; None for any number.
    """
    array = read_ids(ids)
    if count is not None and len(array) != count:
        raise RetrievalError(f'{len(array)} ids were given for {count} embeddings')
    if len(array) and array.min() < 0:
        raise RetrievalError(f'ids must be from 0 to 2**63 - 1, got {array.min()} to {array.max()}')
    values, counts = np.unique(array, return_counts=True)
    if len(values) < len(array):
        raise RetrievalError(f'id {values[counts > 1][0]} occurs twice')
    return array


def next_ids(first: int, count: int) -> np.ndarray:
    """Ids from ``first`` on, int64 (n,); RetrievalError where so many are not left below 2**63."""
    if first + count - 1 > MAX_ID:
        raise RetrievalError(
            f'a row has or had the id {first - 1}, above which {count} more do not fit below 2**63: give free ids'
        )
    return np.arange(count, dtype=np.int64) + first


def check_count(value: Any, name: str, least: int = 1, most: int = 2**31 - 1) -> None:
    """RetrievalError unless a value is a whole number in these bounds; ``name`` is what messages call it."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise RetrievalError(f'{name} must be a whole number, got {value!r}')
    if value < least:
        raise RetrievalError(f'{name} must be at least {least}, got {value}')
    if value > most:
        raise RetrievalError(f'{name} must be at most {most}, got {value}')


def is_list(values: Any) -> bool:
    """Whether something is a list, a tuple or an array of values, and no text."""
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    return isinstance(values, Sequence) and not isinstance(values, (str, bytes))


def check_number(value: Any, name: str) -> float:
    """A finite number; RetrievalError for anything else."""
    if isinstance(value, (Real, np.number)) and not isinstance(value, (bool, complex, np.complexfloating)):
        with suppress(OverflowError):
            if math.isfinite(value):
                return float(value)
    raise RetrievalError(f'{name} must be a finite number, got {value!r}')


def check_flag(value: Any, name: str) -> None:
    """RetrievalError unless a value is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise RetrievalError(f'{name} must be True or False, got {value!r}')


def check_texts(values: Any, name: str) -> list[str]:
    """A list of texts, from a list of texts and None, which is left out; RetrievalError for anything else."""
    if not is_list(values):
        raise RetrievalError(f'{name} must be a list of texts, got {values!r}')
    there = [one for one in values if one is not None]
    wrong = [one for one in there if not isinstance(one, str)]
    if wrong:
        raise RetrievalError(f'{name} must be a list of texts, got {wrong[0]!r} in it')
    return [check_text(one, name) for one in there]


def check_search_options(k: Any, rescore: Any, parameters: Any) -> None:
    """RetrievalError unless options of a search are whole numbers, and its parameters are by name."""
    check_count(k, 'k')
    if rescore is not None:
        check_count(rescore, 'rescore', 0)
    if parameters is None:
        return
    if not isinstance(parameters, Mapping):
        raise RetrievalError(f"parameters of a search are a dict such as {{'nprobe': 64}}, got {parameters!r}")
    for name, value in parameters.items():
        check_count(value, str(name), 0)


# -- values ----------------------------------------------------------------------------------------------------------


def plain_value(value: Any, name: str) -> int | float | str | None:
    """A value of metadata, or one that a filter compares with, as galleries know it.

    Whole and floating point numbers (NumPy's too) and texts stay what they are. True and False are 1 and 0. Dates and
    times are texts in ISO 8601, ``2024-05-01`` and ``2024-05-01T12:30:00``, whose order is that of time; a time with a
    time zone is that of UTC and ends with ``+00:00``. None is no value. RetrievalError for anything else; ``name`` is
    the column.
    """
    if isinstance(value, np.generic):
        plain = value.item()
        # NumPy gives times finer than Python's as whole numbers.
        value = value.astype('M8[us]').item() if isinstance(value, np.datetime64) and isinstance(plain, int) else plain
        if value is None:
            raise RetrievalError(f'column {name} holds numbers, texts and dates, not NaT: leave the value out')
    if value is None:
        return None
    if isinstance(value, date) and value == value:  # pandas' NaT is a date that is not itself
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(timezone.utc)
        return value.isoformat()
    if isinstance(value, str):
        return check_text(value, f'column {name}')
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    raise RetrievalError(f'column {name} holds numbers, texts and dates, not {value!r}')


def check_text(text: str, what: str) -> str:
    """A text, if it can be written as UTF-8; RetrievalError if not, as of file names in another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RetrievalError(f'{what}: {text!r} is not valid text, which UTF-8 can write: rename it') from error
    return str(text)


def is_column_name(name: Any) -> bool:
    """Whether a column of metadata can be called so."""
    return (
        isinstance(name, str)
        and 0 < len(name) < 256
        and name == name.strip()
        and name.isprintable()
        and not _NO_NAME & set(name)
        and name.lower() not in RESERVED
    )


# -- records ---------------------------------------------------------------------------------------------------------


def check_records(
    records: Sequence[Record] | None,
    ids: np.ndarray,
    columns: Mapping[str, str],
    find: Callable[[list[tuple[str, str, int]]], np.ndarray] | None,
) -> tuple[list[Record], dict[str, str]]:
    """Records as a gallery stores them, and its columns of metadata that are new, or become ``'REAL'``, with types.

    Names that differ only in case are one column. Whole numbers and others in one column are all floating point.

    Args:
        records: One for each id; None for records that say nothing.
        ids: int64, (n,); a record's own id does not count.
        columns: Those that the gallery has, with their types.
        find: Ids of the rows that meet conditions, asked only where a column becomes ``'REAL'``; None without rows.

    Raises:
        RetrievalError: If a record holds what a gallery cannot.
    """
    if records is None:
        return [Record(id=number) for number in ids.tolist()], {}
    if isinstance(records, (str, Mapping, Record)) or not isinstance(records, Sequence):
        raise RetrievalError(f'records must be a list of Record, got {type(records).__name__}')
    if len(records) != len(ids):
        raise RetrievalError(f'{len(records)} records were given for {len(ids)} rows')
    names = {name.lower(): name for name in columns}
    kinds = dict(columns)
    checked = []
    for position, (record, number) in enumerate(zip(records, ids.tolist())):
        if not isinstance(record, Record):
            raise RetrievalError(f'records must be a list of Record, got {record!r} in it')
        what = f'record {position}'
        metadata = _check_metadata(record.metadata, names, kinds, what)
        checked.append(replace(record, id=number, metadata=metadata, **_check_fields(record, what)))
    changed = {name: kind for name, kind in kinds.items() if columns.get(name) != kind}
    if changed and len(kinds) > MAX_COLUMNS:
        raise RetrievalError(f'a gallery has at most {MAX_COLUMNS} columns, not {len(kinds)}: keep the rest elsewhere')
    for record in checked:
        for name, value in record.metadata.items():
            if kinds[name] == 'REAL' and isinstance(value, int):
                record.metadata[name] = _exact_float(name, value)
    for name in changed:
        if (
            find is not None
            and name in columns
            and (len(find([(name, '>', _EXACT)])) or len(find([(name, '<', -_EXACT)])))
        ):
            raise RetrievalError(
                f'column {name} holds whole numbers of more than 53 bits, which would lose digits beside others: store '
                'them in another column'
            )
    return checked, changed


def _check_metadata(metadata: Any, names: dict[str, str], kinds: dict[str, str], what: str) -> dict[str, Any]:
    """Values under the gallery's own names of columns, without missing ones; new names and types are noted."""
    if not isinstance(metadata, Mapping):
        raise RetrievalError(f'{what}: metadata must be a dict of values by column, got {metadata!r}')
    row: dict[str, Any] = {}
    for name, value in metadata.items():
        if not is_column_name(name):
            raise RetrievalError(
                f'{name!r} is not a valid name for a column of metadata: use letters, digits, blanks and signs other '
                f'than " \\ = < > ! [ ], and none of {", ".join(RESERVED)}'
            )
        plain = plain_value(value, name)
        if plain is None:
            continue
        if isinstance(plain, float) and not math.isfinite(plain):
            raise RetrievalError(f'column {name} cannot hold {plain!r}: leave the value out, or give None')
        if isinstance(plain, int) and not -(2**63) <= plain < 2**63:
            raise RetrievalError(f'column {name} cannot hold {plain}: it needs more than 64 bits; store it as text')
        own, kind = names.setdefault(name.lower(), name), _KINDS[type(plain)]
        if own in row:
            raise RetrievalError(f'{what}: {name!r} and another name are the same column {own!r}: give it once')
        known = kinds.setdefault(own, kind)
        if known != kind and 'TEXT' in (known, kind):
            raise RetrievalError(f'column {own} holds {known}, not {value!r}')
        if (known, kind) == ('INTEGER', 'REAL'):
            kinds[own] = kind
        row[own] = plain
    return row


def _check_fields(record: Record, what: str) -> dict[str, Any]:
    """The fields of a record but id and metadata, in the types that their annotations say."""
    texts: dict[str, Any] = {}
    for name in TEXT_COLUMNS:
        value = getattr(record, name)
        if name == 'path' and isinstance(value, PurePath):
            value = value.as_posix()
        if value is None and name != 'path':
            continue
        if not isinstance(value, str):
            advice = 'text; leave it out where there is none' if name == 'path' else 'text or None'
            raise RetrievalError(f'{what}: {name} must be {advice}, got {value!r}')
        texts[name] = check_text(value, f'{what}: {name}')
    heat = record.similarity_map
    if heat is not None:
        heat = np.asarray(heat)
        if heat.dtype != np.uint8 or heat.ndim != 2:
            raise RetrievalError(f'similarity maps must be uint8 (h, w), got {heat.dtype} {heat.shape}')
    size = _numbers(record.image_size, 2, f'{what}: image_size')
    if size is not None and any(side != int(side) or side < 1 for side in size):
        raise RetrievalError(f'{what}: image_size must be two whole numbers of pixels, got {record.image_size!r}')
    return dict(
        texts,
        box=_numbers(record.box, 4, f'{what}: box'),
        map_area=_numbers(record.map_area, 4, f'{what}: map_area'),
        map_range=_numbers(record.map_range, 2, f'{what}: map_range'),
        patch_boxes=_boxes(record.patch_boxes, f'{what}: patch_boxes'),
        image_size=None if size is None else (int(size[0]), int(size[1])),
        similarity_map=heat,
    )


def _numbers(values: Any, count: int, what: str) -> tuple[float, ...] | None:
    """So many finite numbers, None for None; RetrievalError for anything else. ``what`` is what messages call them."""
    if values is None:
        return None
    numbers = list(values) if isinstance(values, (Sequence, np.ndarray)) else []
    right = [isinstance(one, (Real, np.number)) and not isinstance(one, bool) and math.isfinite(one) for one in numbers]
    if len(right) != count or not all(right):
        raise RetrievalError(f'{what} must be {count} finite numbers, got {values!r}')
    return tuple(float(one) for one in numbers)


def _boxes(values: Any, what: str) -> tuple[tuple[float, ...], ...] | None:
    """Some boxes of four finite numbers, None for None; RetrievalError for anything else."""
    if values is None:
        return None
    if not is_list(values):
        raise RetrievalError(f'{what} must be a list of boxes x0, y0, x1, y1, got {values!r}')
    return tuple(_numbers(one, 4, f'each of {what}') or () for one in values)


def to_layout(record: Record) -> dict[str, Any]:
    """The geometry of a checked record in types that JSON knows, without what it does not have."""
    values = {name: getattr(record, name) for name in _LAYOUT}
    lists = {name: list(value) for name, value in values.items() if value is not None}
    if 'patch_boxes' in lists:
        lists['patch_boxes'] = [list(box) for box in lists['patch_boxes']]
    return lists


def from_layout(layout: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a record, from what :func:`to_layout` gave; galleries of before know only some of them."""
    fields: dict[str, Any] = {name: tuple(layout[name]) for name in _LAYOUT if name in layout}
    if 'patch_boxes' in fields:
        fields['patch_boxes'] = tuple(tuple(box) for box in fields['patch_boxes'])
    return fields


def _exact_float(name: str, value: int) -> float:
    if int(float(value)) != value:
        raise RetrievalError(
            f'column {name} holds floating point numbers, which cannot hold {value} exactly: store it in another column'
        )
    return float(value)
