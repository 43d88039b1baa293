"""What callers pass to a gallery in Milvus, checked and brought into the form that is stored or compared."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import RetrievalError
from ..gallery.conditions import TEXT_COLUMNS
from ..gallery.contract import Embeddings, Ids, Record
from ..vectors import check_embeddings, unit_length
from ..whitening import Whitening

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]{0,254}')
_RESERVED = ('id', *TEXT_COLUMNS, 'layout', 'similarity_map')
_KINDS = {int: 'INTEGER', float: 'REAL', str: 'TEXT'}


def as_ids(ids: Ids) -> np.ndarray:
    """Ids as an array, int64 (n,).

    Raises:
        RetrievalError: If they are no whole numbers from 0 on.
    """
    array = np.asarray(ids)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in 'iu':
        raise RetrievalError(f'ids must be a list of whole numbers, got {array.dtype} of shape {array.shape}')
    if array.min() < 0 or array.max() > np.iinfo(np.int64).max:
        raise RetrievalError(f'ids must be from 0 to 2**63 - 1, got {array.min()} to {array.max()}')
    return array.astype(np.int64)


def check_ids(ids: Ids) -> np.ndarray:
    """Ids as an array, int64 (n,), each once.

    Raises:
        RetrievalError: If they are no whole numbers from 0 on, or one comes twice.
    """
    array = as_ids(ids)
    values, counts = np.unique(array, return_counts=True)
    if len(values) < len(array):
        raise RetrievalError(f'id {values[counts > 1][0]} comes twice')
    return array


def check_records(records: Sequence[Record] | None, count: int) -> list[Record]:
    """Records of so many rows, empty ones for None; RetrievalError if there are more or fewer."""
    if records is None:
        return [Record() for _ in range(count)]
    if len(records) != count:
        raise RetrievalError(f'{len(records)} records were given for {count} rows')
    return list(records)


def check_patches(
    patches: np.ndarray | None, count: int, known: list[int] | None, is_empty: Callable[[], bool]
) -> np.ndarray | None:
    """Patches in the form that is stored; all rows of a gallery have them, or none.

    Args:
        patches: Floating point, (n, O, C).
        count: n.
        known: O and C of the gallery.
        is_empty: Whether the gallery has no rows; asked only where it matters.

    Returns:
        float16, (n, O, C).

    Raises:
        RetrievalError: If they have another shape, or are there where they were not, or the other way round.
    """
    if patches is None:
        if known is not None and not is_empty():
            raise RetrievalError('the gallery keeps patches of every row: give patches of the new ones too')
        return None
    array = np.asarray(patches)
    if array.dtype.kind != 'f' or array.ndim != 3 or len(array) != count or 0 in array.shape:
        raise RetrievalError(f'patches must be floating point ({count}, O, C), got {array.dtype} {array.shape}')
    if list(array.shape[1:]) != known and not is_empty():
        raise RetrievalError(
            'the rows that are there have no patches; build the gallery anew to keep them'
            if known is None
            else f'the gallery keeps patches of {known}, not of {list(array.shape[1:])}'
        )
    return array.astype(np.float16)


def name_columns(
    records: Iterable[Record], columns: Mapping[str, str]
) -> tuple[list[dict[str, int | float | str]], dict[str, str]]:
    """Metadata of records under the gallery's own names of columns, which differ in case from nothing but themselves.

    Args:
        records: New records.
        columns: Columns of metadata that there are, with their types.

    Returns:
        tuple[list[dict], dict[str, str]]: Metadata of each record without missing values; columns that are new.

    Raises:
        RetrievalError: If a name is not possible, or a value is not of its column's type.
    """
    names = {name.lower(): name for name in columns}
    kinds = dict(columns)
    metadata = []
    for record in records:
        row = {}
        for name, value in record.metadata.items():
            if value is None:
                continue
            plain = _plain(name, value)
            kind = _KINDS[type(plain)]
            own = names.setdefault(name.lower(), name)
            if own not in kinds:
                if name.lower() in _RESERVED or not _NAME.fullmatch(name):
                    raise RetrievalError(
                        f'{name!r} is no name for a column of metadata: use letters, digits and underscores, and none '
                        f'of {", ".join(_RESERVED)}'
                    )
                kinds[own] = kind
            if (kinds[own], kind) == ('REAL', 'INTEGER'):
                plain = float(plain)
            elif kinds[own] != kind:
                raise RetrievalError(f'column {own} holds {kinds[own]}, not {value!r}')
            row[own] = plain
        metadata.append(row)
    return metadata, {name: kind for name, kind in kinds.items() if name not in columns}


def _plain(name: str, value: object) -> int | float | str:
    """NumPy's numbers as Python's; what JSON or Milvus cannot hold is refused."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, int | float | str):
        raise RetrievalError(f'column {name} holds numbers or texts, got {value!r}')
    if isinstance(value, float) and not math.isfinite(value):
        raise RetrievalError(f'column {name} cannot hold {value!r}: leave the value out')
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise RetrievalError(f'column {name} cannot hold {value}: it needs more than 64 bits')
    return value


