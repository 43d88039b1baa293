"""Fields of a gallery's collection, and the index of every preset."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import RetrievalError
from ..gallery.conditions import TEXT_COLUMNS
from ..index.presets import PRESETS

if TYPE_CHECKING:
    from pymilvus import MilvusClient

METRIC_TYPES = {'cosine': 'COSINE', 'ip': 'IP', 'l2': 'L2'}
MAX_TEXT_BYTES = 65535  # of one VARCHAR
TEXT_FIELDS = TEXT_COLUMNS
# Old servers have no NULL; a flag beside the field says whether it has a value.
NULLABLE_FIELDS = ('label', 'split', 'content_hash')
RECORD_FIELDS = (*TEXT_FIELDS, *(f'has_{name}' for name in NULLABLE_FIELDS), 'similarity_map', 'metadata', 'layout')
INDEX_TYPES = {preset.name: preset.milvus for preset in PRESETS.values() if preset.milvus}
_SERVER_TYPE = re.compile(r'[A-Z][A-Z0-9_]*')  # by its own name, with the server's defaults
_LITE_TYPES = ('FLAT', 'IVF_SQ8', 'IVF_FLAT', 'HNSW', 'HNSW_SQ', 'AUTOINDEX')
# Stored codes are not the vectors: scores are computed again from them.
LOSSY_PRESETS = ('sq8', 'ivf-pq')
AUTO_FLAT_ROWS = 1_000_000


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
    for name in (*TEXT_FIELDS, 'similarity_map', 'patches'):
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
