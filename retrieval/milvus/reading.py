"""Rows, vectors and patches of a collection by id."""

from collections.abc import Sequence

import numpy as np

from ..errors import RetrievalError
from ..gallery.contract import Record
from .client import Collection
from .fields import RECORD_FIELDS, vector_field
from .rows import decode_array, row_record


def read_rows(collection: Collection, ids: np.ndarray, names: Sequence[str]) -> list[dict]:
    """Some fields of rows, in the order of the ids.

    Raises:
        RetrievalError: If an id is not there.
    """
    found = collection.fetch(ids.tolist(), names)
    unknown = [number for number in ids.tolist() if number not in found]
    if unknown:
        raise RetrievalError(f'{_list(unknown)} not in {collection.location}')
    return [found[number] for number in ids.tolist()]


def read_records(collection: Collection, ids: np.ndarray) -> list[Record]:
    """Records in the order of the ids; RetrievalError for an id that is not there."""
    return [row_record(row) for row in read_rows(collection, ids, RECORD_FIELDS)]


def read_vectors(collection: Collection, ids: np.ndarray, space: str, dimension: int) -> np.ndarray:
    """Stored vectors in the order of the ids, float32 (n, d); RetrievalError for an id that is not there."""
    name = vector_field(space)
    vectors = np.empty((len(ids), dimension), np.float32)
    for index, row in enumerate(read_rows(collection, ids, [name])):
        vectors[index] = row[name]
    return vectors


def read_patches(collection: Collection, ids: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Patches in the order of the ids, float16 (n, O, C); RetrievalError for an id that is not there."""
    patches = np.empty((len(ids), *shape), np.float16)
    for index, row in enumerate(read_rows(collection, ids, ['patches'])):
        patches[index] = decode_array(row['patches'], np.float16)
    return patches


def _list(ids: Sequence[int]) -> str:
    shown = ', '.join(map(str, ids[:5])) + (f' and {len(ids) - 5} more' if len(ids) > 5 else '')
    return f'id {shown} is' if len(ids) == 1 else f'ids {shown} are'
