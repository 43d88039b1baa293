"""Small collections beside a gallery's own, for what neither its rows nor its properties can hold."""

from __future__ import annotations

from collections.abc import Sequence

from .collection import MAX_TEXT_BYTES, Collection

PART = 'gallery.part'  # key of the property that says what a collection holds
UNUSED = {'unused': [0.0, 0.0]}  # of every row: Milvus has no collection without vectors


def create_side(
    collection: Collection, integers: Sequence[str], texts: Sequence[str], flags: Sequence[str] = (), *, part: str
) -> None:
    """Make a collection of rows with an id and fields of these types; ``part`` is what it holds."""
    from pymilvus import DataType

    schema = collection.client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field('id', DataType.INT64, is_primary=True)
    for name in integers:
        schema.add_field(name, DataType.INT64)
    for name in texts:
        schema.add_field(name, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    for name in flags:
        schema.add_field(name, DataType.BOOL)
    schema.add_field('unused', DataType.FLOAT_VECTOR, dim=2)
    collection.create(schema, {PART: part})
    load_side(collection)


def load_side(collection: Collection) -> None:
    """Make its rows readable."""
    indexes = collection.client.prepare_index_params()
    indexes.add_index(field_name='unused', index_type='FLAT', metric_type='L2', params={})
    collection.load(['unused'], lambda _: indexes)
