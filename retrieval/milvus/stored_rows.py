"""How a gallery is stored in a collection: the fields of its rows, the index of every preset, and records as rows."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RetrievalError
from ..gallery.conditions import TEXT_COLUMNS
from ..gallery.contract import Record
from ..index.presets import PRESETS
from .collection import MAX_BYTES, Collection
from .expression import NULLABLE_FIELDS

if TYPE_CHECKING:
    from pymilvus import MilvusClient

METRIC_TYPES = {'cosine': 'COSINE', 'ip': 'IP', 'l2': 'L2'}
MAX_TEXT_BYTES = 65535  # of one VARCHAR
RECORD_FIELDS = (*TEXT_COLUMNS, *(f'has_{name}' for name in NULLABLE_FIELDS), 'similarity_map', 'metadata', 'layout')
INDEX_TYPES = {preset.name: preset.milvus for preset in PRESETS.values() if preset.milvus}
_SERVER_TYPE = re.compile(r'[A-Z][A-Z0-9_]*')  # by its own name, with the server's defaults
_LITE_TYPES = ('FLAT', 'IVF_SQ8', 'IVF_FLAT', 'HNSW', 'HNSW_SQ', 'AUTOINDEX')
# Stored codes are not the vectors: scores are computed again from them.
LOSSY_PRESETS = ('sq8', 'ivf-pq')
AUTO_FLAT_ROWS = 1_000_000
# What a record says in pixels of the photo, and the type of its numbers.
LAYOUT = {'box': float, 'map_area': float, 'image_size': int}
_JSON_BYTES = 65536  # of one JSON field


def vector_field(space: str) -> str:
    """Name of the field with the vectors of a space; Milvus allows no hyphens."""
    return f'vector_{space.replace("-", "_")}'


def build_schema(client: 'MilvusClient', spaces: dict[str, int]) -> Any:
    """Schema of a collection with these spaces.

    Args:
        client: Any connection.
        spaces: Name -> dimension.

    Returns:
        pymilvus.CollectionSchema: All fields.
    """
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field('id', DataType.INT64, is_primary=True)
    for name in (*TEXT_COLUMNS, 'similarity_map', 'patches'):
        schema.add_field(name, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    for name in NULLABLE_FIELDS:
        schema.add_field(f'has_{name}', DataType.BOOL)
    schema.add_field('metadata', DataType.JSON)
    schema.add_field('layout', DataType.JSON)
    schema.add_field('write_number', DataType.INT64)
    for space, dimension in spaces.items():
        schema.add_field(vector_field(space), DataType.FLOAT_VECTOR, dim=dimension)
    return schema


def build_indexes(client: 'MilvusClient', spaces: dict[str, int], metric: str, preset: str) -> Any:
    """Index of every space's vectors.

    Args:
        client: Any connection.
        spaces: Name -> dimension.
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        preset: As in :func:`check_preset`.

    Returns:
        pymilvus.milvus_client.IndexParams: One index per space.
    """
    indexes = client.prepare_index_params()
    index_type = INDEX_TYPES.get(preset, preset)
    for space, dimension in spaces.items():
        indexes.add_index(
            field_name=vector_field(space),
            index_type=index_type,
            metric_type=METRIC_TYPES[metric],
            params=_build_parameters(index_type, dimension),
        )
    return indexes


def check_preset(preset: str, is_lite: bool) -> str:
    """The preset, if Milvus has it.

    Args:
        preset: ``'flat'``, ``'sq8'``, ``'ivf-flat'``, ``'ivf-pq'``, ``'hnsw'`` or the name of an index type of Milvus
            itself, such as ``'DISKANN'``, which the server may refuse.
        is_lite: Whether milvus-lite serves it, which takes other types and ignores them.

    Raises:
        RetrievalError: If Milvus has no such index for float32 vectors.
    """
    index_type = INDEX_TYPES.get(preset, preset)
    if not _SERVER_TYPE.fullmatch(index_type) or is_lite and index_type not in _LITE_TYPES:
        names = [name for name, kind in INDEX_TYPES.items() if not is_lite or kind in _LITE_TYPES]
        raise RetrievalError(
            f'{"milvus-lite" if is_lite else "Milvus"} has no index for the preset {preset!r}: take one of '
            f'{", ".join(names)}'
        )
    return preset


def choose_preset(preset: str, count: int, is_lite: bool) -> tuple[str, str]:
    """The preset and the sentence that says why; ``'auto'`` is decided by the number of rows."""
    if preset != 'auto':
        return check_preset(preset, is_lite), 'chosen by the user'
    if count <= AUTO_FLAT_ROWS:
        return 'flat', f'exact search, enough for up to {AUTO_FLAT_ROWS:,} rows; compact() decides again'
    return 'hnsw', f'approximate search, because there are more than {AUTO_FLAT_ROWS:,} rows'


def search_parameters(preset: str, k: int, overrides: Mapping[str, int] | None) -> dict:
    """Search parameters of a preset: its defaults, then the caller's, under Milvus' names.

    Args:
        preset: Of the collection.
        k: Results wanted; HNSW must look at no fewer rows.
        overrides: ``nprobe``, ``ef`` (or ``efSearch``) and what else Milvus knows.
    """
    parameters = {}
    if preset in ('sq8', 'ivf-flat', 'ivf-pq'):
        parameters['nprobe'] = 32
    elif preset == 'hnsw':
        parameters['ef'] = max(128, 2 * k)
    for name, value in (overrides or {}).items():
        parameters['ef' if name == 'efSearch' else name] = value
    if 'ef' in parameters:
        parameters['ef'] = min(32768, max(k, parameters['ef']))
    return parameters


def _build_parameters(index_type: str, dimension: int) -> dict:
    if index_type == 'HNSW':
        return {'M': 32, 'efConstruction': 200}
    if index_type in ('IVF_FLAT', 'IVF_SQ8'):
        return {'nlist': 1024}
    if index_type == 'IVF_PQ':
        subvectors = next(m for m in range(max(1, dimension // 4), 0, -1) if dimension % m == 0)
        return {'nlist': 1024, 'm': subvectors, 'nbits': 8}
    return {}


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
    for name in TEXT_COLUMNS:
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


def add_arrays(rows: list[dict], embeddings: Mapping[str, np.ndarray], patches: np.ndarray | None) -> None:
    """Give rows their vectors and patches."""
    for index, row in enumerate(rows):
        kept = None if patches is None else patches[index]
        row['patches'] = encode_array(kept, np.float16, f'row {row["id"]}: patches')
        row.update((vector_field(space), vectors[index]) for space, vectors in embeddings.items())


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


def read_rows(collection: Collection, ids: np.ndarray, names: Sequence[str], expression: str) -> list[dict]:
    """Some fields of rows that meet an expression, in the order of the ids, which may repeat.

    Raises:
        RetrievalError: If an id is not there.
    """
    numbers = ids.tolist()
    found = collection.fetch(numbers, names, expression)
    unknown = [number for number in numbers if number not in found]
    if unknown:
        shown = ', '.join(map(str, unknown[:5])) + (f' and {len(unknown) - 5} more' if len(unknown) > 5 else '')
        raise RetrievalError(
            f'{"id" if len(unknown) == 1 else "ids"} {shown} {"is" if len(unknown) == 1 else "are"} not in '
            f'{collection.location}'
        )
    return [found[number] for number in numbers]
