"""Records, similarity maps and patches as rows of a collection, and back."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..errors import RetrievalError
from ..gallery.contract import Record
from .client import MAX_BYTES
from .fields import MAX_TEXT_BYTES, NULLABLE_FIELDS, TEXT_FIELDS, vector_field

# What a record says in pixels of the photo, and the type of its numbers.
LAYOUT = {'box': float, 'map_area': float, 'image_size': int}
_JSON_BYTES = 65536  # of one JSON field


def record_row(record: Record, number: int, metadata: Mapping[str, int | float | str]) -> dict:
    """A record's fields.

    Args:
        record: What to store; its own id does not count.
        number: Id of the row.
        metadata: Values that the record has; a missing key is Milvus' NULL.

    Returns:
        Every field but vectors, patches and the number of the write.

    Raises:
        RetrievalError: If a text, the metadata or the similarity map is larger than Milvus takes.
    """
    row: dict = {'id': int(number)}
    for name in TEXT_FIELDS:
        value = getattr(record, name)
        row[name] = _check_text('' if value is None else str(value), name, number)
        if name in NULLABLE_FIELDS:
            row[f'has_{name}'] = value is not None
    row['metadata'] = dict(metadata)
    if len(json.dumps(row['metadata']).encode()) > _JSON_BYTES:
        raise RetrievalError(f'row {number}: metadata is larger than the {_JSON_BYTES} bytes that Milvus takes')
    row['layout'] = {
        name: [kind(value) for value in getattr(record, name)]
        for name, kind in LAYOUT.items()
        if getattr(record, name) is not None
    }
    heat = record.similarity_map
    if heat is not None and (np.asarray(heat).dtype != np.uint8 or np.ndim(heat) != 2):
        raise RetrievalError(f'similarity maps must be uint8 (h, w), got {np.asarray(heat).dtype} {np.shape(heat)}')
    row['similarity_map'] = encode_array(heat, np.uint8, f'row {number}: similarity_map')
    return row


def row_record(row: dict) -> Record:
    """The record of a row."""
    metadata = row['metadata'] if isinstance(row['metadata'], dict) else json.loads(row['metadata'])
    layout = row['layout'] if isinstance(row['layout'], dict) else json.loads(row['layout'])
    size = layout.get('image_size')
    return Record(
        path=row['path'],
        label=row['label'] if row['has_label'] else None,
        split=row['split'] if row['has_split'] else None,
        box=tuple(layout['box']) if 'box' in layout else None,
        image_size=(size[0], size[1]) if size else None,
        content_hash=row['content_hash'] if row['has_content_hash'] else None,
        similarity_map=decode_array(row['similarity_map'], np.uint8),
        map_area=tuple(layout['map_area']) if 'map_area' in layout else None,
        metadata=metadata,
        id=int(row['id']),
    )


def encode_array(array: np.ndarray | None, dtype: type, name: str) -> str:
    """A small array as text, ``SHAPE:BASE64``; '' for None.

    Raises:
        RetrievalError: If it is longer than Milvus' longest text.
    """
    if array is None:
        return ''
    array = np.ascontiguousarray(array, dtype)
    text = f'{"x".join(map(str, array.shape))}:{base64.b64encode(array.tobytes()).decode()}'
    if len(text) > MAX_TEXT_BYTES:
        limit = MAX_TEXT_BYTES * 3 // 4 - 64
        raise RetrievalError(
            f'{name} has {array.nbytes} bytes, and Milvus stores at most {limit}: leave it out or keep this gallery in '
            'a local directory'
        )
    return text


def decode_array(text: str, dtype: type) -> np.ndarray | None:
    """The array of :func:`encode_array`."""
    if not text:
        return None
    shape, data = text.split(':')
    return np.frombuffer(base64.b64decode(data), dtype).reshape([int(size) for size in shape.split('x')]).copy()


def add_arrays(
    rows: list[dict], embeddings: dict[str, np.ndarray], patches: np.ndarray | None, write_number: int
) -> list[dict]:
    """Rows with their vectors, patches and the number of the write, ready to be sent."""
    for index, row in enumerate(rows):
        row['patches'] = (
            '' if patches is None else encode_array(patches[index], np.float16, f'row {row["id"]}: patches')
        )
        row['write_number'] = write_number
        for space, vectors in embeddings.items():
            row[vector_field(space)] = vectors[index]
    return rows


def batches(rows: Sequence[dict]) -> Iterator[list[dict]]:
    """Rows in groups that one call can send."""
    group: list[dict] = []
    size = 0
    for row in rows:
        length = sum(_size(value) for value in row.values())
        if group and size + length > MAX_BYTES:
            yield group
            group, size = [], 0
        group.append(row)
        size += length
    if group:
        yield group


def _size(value: object) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    return len(value) * 4 if isinstance(value, str) else 64 if not isinstance(value, dict) else len(str(value)) * 4


def _check_text(text: str, name: str, number: int) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise RetrievalError(f'row {number}: {name} {text!r} is no valid text: rename the file') from error
    if size > MAX_TEXT_BYTES:
        raise RetrievalError(f'row {number}: {name} has {size} bytes, more than the {MAX_TEXT_BYTES} of Milvus')
    return text
