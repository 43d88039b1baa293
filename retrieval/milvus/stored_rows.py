"""How a gallery is stored in a collection: the fields of its rows, the index of every preset, and records as rows."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RetrievalError
from ..index.effort import PARAMETERS
from ..index.presets import PRESETS
from ..records import TEXT_COLUMNS, Record, from_layout, to_layout
from .collection import MAX_BYTES, MAX_TEXT_BYTES, METRIC_TYPES, Collection
from .expression import NULLABLE_FIELDS

if TYPE_CHECKING:
    from pymilvus import MilvusClient

RECORD_FIELDS = (*TEXT_COLUMNS, *(f'has_{name}' for name in NULLABLE_FIELDS), 'similarity_map', 'metadata', 'layout')
INDEX_TYPES = {preset.name: preset.milvus for preset in PRESETS.values() if preset.milvus}
_SERVER_TYPE = re.compile(r'[A-Z][A-Z0-9_]*')  # by its own name, with the server's defaults
_LITE_TYPES = ('FLAT', 'IVF_SQ8', 'IVF_FLAT', 'HNSW', 'HNSW_SQ', 'AUTOINDEX')
# Stored codes are not the vectors: scores are computed again from them.
LOSSY_PRESETS = [preset.name for preset in PRESETS.values() if preset.milvus and preset.rescore]
_PARAMETERS = {'FLAT': '', 'IVF': 'nprobe', 'HNSW': 'efSearch'}  # of searches, by the beginning of the type
AUTO_FLAT_ROWS = 1_000_000
_JSON_BYTES = 65536  # of one JSON field


def vector_field(space: str) -> str:
    """Name of the field with the vectors of a space; Milvus allows no hyphens."""
    return f'vector_{space.replace("-", "_")}'


def build_schema(client: 'MilvusClient', spaces: dict[str, int]) -> Any:
    """Schema of a collection with these spaces, name -> dimension."""
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
    """The index that a preset names, for the vectors of each space, name -> dimension."""
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


def choose_preset(preset: str, count: int, is_lite: bool, version: tuple[int, int] = (99, 0)) -> tuple[str, str]:
    """The preset that is used, and the sentence that says why; RetrievalError if Milvus has none for float32 vectors.

    It is ``'auto'``, which goes by the number of rows, a preset that Milvus has, or the name of an index type of Milvus
    itself, such as ``'DISKANN'``, which the server may refuse. milvus-lite takes other types and ignores them.
    """
    if preset == 'auto' and count <= AUTO_FLAT_ROWS:
        return 'flat', f'exact search, enough for up to {AUTO_FLAT_ROWS:,} rows; compact() decides again'
    if preset == 'auto':
        return 'hnsw', f'approximate search, because there are more than {AUTO_FLAT_ROWS:,} rows'
    index_type = INDEX_TYPES.get(preset, preset)
    if not _SERVER_TYPE.fullmatch(index_type) or is_lite and index_type not in _LITE_TYPES:
        names = [name for name, kind in INDEX_TYPES.items() if not is_lite or kind in _LITE_TYPES]
        raise RetrievalError(
            f'{"milvus-lite" if is_lite else "Milvus"} has no index for the preset {preset!r}: take one of '
            f'{", ".join(names)}'
        )
    if index_type == 'IVF_RABITQ' and version < (2, 6):
        raise RetrievalError(
            f'this server is Milvus {version[0]}.{version[1]}, and {preset} needs 2.6: update it, or take ivf-pq'
        )
    return preset, 'chosen by the user'


def search_parameters(preset: str, k: int, overrides: Mapping[str, int] | None) -> dict:
    """Search parameters of a preset for k results: its defaults, then the caller's, under Milvus' names.

    RetrievalError if a caller's is none of the index.
    """
    parameters = {}
    index_type = INDEX_TYPES.get(preset, '')
    known = _PARAMETERS.get(INDEX_TYPES.get(preset, preset).partition('_')[0])
    for name in overrides or {}:
        if known is not None and name in PARAMETERS and name != known:
            rest = f'; it has: {known}' if known else f': it compares every row; leave {name} out'
            raise RetrievalError(f'the index has no parameter {name!r}{rest}')
    if index_type.startswith('IVF_'):
        parameters['nprobe'] = 32
    elif index_type == 'HNSW':
        parameters['ef'] = max(128, 2 * k)
    for name, value in (overrides or {}).items():
        parameters['ef' if name == 'efSearch' else name] = value
    if 'ef' in parameters:
        parameters['ef'] = min(32768, max(k, parameters['ef']))
    return parameters


def _build_parameters(index_type: str, dimension: int) -> dict:
    if index_type == 'HNSW':
        return {'M': 32, 'efConstruction': 200}
    if index_type in ('IVF_FLAT', 'IVF_SQ8', 'IVF_RABITQ'):
        return {'nlist': 1024}
    if index_type == 'IVF_PQ':
        subvectors = next(m for m in range(max(1, dimension // 4), 0, -1) if dimension % m == 0)
        return {'nlist': 1024, 'm': subvectors, 'nbits': 8}
    return {}


def record_row(record: Record) -> dict:
    """Fields of a row but vectors, patches and the number of the write, of a record as :func:`check_records` gives it.

    RetrievalError if a text, the metadata or the similarity map is larger than Milvus takes.
    """
    number = record.id
    row: dict = {'id': number}
    for name in TEXT_COLUMNS:
        value = getattr(record, name)
        row[name] = check_size(value or '', name, number)
        if name in NULLABLE_FIELDS:
            row[f'has_{name}'] = value is not None
    row['metadata'] = record.metadata
    if len(json.dumps(row['metadata']).encode()) > _JSON_BYTES:
        raise RetrievalError(f'row {number}: metadata is larger than the {_JSON_BYTES} bytes that Milvus takes')
    row['layout'] = to_layout(record)
    if len(json.dumps(row['layout']).encode()) > _JSON_BYTES:
        raise RetrievalError(
            f'row {number}: patch_boxes are larger than the {_JSON_BYTES} bytes that Milvus takes: leave them out'
        )
    row['similarity_map'] = encode_array(record.similarity_map, np.uint8, f'row {number}: similarity_map')
    return row


def row_record(row: dict, columns: Mapping[str, str]) -> Record:
    """The record of a row of a gallery with these columns, name -> type."""
    metadata = _metadata(row)
    layout = row['layout'] if isinstance(row['layout'], dict) else json.loads(row['layout'])
    return Record(
        path=row['path'],
        label=row['label'] if row['has_label'] else None,
        split=row['split'] if row['has_split'] else None,
        content_hash=row['content_hash'] if row['has_content_hash'] else None,
        similarity_map=decode_array(row['similarity_map'], np.uint8),
        # A column that became REAL later holds whole numbers too.
        metadata={name: float(value) if columns.get(name) == 'REAL' else value for name, value in metadata.items()},
        id=int(row['id']),
        **from_layout(layout),
    )


def column_value(row: dict, column: str) -> Any:
    """What a row has in a column; None without a value."""
    if column == 'id':
        return int(row['id'])
    if column not in TEXT_COLUMNS:
        return _metadata(row).get(column)
    return row[column] if column not in NULLABLE_FIELDS or row[f'has_{column}'] else None


def _metadata(row: dict) -> dict:
    return row['metadata'] if isinstance(row['metadata'], dict) else json.loads(row['metadata'])


def encode_array(array: np.ndarray | None, dtype: type, name: str) -> str:
    """A small array as text, ``SHAPE:BASE64``; '' for None. RetrievalError if it is longer than a text may be."""
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


def check_size(text: str, name: str, number: int) -> str:
    """A text of a row; RetrievalError if it is longer than Milvus takes."""
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise RetrievalError(f'row {number}: {name} has {size} bytes, more than the {MAX_TEXT_BYTES} of Milvus')
    return text


def read_rows(collection: Collection, ids: np.ndarray, names: Sequence[str], expression: str) -> list[dict]:
    """Fields of rows that meet an expression, in the order of ids, which may repeat; RetrievalError for unknown ids."""
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
