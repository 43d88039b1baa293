"""Re-ranking of what a search in a gallery has found."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import RetrievalError
from ..gallery.contract import Embeddings, GalleryReader, Space
from ..gallery.spaces import Spaces
from ..hits import Hits, best_first, exact_scores, worst_score
from ..records import Ids
from ..whitening import Whitening
from .expansion import expand
from .patch_regions import fit_patch_whitening, region_similarity, whiten_patches
from .reciprocal import k_reciprocal_distances

BLOCK_BYTES = 128 << 20


class Candidates(NamedTuple):
    """A block of b queries with r candidates each; ids are -1, and vectors 0, where a candidate is not ``present``."""

    rows: slice
    queries: np.ndarray
    vectors: np.ndarray
    present: np.ndarray
    ids: np.ndarray
    scores: np.ndarray


def rerank(
    gallery: GalleryReader,
    queries: Embeddings,
    hits: Hits,
    method: str,
    *,
    space: Space = None,
    query_patches: np.ndarray | None = None,
    where: Any = None,
    group_by: str | None = None,
    exclude: Sequence[Ids] | None = None,
    depth: int | None = None,
    k: int | None = None,
    transformed: bool = False,
    **options: Any,
) -> Hits:
    """Put the first hits of each query into a better order.

    ==================== ======================================================= ====================================
    method               what it does                                            options (defaults)
    ==================== ======================================================= ====================================
    ``k-reciprocal``     :func:`k_reciprocal_distances` within the first         ``k1`` (20), ``k2`` (6), ``weight``
                         ``depth`` hits                                          (0.3)
    ``query-expansion``  :func:`expand` by the first hits, then a second search  ``num_neighbors`` (2), ``alpha``
                         with the same filter                                    (3.0), ``search_again`` (True)
    ``region``           :func:`region_similarity` of the selected patches,      ``weight`` (0.25), ``whitening``
                         whitened, added to the score of the search              (``'gallery'``)
    ==================== ======================================================= ====================================

    Searches and evaluations take ``k1`` and ``k2`` that fit the classes of the gallery
    (:func:`retrieval.ranking.fit_options`). ``whitening`` is what :func:`fit_patch_whitening` returns: learn it once
    for many calls. ``'gallery'`` learns it in every call, which for a single query costs more than the search; None
    compares patches as they are.

    All but a second search only permute: the result has the same rows. What is behind ``depth`` stays behind, in its
    order, with scores lowered by a constant so that scores stay sorted.

    Args:
        gallery: What was searched.
        queries: float32, (m, d), or one such array for each space.
        hits: (m, c), what ``gallery.search`` returned for them.
        method: A key of :data:`METHODS`.
        space: As it was given to the search.
        query_patches: float16 or float32, (m, O, C), selected patches of the queries, for ``'region'``.
        where: Filter of the search, for the second search of ``'query-expansion'``.
        group_by, exclude: As they were given to the search, for that second search too. The other methods order the
            rows that stand for their groups.
        depth: How many hits to re-rank, >= 1; None for all.
        k: How many to return, >= 1; None for as many as there are.
        transformed: Whether queries are as the gallery stores them, rather than as the model gives them.
        **options: See the table.

    Returns:
        (m, min(k, c)) in the gallery's metric's direction (of ``'l2'`` the smallest first). ``k-reciprocal``: 1 minus
        its distance, or for ``'l2'`` its distance. ``query-expansion``: similarity to the expanded query. ``region``:
        ``(1 - weight) * score + weight * region similarity``, or for ``'l2'`` the same sum with ``2 - 2 * region
        similarity``.

    Raises:
        RetrievalError: If method, options, space or shapes do not fit, or the gallery keeps no patches for
            ``'region'``.
    """
    check_method(method)
    function = METHODS[method]
    check_options(method, options)
    width = hits.ids.shape[1]
    depth, k = width if depth is None else depth, width if k is None else k
    if depth < 1 or k < 1:
        raise RetrievalError(f'depth and k must be at least 1, got {depth} and {k}')
    spaces = Spaces.of(gallery)
    embeddings = spaces.compared(queries, space, transformed)
    if any(len(array) != len(hits.ids) for array in embeddings.values()):
        raise RetrievalError(f'there are hits of {len(hits.ids)} queries, but another number of queries')
    if method == 'query-expansion' and options.pop('search_again', True):
        again = dict(space=space, where=where, group_by=group_by, exclude=exclude)
        return _second_search(gallery, embeddings, hits, again, k, **options)
    if method == 'region' and options.setdefault('whitening', 'gallery') == 'gallery':
        options['whitening'] = fit_patch_whitening(gallery)
    first = Hits(hits.scores[:, :depth], hits.ids[:, :depth])
    scores = np.empty(first.ids.shape, np.float32)
    if query_patches is not None and (query_patches.ndim != 3 or len(query_patches) != len(hits.ids)):
        raise RetrievalError(
            f'query_patches must be ({len(hits.ids)}, O, C), one set for each query, got {query_patches.shape}'
        )
    # Patches are there as they are kept, as float32 and whitened.
    more = 0 if query_patches is None or method != 'region' else 10 * query_patches[0].size
    for block in _blocks(gallery, embeddings, first, spaces.weights(space), more):
        patches = None if query_patches is None else query_patches[block.rows]
        scores[block.rows] = function(gallery, block, patches, **options)
    return _reorder(hits, scores, gallery.manifest.metric, k)


def _k_reciprocal(
    gallery: GalleryReader,
    block: Candidates,
    patches: np.ndarray | None,
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> np.ndarray:
    distances = k_reciprocal_distances(block.queries, block.vectors, block.present, k1, k2, weight)
    return distances if gallery.manifest.metric == 'l2' else 1 - distances


def _query_expansion(
    gallery: GalleryReader,
    block: Candidates,
    patches: np.ndarray | None,
    *,
    num_neighbors: int = 2,
    alpha: float = 3.0,
    search_again: bool = False,
) -> np.ndarray:
    _check_neighbors(num_neighbors)
    metric = gallery.manifest.metric
    nearest = slice(None), slice(num_neighbors)
    queries = expand(block.queries, block.vectors[nearest], alpha, block.present[nearest], metric == 'cosine')
    return exact_scores(queries, block.vectors, metric)


def _region(
    gallery: GalleryReader,
    block: Candidates,
    patches: np.ndarray | None,
    *,
    weight: float = 0.25,
    whitening: Whitening | None = None,
) -> np.ndarray:
    if not 0 <= weight <= 1:
        raise RetrievalError(f'weight must be from 0 to 1, got {weight}')
    if patches is None:
        raise RetrievalError(
            'region re-ranking compares patches: encode the queries with --keep-patches (in Python, keep_patches=True)'
        )
    numbers, places = np.unique(block.ids[block.present], return_inverse=True)
    similarities = np.zeros(block.ids.shape, np.float32)
    if len(numbers):
        kept = gallery.patches(numbers)
        if kept is None:
            raise RetrievalError(
                'the gallery keeps no patches: build it with --keep-patches (in Python, keep_patches=True)'
            )
        if whitening is not None:
            patches, kept = whiten_patches(patches, whitening), whiten_patches(kept, whitening)
        for row, there in enumerate(block.present):
            own, places = kept[places[: there.sum()]], places[there.sum() :]
            similarities[row, there] = region_similarity(patches[row : row + 1], own[None])[0]
    if gallery.manifest.metric == 'l2':
        similarities = 2 - 2 * similarities
    return (1 - weight) * np.where(block.present, block.scores, 0) + weight * similarities


METHODS: dict[str, Callable[..., np.ndarray]] = {
    'k-reciprocal': _k_reciprocal,
    'query-expansion': _query_expansion,
    'region': _region,
}


def _second_search(
    gallery: GalleryReader,
    queries: dict[str, np.ndarray],
    hits: Hits,
    again: Mapping[str, Any],
    k: int,
    num_neighbors: int = 2,
    alpha: float = 3.0,
) -> Hits:
    """Search with each query expanded in each of its spaces by the first hits of all spaces."""
    _check_neighbors(num_neighbors)
    nearest = Hits(hits.scores[:, :num_neighbors], hits.ids[:, :num_neighbors])
    expanded = {name: np.empty_like(array) for name, array in queries.items()}
    for name, array in queries.items():
        for block in _blocks(gallery, {name: array}, nearest, {name: 1.0}):
            unit = gallery.manifest.metric == 'cosine'
            expanded[name][block.rows] = expand(block.queries, block.vectors, alpha, block.present, unit)
    return gallery.search(expanded, k, **again, transformed=True)


def _fuse(arrays: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """One vector of several spaces, (..., sum of d), whose products and distances are the weighted sums of theirs."""
    if min(weights.values()) < 0:
        raise RetrievalError(f'weights of spaces must not be negative to re-rank by them, got {dict(weights)}')
    return np.concatenate([np.float32(weights[name] ** 0.5) * arrays[name] for name in weights], axis=-1)


def _blocks(
    gallery: GalleryReader,
    queries: Mapping[str, np.ndarray],
    hits: Hits,
    weights: Mapping[str, float],
    more_bytes: int = 0,
) -> Iterator[Candidates]:
    """Candidates with their vectors, as many queries at a time as fit into 128 MiB.

    ``more_bytes`` is what a method needs for each candidate besides its vector.
    """
    fused = _fuse(queries, weights)
    m, r = hits.ids.shape
    step = max(1, BLOCK_BYTES // (max(1, r) * (4 * fused.shape[1] + more_bytes)))
    for start in range(0, m, step):
        rows = slice(start, min(start + step, m))
        ids = hits.ids[rows]
        present = ids >= 0
        vectors = np.zeros((*ids.shape, fused.shape[1]), np.float32)
        numbers, places = np.unique(ids[present], return_inverse=True)
        if len(numbers):
            vectors[present] = _fuse({name: gallery.vectors(numbers, name) for name in weights}, weights)[places]
        yield Candidates(rows, fused[rows], vectors, present, ids, hits.scores[rows])


def _reorder(hits: Hits, scores: np.ndarray, metric: str, k: int) -> Hits:
    """Sort the first hits by new scores and put the rest behind them; equal ones keep their order."""
    depth = scores.shape[1]
    worst = np.float32(worst_score(metric))
    scores = np.where(hits.ids[:, :depth] >= 0, scores, worst).astype(np.float32)
    scores, ids = best_first(scores, hits.ids[:, :depth], depth, metric)
    if depth < min(k, hits.ids.shape[1]):
        present = hits.ids[:, depth:] >= 0
        rest = np.where(present, hits.scores[:, depth:], 0)
        shift = np.where(present[:, :1], scores[:, -1:], 0) - rest[:, :1]
        scores = np.concatenate([scores, np.where(present, rest + shift, worst)], axis=1)
        accumulate = np.maximum.accumulate if metric == 'l2' else np.minimum.accumulate
        scores = accumulate(scores, axis=1)  # the shift may round up
        ids = np.concatenate([ids, hits.ids[:, depth:]], axis=1)
    return Hits(scores[:, :k].astype(np.float32), ids[:, :k])


def check_method(method: Any) -> None:
    """RetrievalError unless it is a key of :data:`METHODS`."""
    if not isinstance(method, str) or method not in METHODS:
        raise RetrievalError(f'method must be one of {", ".join(METHODS)}, got {method!r}')


def check_options(method: str, options: Mapping[str, Any]) -> None:
    """RetrievalError if a method has not one of some options."""
    parameters = inspect.signature(METHODS[method]).parameters
    known = [name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise RetrievalError(f'{method} has no option {name!r}; it has {", ".join(known)}')


def _check_neighbors(num_neighbors: int) -> None:
    if num_neighbors < 0:
        raise RetrievalError(f'num_neighbors must be at least 0, got {num_neighbors}')
