"""Quality of the search in a gallery, with its own index, filters and re-ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RetrievalError
from ..gallery.backends import is_folder, open_gallery
from ..gallery.conditions import Condition, read_conditions
from ..gallery.contract import GalleryReader, Space
from ..gallery.spaces import Spaces
from ..ranking import fit_options, rerank
from .evaluation_report import RetrievalReport
from .labels import encode_labels, unseen_classes
from .ranking_scores import DEFAULT_KS, DEFAULT_MEMORY, evaluate

DEFAULT_DEPTH = 100
_RECORDS_AT_ONCE = 1024
_FIELDS = ('label', 'split', 'path')


def evaluate_gallery(
    gallery: GalleryReader,
    queries: GalleryReader | None = None,
    *,
    space: Space = None,
    query_space: str | None = None,
    where: Any = None,
    query_where: Any = None,
    label: str = 'label',
    method: str | None = None,
    depth: int = DEFAULT_DEPTH,
    method_options: Mapping[str, Any] | None = None,
    ks: Sequence[int] = DEFAULT_KS,
    whole_ranking: bool = True,
    exclude_same: bool = False,
    memory_limit: int = DEFAULT_MEMORY,
    progress: Callable[[int], object] = lambda count: None,
    **options: Any,
) -> RetrievalReport:
    """How well the images of a gallery are found, by the search that users of the gallery get.

    An approximate index, a filter or a re-ranking counts with what it does to the results: Recall@k is that of a search
    for as many hits, MAP@R of one for R, mAP of one for all. Without ``queries`` every
    image is searched among all others: it is left out of its own hits before they are re-ranked, because a query of
    the real world is not in the gallery either.

    Args:
        gallery: What is searched.
        queries: Gallery whose images are the queries, made by the same model; None for the gallery itself.
        space: Which embeddings to compare, or weights of several; None for the gallery's first.
        query_space: Which embeddings of the queries to search a single space with; None for the same.
        where: Filter of the images that are searched, see :class:`retrieval.gallery.Condition`.
        query_where: Filter of the queries; None for ``where`` if they are of the gallery.
        label: Column with the class of an image; ``'split'`` or a column of metadata will do.
        method: Re-ranking, see :func:`retrieval.ranking.rerank`.
        depth: How many hits to re-rank.
        method_options: Options of the re-ranking; those that are missing are as the classes of the gallery suggest,
            see :func:`retrieval.ranking.fit_options`.
        ks: Values of k of Recall@k, >= 1.
        whole_ranking: Whether to report mAP too, which ranks the whole gallery for every query.
        exclude_same: Leave rows of the query's own content out, by content hash: they are neither found nor counted as
            relevant.
        memory_limit: Bytes that a block of rankings may take, about.
        progress: Told before each search how many queries have been searched with; a query may count several times.
        **options: ``rescore`` and ``parameters`` of the gallery's search.

    Raises:
        RetrievalError: If a column or space is not there, models differ, a filter leaves nothing, or no query has a
            relevant image.
    """
    source = gallery if queries is None else queries
    check_same_model(gallery, source)
    ids = _some_ids(gallery, where, 'gallery')
    query_ids = _some_ids(source, where if query_where is None and source is gallery else query_where, 'queries')
    own = rows_of(query_ids, ids) if source is gallery else None
    codes = encode_labels(read_labels(source, query_ids, label), read_labels(gallery, ids, label), own)
    spaces = Spaces.of(gallery)
    names = list(spaces.weights(space))
    if query_space is not None and len(names) > 1:
        raise RetrievalError('--query-space (in Python, query_space) goes with a single space: name one')
    left_out = [np.array([one] if row >= 0 else [], np.int64) for one, row in zip(query_ids, codes.own_rows)]
    if exclude_same:
        left_out = [np.union1d(*both) for both in zip(left_out, _same_content(gallery, source, query_ids))]
        codes = codes._replace(left_out=_table([rows_of(one, ids) for one in left_out]))
    context: dict[str, Any] = dict(space=names[0] if space is None else space, where=where, transformed=True)
    tuning = fit_options(gallery, method, method_options)

    searched = 0

    def search(places: np.ndarray, k: int) -> np.ndarray:
        nonlocal searched
        progress(searched)
        searched += len(places)
        context['exclude'] = [left_out[place] for place in places.tolist()]
        queries = {name: spaces.taken_from(source, query_ids[places], name, query_space) for name in names}
        wanted = min(max(k, depth if method else 0), len(ids))
        hits = gallery.search(queries, wanted, **context, **options)
        if method is not None:
            patches = source.patches(query_ids[places]) if method == 'region' else None
            how = dict(depth=depth, k=wanted, query_patches=patches, **context, **tuning)
            hits = rerank(gallery, queries, hits, method, **how)
        return rows_of(hits.ids[:, :k], ids)

    report = evaluate(search, codes, ks, whole_ranking, memory_limit, exact=False)
    weights, inside = space if isinstance(space, Mapping) else {}, bool((codes.own_rows >= 0).any())
    protocol = 'each image searched among all others' if inside else 'queries apart from the gallery'
    settings = {
        'protocol': protocol + (', without copies of the query' if exclude_same else ''),
        'space': ', '.join(f'{weight:g} {name}' for name, weight in weights.items()) or names[0],
        'index': gallery.manifest.preset,
    }
    if label != 'label':
        settings['classes'] = f'column {label}'
    if method is not None:
        settings['re-rank'] = f'{method} of the first {depth}' + ''.join(f', {key}={tuning[key]}' for key in tuning)
    num_shared = 0 if source is gallery or exclude_same else _count_shared(gallery, source, ids, query_ids)
    return replace(report, settings=settings, num_shared=num_shared)


def rows_of(found: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Places of ids, of any shape, in an ascending vector of at least one id; -1 for an id that is not there."""
    rows = np.minimum(np.searchsorted(ids, found), len(ids) - 1)
    return np.where(ids[rows] == found, rows, -1)


