"""Adding, changing and removing rows of a collection."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import RetrievalError
from ..gallery.contract import Record
from .client import MAX_IDS, Collection
from .expression import ids_expression
from .fields import RECORD_FIELDS, vector_field
from .journal import Journal
from .reading import read_rows
from .rows import add_arrays, batches, encode_array, record_row
from .state import State, column_properties, counter_properties, patch_properties


def choose_ids(collection: Collection, state: State, ids: np.ndarray | None, count: int) -> np.ndarray:
    """Ids of new rows.

    Args:
        collection: Where they go.
        state: Its state.
        ids: int64, (count,); None continues from the largest id ever given.
        count: Number of rows.

    Returns:
        int64, (count,).

    Raises:
        RetrievalError: If there are more or fewer ids than rows, one is there already, or none is left.
    """
    if ids is None:
        if state.next_id + count > 1 << 63:
            raise RetrievalError('ids have reached 2**63 - 1: pass ids of your own')
        return np.arange(state.next_id, state.next_id + count, dtype=np.int64)
    if len(ids) != count:
        raise RetrievalError(f'{len(ids)} ids were given for {count} rows')
    old = ids[ids < state.next_id]  # larger ones were never used
    taken = collection.fetch(old.tolist(), ())
    if taken:
        raise RetrievalError(
            f'id {min(taken)} is there already ({len(taken)} of {count} are): use update() to change rows'
        )
    return ids


def add_rows(
    collection: Collection,
    state: State,
    ids: np.ndarray,
    records: Sequence[Record],
    embeddings: Mapping[str, np.ndarray],
    patches: np.ndarray | None,
    metadata: Sequence[Mapping[str, int | float | str]],
    columns: Mapping[str, str],
) -> None:
    """Write new rows, all or, after an exception, none.

    Args:
        collection: Where they go.
        state: Its state.
        ids: int64, (n,), not there yet.
        records: n.
        embeddings: Space -> float32 (n, d), as they shall be stored.
        patches: float16, (n, O, C).
        metadata: Of each record, of :func:`.checks.name_columns`.
        columns: Metadata columns that are new, with their types.
    """
    journal = Journal(collection)
    # Before anything is sent: a row that Milvus cannot take must not stop an add in its middle.
    written = add_arrays(
        [record_row(*parts) for parts in zip(records, ids.tolist(), metadata)],
        dict(embeddings),
        patches,
        journal.write_number,
    )
    next_id = max(state.next_id, int(ids.max()) + 1)
    shape = None if patches is None else list(patches.shape[1:])
    begin = {**counter_properties(next_id=next_id), **patch_properties(shape), **column_properties(dict(columns))}
    with journal.writing(begin, counter_properties(generation=state.generation + 1)):
        for batch in batches(written):
            journal.check()
            collection.write(batch)


def update_rows(
    collection: Collection,
    state: State,
    ids: np.ndarray,
    records: Sequence[Record] | None,
    embeddings: Mapping[str, np.ndarray],
    patches: np.ndarray | None,
    metadata: Sequence[Mapping[str, int | float | str]],
    columns: Mapping[str, str],
) -> None:
    """Replace records, vectors of some spaces, patches, or all, of rows that are there; each row changes at once.

    Args:
        collection: Where they are.
        state: Its state.
        ids: int64, (n,).
        records: n; None keeps them.
        embeddings: Space -> float32 (n, d), as they shall be stored; others are kept.
        patches: float16, (n, O, C); None keeps them.
        metadata: Of each record, of :func:`.checks.name_columns`.
        columns: Metadata columns that are new, with their types.

    Raises:
        RetrievalError: If an id is not there.
    """
    # Before anything changes: every row is there, and Milvus can take what it gets.
    read_rows(collection, ids, ())
    if records is None:
        changes: list[dict] = [{} for _ in ids]
    else:
        changes = [record_row(*parts) for parts in zip(records, ids.tolist(), metadata)]
    for index, change in enumerate(changes):
        if patches is not None:
            change['patches'] = encode_array(patches[index], np.float16, f'row {ids[index]}: patches')
        change.update((vector_field(space), vectors[index]) for space, vectors in embeddings.items())
    if columns:
        collection.set_properties(column_properties(dict(columns)))
    names = [*RECORD_FIELDS, 'patches', 'write_number', *(vector_field(space) for space in state.spaces)]
    for start in range(0, len(ids), MAX_IDS):
        part = slice(start, start + MAX_IDS)
        old = read_rows(collection, ids[part], names)
        rows = [{**{name: row[name] for name in ('id', *names)}, **new} for row, new in zip(old, changes[part])]
        for batch in batches(rows):
            collection.write(batch)
    collection.set_properties(counter_properties(generation=state.generation + 1))


def remove_rows(collection: Collection, state: State, ids: np.ndarray) -> None:
    """Delete rows by id."""
    for start in range(0, len(ids), MAX_IDS):
        collection.delete(ids_expression(ids[start : start + MAX_IDS]))
    collection.set_properties(counter_properties(generation=state.generation + 1))
