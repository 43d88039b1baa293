"""Evaluation of galleries by their locations, for command lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .gallery import evaluate_gallery, read_labels
from .labels import unseen_classes
from .report import RetrievalReport

if TYPE_CHECKING:
    from ..gallery.contract import GalleryReader


def evaluate_locations(
    location: str | Path, queries: str | Path | None = None, *, unseen: int | None = None, **options: Any
) -> RetrievalReport:
    """Open galleries and evaluate them.

    Args:
        location: Of the gallery that is searched.
        queries: Of the gallery whose images are the queries. Defaults to the same, each image searched among all
            others.
        unseen: Search and ask only for classes after so many of the first, in the order of their names; -1 for half of
            them. Defaults to all classes.
        **options: Of :func:`evaluate_gallery`.

    Returns:
        See :func:`evaluate_gallery`.

    Raises:
        RetrievalError: If a gallery cannot be opened, or see :func:`evaluate_gallery`.
    """
    from ..gallery import open_gallery

    with open_gallery(location) as gallery:
        if queries is None or _same(location, queries):
            return evaluate_gallery(gallery, **_only_unseen(gallery, gallery, unseen, options))
        with open_gallery(queries) as source:
            return evaluate_gallery(gallery, source, **_only_unseen(gallery, source, unseen, options))


def _only_unseen(
    gallery: GalleryReader, source: GalleryReader, unseen: int | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Options with filters that let unseen classes through."""
    if unseen is None:
        return options
    from ..gallery.conditions import Condition, read_conditions

    column = options.get('label', 'label')
    classes = unseen_classes(read_labels(gallery, gallery.ids(), column), None if unseen == -1 else unseen)
    condition = Condition(column, 'in', tuple(classes))
    where, query_where = options.get('where'), options.get('query_where')
    if query_where is None and source is gallery:
        query_where = where
    filters = dict(where=where, query_where=query_where)
    return {**options, **{name: [*read_conditions(one), condition] for name, one in filters.items()}}


def _same(first: str | Path, second: str | Path) -> bool:
    if '://' in f'{first}{second}':
        return str(first) == str(second)
    return Path(first).resolve() == Path(second).resolve()