def _some_ids(gallery: GalleryReader, where: Any, name: str) -> np.ndarray:
    ids = gallery.ids(where)
    if len(ids) == 0:
        raise RetrievalError(f'{name}: no image is left; {gallery.why_empty(where) or "the gallery is empty"}')
    return ids


def read_labels(gallery: GalleryReader, ids: np.ndarray, column: str = 'label') -> list[str | None]:
    """Class of each image, by any column of the gallery; None for an image without a label."""
    if column not in _FIELDS and column not in gallery.columns():
        raise RetrievalError(f'there is no column {column!r}; the columns are {", ".join(gallery.columns())}')
    values: list[Any] = []  # in blocks, because records carry similarity maps
    for start in range(0, len(ids), _RECORDS_AT_ONCE):
        records = gallery.records(ids[start : start + _RECORDS_AT_ONCE])
        values += [getattr(record, column) if column in _FIELDS else record.metadata.get(column) for record in records]
    return [None if value is None else str(value) for value in values]


def _same_content(gallery: GalleryReader, source: GalleryReader, query_ids: np.ndarray) -> list[np.ndarray]:
    """Rows of the gallery that have the content of each query."""
    found: list[np.ndarray] = []
    for start in range(0, len(query_ids), _RECORDS_AT_ONCE):
        records = source.records(query_ids[start : start + _RECORDS_AT_ONCE])
        found += gallery.same_content([record.content_hash for record in records])
    return found


def _table(lists: Sequence[np.ndarray]) -> np.ndarray:
    """Lists of numbers as the rows of a table, -1 where they are short."""
    table = np.full((len(lists), max(1, *map(len, lists))), -1, np.int64)
    for row, one in zip(table, lists):
        row[: len(one)] = one
    return table


def _count_shared(gallery: GalleryReader, source: GalleryReader, ids: np.ndarray, query_ids: np.ndarray) -> int:
    """Queries whose very file is among what is searched, by content hash."""
    count = 0
    for start in range(0, len(query_ids), _RECORDS_AT_ONCE):
        records = source.records(query_ids[start : start + _RECORDS_AT_ONCE])
        hashes = [record.content_hash for record in records if record.content_hash]
        found = gallery.find_hashes(hashes) if hashes else {}
        kept = {key for key, row in found.items() if rows_of(np.asarray(row), ids) >= 0}
        count += sum(one in kept for one in hashes)
    return count


def check_same_model(gallery: GalleryReader, source: GalleryReader) -> None:
    first, second = gallery.manifest.fingerprint, source.manifest.fingerprint
    if first is not None and second is not None and (differences := first.differences(second)):
        raise RetrievalError(
            f'the two galleries were made by different models ({", ".join(differences)}): build one of them again'
        )


def evaluate_locations(
    location: str | Path,
    queries: str | Path | None = None,
    *,
    unseen: int | None = None,
    index_device: str = 'auto',
    **options: Any,
) -> RetrievalReport:
    """Open galleries and evaluate them.

    Args:
        location: Location of the gallery that is searched.
        queries: Location of the gallery whose images are the queries; None to search each image among all others.
        unseen: Search and ask only for classes after the first so many, in the order of their names; -1 for half of
            them, None for all classes.
        index_device: Where the gallery is searched, see :func:`retrieval.gallery.open_gallery`.
        **options: Options of :func:`evaluate_gallery`.
    """
    with open_gallery(location, device=index_device) as gallery:
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
    column = options.get('label', 'label')
    classes = unseen_classes(read_labels(gallery, gallery.ids(), column), None if unseen == -1 else unseen)
    condition = Condition(column, 'in', tuple(classes))
    where, query_where = options.get('where'), options.get('query_where')
    if query_where is None and source is gallery:
        query_where = where
    filters = dict(where=where, query_where=query_where)
    return {**options, **{name: [*read_conditions(one), condition] for name, one in filters.items()}}


def _same(first: str | Path, second: str | Path) -> bool:
    if is_folder(first) and is_folder(second):
        return Path(first).resolve() == Path(second).resolve()
    return str(first) == str(second)