@dataclass(frozen=True)
class Preparation:
    """What becomes of embeddings before they are compared.

    Attributes:
        metric: ``'cosine'``, ``'ip'`` or ``'l2'``.
        spaces: Name -> stored dimension, the default one first.
        transforms: Of the spaces that have one.
    """

    metric: str
    spaces: Mapping[str, int]
    transforms: Mapping[str, Whitening]

    def space(self, name: str | None) -> str:
        """A space by its name, the first for None; RetrievalError if there is none."""
        if name is None:
            return next(iter(self.spaces))
        if name not in self.spaces:
            raise RetrievalError(f'the gallery has no space {name!r}; it has {", ".join(self.spaces)}')
        return name

    def transform(self, embeddings: np.ndarray, space: str) -> np.ndarray:
        """Embeddings of the model, whitened where the space is."""
        found = self.transforms.get(space)
        return np.asarray(embeddings) if found is None else found.apply(np.asarray(embeddings))

    def queries(self, queries: Embeddings, space: str, transformed: bool) -> np.ndarray:
        """Queries of one space, float32 (m, d); RetrievalError if there are none or they do not fit."""
        if isinstance(queries, Mapping):
            if space not in queries:
                raise RetrievalError(f'there are no queries for the space {space!r}, only for {", ".join(queries)}')
            queries = queries[space]
        return self._one(queries, space, 'queries', transformed)

    def fused_queries(
        self, queries: Embeddings, weights: Mapping[str, float], transformed: bool
    ) -> dict[str, np.ndarray]:
        """Queries of every space that has a weight; RetrievalError if there are none or a weight is not above 0."""
        if not weights or any(not 0 < weight < np.inf for weight in weights.values()):
            raise RetrievalError(f'weights of spaces must be above 0, got {dict(weights)}')
        if not isinstance(queries, Mapping):
            raise RetrievalError(f'give queries of each space: {{{", ".join(weights)}: ...}}')
        return {name: self.queries(queries, self.space(name), transformed) for name in weights}

    def rows(self, embeddings: Embeddings, transformed: bool) -> dict[str, np.ndarray]:
        """New embeddings of some spaces.

        Args:
            embeddings: Floating point, (n, d), of each space.
            transformed: They are whitened already.

        Returns:
            float32, (n, d), of each space.

        Raises:
            RetrievalError: If something does not fit.
        """
        if not isinstance(embeddings, Mapping):
            if len(self.spaces) != 1:
                raise RetrievalError(f'name the space of embeddings, as {{{", ".join(self.spaces)}: ...}}')
            embeddings = {self.space(None): embeddings}
        vectors = {
            name: self._one(array, self.space(name), f'embeddings of {name}', transformed)
            for name, array in embeddings.items()
        }
        if len({len(array) for array in vectors.values()}) > 1:
            raise RetrievalError('every space needs as many embeddings as the others')
        return vectors

    def whole_rows(self, embeddings: Embeddings, transformed: bool) -> dict[str, np.ndarray]:
        """New embeddings of every space; see :meth:`rows`."""
        vectors = self.rows(embeddings, transformed)
        missing = [name for name in self.spaces if name not in vectors]
        if missing:
            raise RetrievalError(
                f'embeddings of {", ".join(missing)} are missing; the gallery holds them for every row'
            )
        return vectors

    def _one(self, embeddings: np.ndarray, space: str, name: str, transformed: bool) -> np.ndarray:
        own = embeddings if transformed else self.transform(embeddings, space)
        array = check_embeddings(own, name, self.spaces[space])
        return unit_length(array, name) if self.metric == 'cosine' else array
